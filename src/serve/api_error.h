// ApiError: a refusal in the form of OpenAI's API.
#pragma once

#include <exception>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "mslt/error.h"

namespace mslt::serve {

// What a client reads in {"error": {"message", "type", "param", "code"}}. The status decides on the type.
class ApiError : public Error {
 public:
  ApiError(int status, const std::string& message, std::string param = {}, std::string code = {});

  int status() const { return status_; }
  // {"error": ...}
  nlohmann::ordered_json body() const;

 private:
  int status_;
  std::string param_;  // the member at fault; empty: null
  std::string code_;   // empty: null
};

// Throws ApiError(400) that names the member at fault.
[[noreturn]] void refuse_member(std::string_view member, const std::string& message);

// The ApiError for anything caught: itself; 400 for Error(input) and Error(usage); 500 for all else.
ApiError to_api_error(const std::exception_ptr& caught);

}  // namespace mslt::serve
