// Overloaded: functions for the kinds of a variant, given to std::visit as one.
#pragma once

namespace mslt {

// Calls the one of `functions` that takes the argument.
template <class... Functions>
struct Overloaded : Functions... {
  using Functions::operator()...;
};
template <class... Functions>
Overloaded(Functions...) -> Overloaded<Functions...>;

}  // namespace mslt
