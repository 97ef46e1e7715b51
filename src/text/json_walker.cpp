// SAX events of nlohmann::json, sorted by their position in the document.
#include "text/json_walker.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/fail.h"

namespace mslt {
namespace {

using nlohmann::json;

constexpr std::size_t max_depth = 64;
constexpr std::size_t max_built_values = std::size_t{1} << 16;

JsonRegion region_of_top_member(std::string_view name) {
  constexpr std::array<std::string_view, 5> outline = {"model", "normalizer", "pre_tokenizer", "decoder",
                                                       "post_processor"};
  if (name == "added_tokens") return JsonRegion::added_tokens;
  return std::ranges::find(outline, name) != outline.end() ? JsonRegion::outline : JsonRegion::ignored;
}

JsonRegion region_of_model_member(std::string_view name) {
  constexpr std::array<std::string_view, 8> outline = {"type",      "dropout",       "continuing_subword_prefix",
                                                       "unk_token", "ignore_merges", "end_of_word_suffix",
                                                       "fuse_unk",  "byte_fallback"};
  if (name == "vocab") return JsonRegion::vocabulary;
  if (name == "merges") return JsonRegion::merges;
  return std::ranges::find(outline, name) != outline.end() ? JsonRegion::outline : JsonRegion::ignored;
}

}  // namespace

json& JsonBuilder::place(json value) {
  if (++count_ > max_built_values) {
    fail(ErrorKind::input, "{} holds a list of more than {} values where a short one is expected.", source_,
         max_built_values);
  }
  if (open_.empty()) return root_ = std::move(value);
  json& parent = *open_.back();
  if (parent.is_object()) return parent[key_] = std::move(value);
  parent.push_back(std::move(value));
  return parent.back();
}

void JsonBuilder::add(json value) {
  place(std::move(value));
}

void JsonBuilder::open(bool object) {
  open_.push_back(&place(object ? json::object() : json::array()));
}

json JsonBuilder::take() {
  count_ = 0;
  return std::exchange(root_, json());
}

// The handler that nlohmann::json calls.
class JsonWalker::Events {
 public:
  explicit Events(JsonWalker& walker) : walker_(walker) {}

  bool null() { return scalar(nullptr); }
  bool boolean(bool value) { return scalar(value); }
  bool number_integer(std::int64_t value) { return scalar(value); }
  bool number_unsigned(std::uint64_t value) { return scalar(value); }
  bool number_float(double value, const std::string&) { return scalar(value); }
  bool string(std::string& value) { return scalar(std::move(value)); }
  bool binary(json::binary_t&) { return false; }
  bool start_object(std::size_t) { return open(true); }
  bool start_array(std::size_t) { return open(false); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }
  bool key(std::string& name) {
    walker_.key(name);
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const json::exception& error) {
    constexpr int out_of_range = 406;
    if (error.id == out_of_range) fail(ErrorKind::input, "{} holds a number that is too large.", walker_.source_);
    fail(ErrorKind::input, "{} is not valid JSON: it fails to parse at byte {}.", walker_.source_, position);
  }

 private:
  bool scalar(json value) {
    walker_.value(std::move(value));
    return true;
  }
  bool open(bool object) {
    walker_.open(object);
    return true;
  }
  bool close() {
    walker_.close();
    return true;
  }

  JsonWalker& walker_;
};

void JsonWalker::walk(std::string_view text) {
  frames_.clear();
  seen_.clear();
  Events events(*this);
  json::sax_parse(text, &events);
}

JsonWalker::Frame JsonWalker::next() const {
  if (frames_.empty()) return {};
  JsonRegion region = frames_.back().region;
  // Only members of the document and of "model" begin regions.
  if (frames_.size() == 1) region = region_of_top_member(top_name_);
  if (frames_.size() == 2 && region == JsonRegion::outline && top_name_ == "model") {
    region = region_of_model_member(model_name_);
  }
  return {region, region == frames_.back().region ? frames_.back().level + 1 : 0};
}

void JsonWalker::open(bool object) {
  if (frames_.size() == max_depth) fail(ErrorKind::input, "{} nests deeper than {} levels.", source_, max_depth);
  const Frame frame = next();
  frames_.push_back(frame);
  if (frame.region != JsonRegion::ignored) on_open(frame.region, frame.level, object);
}

void JsonWalker::close() {
  const Frame frame = frames_.back();
  frames_.pop_back();
  if (frame.region != JsonRegion::ignored) on_close(frame.region, frame.level);
}

void JsonWalker::key(std::string& name) {
  const Frame frame = frames_.back();
  const bool of_top = frames_.size() == 1;
  const bool of_model = frames_.size() == 2 && frame.region == JsonRegion::outline && top_name_ == "model";
  if (of_top) top_name_ = name;
  if (of_model) model_name_ = name;
  if ((of_top || of_model) && next().region != JsonRegion::ignored) {
    const std::string path = of_top ? name : "model." + name;
    if (std::ranges::find(seen_, path) != seen_.end()) {
      fail(ErrorKind::input, "{}: {} occurs twice.", source_, path);
    }
    seen_.push_back(path);
  }
  if (frame.region != JsonRegion::ignored) on_key(frame.region, frame.level + 1, name);
}

void JsonWalker::value(json value) {
  const Frame frame = next();
  if (frame.region != JsonRegion::ignored) on_value(frame.region, frame.level, std::move(value));
}

}  // namespace mslt
