// A SAX parser of model.safetensors.index.json; a large one takes no more memory than its names.
#include <nlohmann/json.hpp>
#include <utility>

#include "base/fail.h"
#include "formats/safetensors.h"

namespace mslt {
namespace {

constexpr int max_depth = 64;

// Reads the top-level member "weight_map" and skips everything else.
class IndexHandler {
 public:
  explicit IndexHandler(std::string_view source) : source_(source) {}

  bool has_map() const { return has_map_; }
  std::map<std::string, std::string> take() { return std::move(result_); }

  bool null() { return no_text(); }
  bool boolean(bool) { return no_text(); }
  bool number_integer(std::int64_t) { return no_text(); }
  bool number_unsigned(std::uint64_t) { return no_text(); }
  bool number_float(double, const std::string&) { return no_text(); }
  bool binary(nlohmann::json::binary_t&) { return no_text(); }

  bool string(std::string& value) {
    if (!in_map()) return true;
    if (value.find_first_of(std::string_view("/\\\0", 3)) != std::string::npos || value.starts_with('.') ||
        !value.ends_with(".safetensors")) {
      fail(ErrorKind::input, "{}: the file '{}' of the tensor '{}' is not the plain name of a .safetensors file.",
           source_, value, tensor_);
    }
    if (!result_.emplace(tensor_, std::move(value)).second) {
      fail(ErrorKind::input, "{}: the tensor '{}' occurs twice.", source_, tensor_);
    }
    return true;
  }

  bool key(std::string& name) {
    if (depth_ == 1) {
      top_name_ = std::move(name);
    } else if (in_map()) {
      tensor_ = std::move(name);
    }
    return true;
  }

  bool start_object(std::size_t) {
    no_text();
    if (depth_ == 1 && top_is_object_ && top_name_ == "weight_map") {
      if (has_map_) fail(ErrorKind::input, "{}: 'weight_map' occurs twice.", source_);
      has_map_ = reading_map_ = true;
    }
    if (depth_ == 0) top_is_object_ = true;
    return open();
  }
  bool start_array(std::size_t) {
    no_text();
    return open();
  }
  bool end_object() { return close(); }
  bool end_array() { return close(); }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception&) {
    fail(ErrorKind::input, "{} is not valid JSON: it fails to parse at byte {}.", source_, position);
  }

 private:
  bool in_map() const { return reading_map_ && depth_ == 2; }
  bool no_text() const {
    if (in_map()) fail(ErrorKind::input, "{}: the file of the tensor '{}' is not a text.", source_, tensor_);
    return true;
  }
  bool open() {
    if (++depth_ > max_depth) fail(ErrorKind::input, "{} nests deeper than {} levels.", source_, max_depth);
    return true;
  }
  bool close() {
    if (--depth_ == 1) reading_map_ = false;
    return true;
  }

  std::string_view source_;
  std::map<std::string, std::string> result_;
  std::string top_name_;  // the latest member of the top level
  std::string tensor_;    // the latest member of the map
  int depth_ = 0;
  bool top_is_object_ = false;
  bool has_map_ = false;
  bool reading_map_ = false;
};

}  // namespace

std::map<std::string, std::string> parse_safetensors_index(std::string_view text, std::string_view source) {
  IndexHandler handler(source);
  nlohmann::json::sax_parse(text, &handler);
  if (!handler.has_map()) {
    fail(ErrorKind::input, "{} is not an index: it has no object 'weight_map' of tensor names and files.", source);
  }
  return handler.take();
}

}  // namespace mslt
