// A backend that treats all operations alike.
#pragma once

#include "backend/backend.h"

namespace mslt {

// Executes every operation by one function template of the deriving class:
//
//   class Counting final : public ForEachOperation<Counting> {
//    public:
//     template <class Op>
//     void each(const Op& op);  // Op::name, op.arguments(), work_of(op)
//     ...                       // memory and order, as every backend
//   };
template <class Self, class List = Operations>
class ForEachOperation;

template <class Self>
class ForEachOperation<Self, OperationList<>> : public Backend {};

template <class Self, class Op, class... Others>
class ForEachOperation<Self, OperationList<Op, Others...>> : public ForEachOperation<Self, OperationList<Others...>> {
 public:
  using ForEachOperation<Self, OperationList<Others...>>::execute;
  void execute(const Op& op) final { static_cast<Self&>(*this).each(op); }
};

}  // namespace mslt
