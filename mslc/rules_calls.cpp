// Rules on calls and overloads.
#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "mslc/rules.h"

namespace mslt::mslc {
namespace {

// Functions with the same name and number of parameters differ only in types, which mslc does not know: with more than
// one candidate, a call counts for none.
using Callee = std::pair<std::string_view, std::size_t>;

class CallRules {
 public:
  CallRules(const Syntax& syntax, Diagnostics& diagnostics) : syntax_(syntax), diagnostics_(diagnostics) {}

  void run() {
    for (const Function& function : syntax_.functions) {
      if (!function.body.empty()) {
        defined_[{function.name, function.parameters.size()}].push_back(&function);
      }
    }
    for (const auto& [callee, functions] : defined_) {
      for (const Function* function : functions) {
        calls_[function] = calls_of(*function);
      }
    }
    for (const Function& function : syntax_.functions) {
      if (!function.body.empty()) {
        check_recursion(function);
      }
    }
    check_overloads();
  }

 private:
  std::vector<std::pair<const Function*, std::size_t>> calls_of(const Function& function) {
    std::vector<std::pair<const Function*, std::size_t>> calls;
    for (std::size_t i = function.body.begin; i < function.body.end; ++i) {
      if (!syntax_.token(i).is_name()) {
        continue;
      }
      std::size_t open = i + 1;
      if (syntax_.token(open).is("<")) {
        const std::size_t close = matching_angle(syntax_.unit, open, function.body.end);
        open = close < function.body.end ? close + 1 : open;
      }
      if (!syntax_.token(open).is("(")) {
        continue;
      }
      const std::size_t close = matching(syntax_.unit, open);
      const std::size_t arguments = split_at_commas(syntax_.unit, {open + 1, close}).size();
      add_calls(function, i, arguments, calls);
    }
    return calls;
  }

  void add_calls(const Function& caller, std::size_t at, std::size_t arguments,
                 std::vector<std::pair<const Function*, std::size_t>>& calls) {
    const std::string_view name = syntax_.token(at).text;
    const bool member = syntax_.token(at - 1).is(".") || syntax_.token(at - 1).is("->");
    for (const auto& [callee, functions] : defined_) {
      if (callee.first != name || functions.size() != 1) {
        continue;
      }
      const Function& function = *functions.front();
      const auto required = static_cast<std::size_t>(std::count_if(
          function.parameters.begin(), function.parameters.end(), [&](const Parameter& p) { return !has_default(p); }));
      const bool same_scope = function.owner.empty() ? !member : (member || function.owner == caller.owner);
      if (arguments < required || arguments > function.parameters.size() || !same_scope) {
        continue;
      }
      if (function.is_kernel) {
        diagnostics_.error(syntax_.token(at).at, "kernel '{}' is called; move the shared code to a helper function",
                           name);
      }
      calls.emplace_back(&function, at);
    }
  }

  bool has_default(const Parameter& parameter) const {
    for (std::size_t i = parameter.name_at; i < parameter.declaration.end; ++i) {
      if (syntax_.token(i).is("=")) {
        return true;
      }
    }
    return false;
  }

  void check_recursion(const Function& start) {
    std::vector<const Function*> pending = {&start};
    std::set<const Function*> seen;
    while (!pending.empty()) {
      const Function* function = pending.back();
      pending.pop_back();
      for (const auto& [callee, at] : calls_[function]) {
        if (callee == &start) {
          const std::string through = function == &start ? "" : " through '" + std::string(function->name) + "'";
          diagnostics_.error(syntax_.token(at).at, "'{}' calls itself{}; there is no recursion on GPUs, write a loop",
                             start.name, through);
          return;
        }
        if (seen.insert(callee).second) {
          pending.push_back(callee);
        }
      }
    }
  }

  // The parameters' types in C++: without address spaces, constant memory const.
  std::string signature(const Function& function) const {
    std::string text;
    for (const Parameter& parameter : function.parameters) {
      bool is_const = false;
      for (std::size_t i = parameter.type.begin; i < parameter.type.end; ++i) {
        const Token& token = syntax_.token(i);
        if (token.is("const") || token.is("constant")) {
          is_const = true;
        } else if (!is_address_space(token.text)) {
          text += std::string(token.text) + " ";
        }
      }
      text += is_const ? "const," : ",";
    }
    return text;
  }

  void check_overloads() {
    for (const auto& [callee, functions] : defined_) {
      std::map<std::string, const Function*> signatures;
      for (const Function* function : functions) {
        if (function->is_kernel || function->name == "operator") {
          continue;
        }
        const std::string key =
            std::string(function->owner) + "::" + signature(*function) + (function->is_template ? "template" : "");
        const auto [first, is_new] = signatures.emplace(key, function);
        if (!is_new && differ_in_spaces(*first->second, *function)) {
          diagnostics_.error(syntax_.token(function->name_at).at,
                             "'{}' differs from the one at line {} only in address spaces, which C++ does not have; "
                             "give it another name",
                             function->name, syntax_.token(first->second->name_at).at.line);
        }
      }
    }
  }

  bool differ_in_spaces(const Function& a, const Function& b) const {
    for (std::size_t i = 0; i < a.parameters.size(); ++i) {
      if (syntax_.text(a.parameters[i].type) != syntax_.text(b.parameters[i].type)) {
        return true;
      }
    }
    return false;
  }

  const Syntax& syntax_;
  Diagnostics& diagnostics_;
  std::map<Callee, std::vector<const Function*>> defined_;
  std::map<const Function*, std::vector<std::pair<const Function*, std::size_t>>> calls_;
};

}  // namespace

void check_calls(const Syntax& syntax, Diagnostics& diagnostics) {
  CallRules(syntax, diagnostics).run();
}

}  // namespace mslt::mslc
