// Knowing command buffers again.
#include "backend/msl/drivers/cuda/graph_cache.h"

#include <algorithm>
#include <string_view>
#include <type_traits>
#include <utility>

namespace mslt::msl::cuda {
namespace {

// Fewer are launched as fast one by one.
constexpr std::size_t fewest_commands = 8;
// Seen so often before, a command buffer is expected to go on coming.
constexpr int seen_before = 2;

template <class T>
void append(std::string& identity, const T& value) {
  static_assert(std::is_scalar_v<T>);
  identity.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

void append(std::string& identity, const Launch& launch, std::span<const std::byte> parameters) {
  append(identity, launch.pipeline);
  for (const GridSize& size : {launch.groups, launch.threads}) {
    append(identity, size.x);
    append(identity, size.y);
    append(identity, size.z);
  }
  append(identity, launch.dynamic_bytes);
  const auto block = parameters.subspan(launch.parameters, launch.pipeline->parameter_bytes());
  identity.append(reinterpret_cast<const char*>(block.data()), block.size());
}

void append(std::string& identity, const Copy& copy, std::span<const std::byte> /*parameters*/) {
  append(identity, copy.to);
  append(identity, copy.from);
  append(identity, copy.bytes);
}

void append(std::string& identity, const Fill& fill, std::span<const std::byte> /*parameters*/) {
  append(identity, fill.to);
  append(identity, fill.bytes);
  append(identity, fill.value);
}

void append(std::string& identity, const Library& library, std::span<const std::byte> /*parameters*/) {
  append(identity, library.name.size());
  identity += library.name;
  append(identity, library.context.workspace);
  append(identity, library.context.workspace_bytes);
  append(identity, library.call.identity.size());
  identity += library.call.identity;
}

void append(std::string& identity, const Mark& mark, std::span<const std::byte> /*parameters*/) {
  append(identity, mark.marks);
}

// Whether the same identity means the same work.
bool is_known(const Command& command) {
  const auto* library = std::get_if<Library>(&command);
  return library == nullptr || !library->call.identity.empty();
}

std::string identity_of(std::span<const Command> commands, std::span<const std::byte> parameters) {
  std::string identity;
  identity.reserve(parameters.size() + 64 * commands.size());
  for (const Command& command : commands) {
    append(identity, command.index());
    std::visit([&](const auto& each) { append(identity, each, parameters); }, command);
  }
  return identity;
}

}  // namespace

GraphCache::Entry& GraphCache::find(std::string identity, std::span<const void* const> allocations) {
  const std::uint64_t key = std::hash<std::string_view>()(identity);
  if (entries_.size() >= most_ && !entries_.contains(key)) {
    const auto oldest = std::min_element(entries_.begin(), entries_.end(),
                                         [](const auto& a, const auto& b) { return a.second.last < b.second.last; });
    entries_.erase(oldest);
  }
  Entry& entry = entries_[key];
  if (entry.identity != identity) {
    entry = Entry();
    entry.identity = std::move(identity);
    entry.allocations.assign(allocations.begin(), allocations.end());
    std::sort(entry.allocations.begin(), entry.allocations.end(), std::less<>());
  }
  entry.last = ++clock_;
  return entry;
}

bool GraphCache::launch(const CommandList& list, const std::function<void()>& launch) {
  if (list.commands.size() < fewest_commands || !std::all_of(list.commands.begin(), list.commands.end(), is_known)) {
    return false;
  }
  Entry& entry = find(identity_of(list.commands, list.parameters), list.allocations);
  if (entry.refused || entry.seen++ < seen_before) return false;
  if (!entry.graph) entry.graph = maker_->record(launch);
  if (!entry.graph || !maker_->launch(entry.graph.get())) {
    // What is wrong with a command, it says when it is launched alone.
    entry.refused = true;
    entry.graph.reset();
    return false;
  }
  ++launches_;
  return true;
}

void GraphCache::forget(const void* allocation) {
  std::erase_if(entries_, [allocation](const auto& each) {
    const std::vector<const void*>& allocations = each.second.allocations;
    return std::binary_search(allocations.begin(), allocations.end(), allocation, std::less<>());
  });
}

}  // namespace mslt::msl::cuda
