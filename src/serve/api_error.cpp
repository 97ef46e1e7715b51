// OpenAI's form of errors.
#include "serve/api_error.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "base/printable.h"

namespace mslt::serve {
namespace {

std::string_view type_of(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 429:
      return "rate_limit_error";
    case 503:
      return "service_unavailable";
    default:
      return status < 500 ? "invalid_request_error" : "server_error";
  }
}

nlohmann::ordered_json text_or_null(const std::string& text) {
  return text.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(utf8_text(text));
}

}  // namespace

ApiError::ApiError(int status, const std::string& message, std::string param, std::string code)
    : Error(ErrorKind::input, message), status_(status), param_(std::move(param)), code_(std::move(code)) {}

nlohmann::ordered_json ApiError::body() const {
  return {{"error",
           {{"message", utf8_text(what())},
            {"type", type_of(status_)},
            {"param", text_or_null(param_)},
            {"code", text_or_null(code_)}}}};
}

void refuse_member(std::string_view member, const std::string& message) {
  throw ApiError(400, message, std::string(member));
}

ApiError to_api_error(const std::exception_ptr& caught) {
  try {
    std::rethrow_exception(caught);
  } catch (const ApiError& error) {
    return error;
  } catch (const Error& error) {
    const bool is_clients = error.kind() == ErrorKind::input || error.kind() == ErrorKind::usage;
    return {is_clients ? 400 : 500, error.what()};
  } catch (const std::exception& error) {
    return {500, error.what()};
  } catch (...) {
    return {500, "An unknown error occurred."};
  }
}

}  // namespace mslt::serve
