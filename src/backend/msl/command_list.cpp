// Encoding a list of commands.
#include "backend/msl/command_list.h"

#include <algorithm>
#include <utility>

#include "base/overloaded.h"

namespace mslt::msl {

void CommandList::set_bytes(std::uint32_t index, std::span<const std::byte> bytes) {
  commands_.emplace_back(SetBytes{index, bytes_.size(), bytes.size()});
  bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
}

void CommandList::library_call(std::string_view name, std::span<const BufferAccess> accesses,
                               const LibraryContext& context, LibraryCall call) {
  commands_.emplace_back(Library{std::string(name), {accesses.begin(), accesses.end()}, context, std::move(call)});
}

struct CommandList::Encode {
  void operator()(const SetPipeline& set) const { to.set_pipeline(*set.pipeline); }
  void operator()(const SetBuffer& set) const { to.set_buffer(set.index, *set.buffer, set.offset); }
  void operator()(const SetRange& set) const {
    to.set_buffer_range(set.index, *set.buffer, set.offset, set.bytes, set.access);
  }
  void operator()(const SetBytes& set) const { to.set_bytes(set.index, bytes.subspan(set.begin, set.count)); }
  void operator()(const SetThreadgroupMemory& set) const { to.set_threadgroup_memory(set.index, set.bytes); }
  void operator()(const Dispatch& dispatch) const { to.dispatch(dispatch.groups, dispatch.threads); }
  void operator()(const Copy& copy) const {
    to.copy(*copy.destination, copy.destination_offset, *copy.source, copy.source_offset, copy.bytes);
  }
  void operator()(const Fill& fill) const { to.fill(*fill.buffer, fill.offset, fill.bytes, fill.value); }
  void operator()(const Library& library) const {
    to.library_call(library.name, library.accesses, library.context, library.call);
  }
  void operator()(const Mark&) const {
    if (with_marks) to.mark();
  }
  Commands& to;
  std::span<const std::byte> bytes;
  bool with_marks = false;
};

void CommandList::encode_into(Commands& commands, bool with_marks) const {
  for (const Command& command : commands_) std::visit(Encode{commands, bytes_, with_marks}, command);
}

std::size_t CommandList::encode_to_mark(Commands& commands, std::size_t from) const {
  for (; from < commands_.size(); ++from) {
    if (std::holds_alternative<Mark>(commands_[from])) return from + 1;
    std::visit(Encode{commands, bytes_}, commands_[from]);
  }
  return from;
}

bool CommandList::writes_to(const Buffer& buffer, std::size_t begin, std::size_t end) const {
  const auto meets = [&](const Buffer* other, std::size_t first, std::size_t last) {
    return other == &buffer && first < end && begin < last;
  };
  const Overloaded writes{
      [&](const SetBuffer& set) { return set.buffer == &buffer; },
      [&](const SetRange& set) {
        return set.access == ArgumentAccess::write && meets(set.buffer, set.offset, set.offset + set.bytes);
      },
      [&](const Copy& copy) {
        return meets(copy.destination, copy.destination_offset, copy.destination_offset + copy.bytes);
      },
      [&](const Fill& fill) { return meets(fill.buffer, fill.offset, fill.offset + fill.bytes); },
      [&](const Library& library) {
        return std::ranges::any_of(library.accesses, [&](const BufferAccess& access) {
          return access.is_written && meets(access.buffer, access.begin, access.end);
        });
      },
      [](const auto&) {
        return false;
      }};
  return std::ranges::any_of(commands_, [&](const Command& command) { return std::visit(writes, command); });
}

void CommandBuffer::play(const CommandList& list, bool with_marks) {
  list.encode_into(*this, with_marks);
}

}  // namespace mslt::msl
