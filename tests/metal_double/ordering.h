// Which commands Metal may run at the same time, and whether they conflict.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace mslt::metal_double {

// A command's access to bytes [begin, end) of a buffer.
struct Access {
  const void* buffer = nullptr;
  std::size_t begin = 0;
  std::size_t end = 0;
  bool writes = false;
  bool tracked = false;  // Metal itself orders encoders that use this buffer
  std::string name;      // of the argument or the buffer
};

struct Command {
  std::string name;
  std::vector<Access> accesses;
};

// The rules: commands of one encoder run at the same time unless a barrier separates them. Encoders run at the same
// time, in any command buffers, unless one waits for a fence that the other updated (directly or through encoders in
// between), or the host has seen the other's command buffer done. One thread at a time.
class Ordering {
 public:
  // The returned number identifies the encoder.
  std::uint64_t begin_encoder();
  void wait(std::uint64_t encoder, const void* fence);
  void update(std::uint64_t encoder, const void* fence);
  void barrier(std::uint64_t encoder);
  void add(std::uint64_t encoder, Command command);
  void end_encoder(std::uint64_t encoder);
  // Its command buffer will never run.
  void drop(std::uint64_t encoder);
  // The host has waited for it, and so for all earlier ones.
  void done_through(std::uint64_t encoder);

  // Problems found since the last call.
  std::vector<std::string> take_problems();

 private:
  // A set of encoders, usually all up to one.
  class Set {
   public:
    void insert(std::uint64_t encoder);
    void insert(const Set& other);
    void insert_through(std::uint64_t encoder);
    bool contains(std::uint64_t encoder) const;

   private:
    std::uint64_t through_ = 0;
    std::set<std::uint64_t> more_;
  };
  struct Encoder {
    Set after;
    std::vector<Command> commands;
    std::size_t since_barrier = 0;  // the first command after the last barrier
    std::set<const void*> updated;
    bool ended = false;
  };

  void compare(const Command& earlier, const Command& later, const char* reason, bool encoders);

  std::uint64_t last_ = 0;
  Set done_;
  std::map<std::uint64_t, Encoder> encoders_;
  std::map<const void*, Set> fences_;
  std::vector<std::string> problems_;
};

}  // namespace mslt::metal_double
