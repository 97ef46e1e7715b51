// Walking through the JSON of a tokenizer.json while reading it, so memory is needed only for the parts that are kept.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace mslt {

// Builds one small JSON value from the events of a walk. Throws Error(input) naming `source` if it would contain more
// than 65,536 values.
class JsonBuilder {
 public:
  explicit JsonBuilder(std::string_view source) : source_(source) {}

  void key(std::string_view name) { key_ = name; }
  void add(nlohmann::json value);
  void open(bool object);
  void close() { open_.pop_back(); }
  // Returns the value and resets the builder.
  nlohmann::json take();

 private:
  nlohmann::json& place(nlohmann::json value);

  std::string_view source_;
  nlohmann::json root_;
  std::vector<nlohmann::json*> open_;
  std::string key_;
  std::size_t count_ = 0;
};

// The parts of a tokenizer.json: its three long lists, everything else of interest, and the rest.
enum class JsonRegion { outline, added_tokens, vocabulary, merges, ignored };

// Parses a text and passes each event to the member function of its region. `level` counts the open containers of the
// region around the event, without the one that the event opens or closes: 0 for the region's own value. Throws
// Error(input) as parse_json does, and if a member of the outline or a list occurs twice.
class JsonWalker {
 public:
  JsonWalker(const JsonWalker&) = delete;
  JsonWalker& operator=(const JsonWalker&) = delete;
  virtual ~JsonWalker() = default;

  void walk(std::string_view text);

 protected:
  explicit JsonWalker(std::string_view source) : source_(source) {}
  std::string_view source() const { return source_; }

  virtual void on_open(JsonRegion region, int level, bool object) = 0;
  virtual void on_close(JsonRegion region, int level) = 0;
  virtual void on_key(JsonRegion region, int level, std::string& name) = 0;
  virtual void on_value(JsonRegion region, int level, nlohmann::json value) = 0;

 private:
  class Events;
  struct Frame {
    JsonRegion region = JsonRegion::outline;
    int level = 0;
  };

  void open(bool object);
  void close();
  void key(std::string& name);
  void value(nlohmann::json value);
  // The frame of the next value.
  Frame next() const;

  std::string_view source_;
  std::vector<Frame> frames_;  // of the open containers
  std::string top_name_;       // the latest member of the document
  std::string model_name_;     // the latest member of "model"
  std::vector<std::string> seen_;
};

}  // namespace mslt
