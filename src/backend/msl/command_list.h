// CommandList: commands as values, to be encoded again and again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "backend/msl/driver.h"

namespace mslt::msl {

// Holds addresses only: pipelines, buffers and what library calls captured must outlive it.
class CommandList final : public Commands {
 public:
  void set_pipeline(const Pipeline& pipeline) override { commands_.emplace_back(SetPipeline{&pipeline}); }
  void set_buffer(std::uint32_t index, Buffer& buffer, std::size_t offset) override {
    commands_.emplace_back(SetBuffer{index, &buffer, offset});
  }
  void set_buffer_range(std::uint32_t index, Buffer& buffer, std::size_t offset, std::size_t bytes,
                        ArgumentAccess access) override {
    commands_.emplace_back(SetRange{index, &buffer, offset, bytes, access});
  }
  void set_bytes(std::uint32_t index, std::span<const std::byte> bytes) override;
  void set_threadgroup_memory(std::uint32_t index, std::uint32_t bytes) override {
    commands_.emplace_back(SetThreadgroupMemory{index, bytes});
  }
  void dispatch(GridSize groups, GridSize threads) override { commands_.emplace_back(Dispatch{groups, threads}); }
  void copy(Buffer& destination, std::size_t destination_offset, Buffer& source, std::size_t source_offset,
            std::size_t bytes) override {
    commands_.emplace_back(Copy{&destination, destination_offset, &source, source_offset, bytes});
  }
  void fill(Buffer& destination, std::size_t offset, std::size_t bytes, std::uint8_t value) override {
    commands_.emplace_back(Fill{&destination, offset, bytes, value});
  }
  // The call is called once for each time that the list is encoded.
  void library_call(std::string_view name, std::span<const BufferAccess> accesses, const LibraryContext& context,
                    LibraryCall call) override;
  void mark() override { commands_.emplace_back(Mark{}); }

  // Encodes all of it into `commands`, in order; its marks only if wanted.
  void encode_into(Commands& commands, bool with_marks) const;
  // Encodes from the command number `from` to the next mark, without that, and returns the number of the one behind it.
  std::size_t encode_to_mark(Commands& commands, std::size_t from) const;
  std::size_t size() const { return commands_.size(); }
  // Whether a command may write to the bytes from `begin` to `end` of the buffer.
  bool writes_to(const Buffer& buffer, std::size_t begin, std::size_t end) const;

 private:
  struct SetPipeline {
    const Pipeline* pipeline;
  };
  struct SetBuffer {
    std::uint32_t index;
    Buffer* buffer;
    std::size_t offset;
  };
  struct SetRange {
    std::uint32_t index;
    Buffer* buffer;
    std::size_t offset;
    std::size_t bytes;
    ArgumentAccess access;
  };
  struct SetBytes {
    std::uint32_t index;
    std::size_t begin;  // in bytes_
    std::size_t count;
  };
  struct SetThreadgroupMemory {
    std::uint32_t index;
    std::uint32_t bytes;
  };
  struct Dispatch {
    GridSize groups;
    GridSize threads;
  };
  struct Copy {
    Buffer* destination;
    std::size_t destination_offset;
    Buffer* source;
    std::size_t source_offset;
    std::size_t bytes;
  };
  struct Fill {
    Buffer* buffer;
    std::size_t offset;
    std::size_t bytes;
    std::uint8_t value;
  };
  struct Library {
    std::string name;
    std::vector<BufferAccess> accesses;
    LibraryContext context;
    LibraryCall call;
  };
  struct Mark {};
  using Command = std::variant<SetPipeline, SetBuffer, SetRange, SetBytes, SetThreadgroupMemory, Dispatch, Copy, Fill,
                               Library, Mark>;
  struct Encode;

  std::vector<Command> commands_;
  std::vector<std::byte> bytes_;
};

}  // namespace mslt::msl
