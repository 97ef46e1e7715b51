// Collective operations made of messages between two ranks, with one order of every sum.
#include "parallel/communicator.h"

#include <algorithm>
#include <utility>

#include "base/fail.h"
#include "tensor/half.h"

namespace mslt {
namespace {

constexpr std::size_t most_at_once = std::size_t{1} << 22;  // elements, or bytes of a copy

// A process without others.
class LoneTransport : public Transport {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  std::string host(int /*rank*/) const override { return "this host"; }
  void exchange(std::span<const Outgoing> /*outgoing*/, std::span<const Incoming> /*incoming*/) override {}
  void tell_failure(ErrorKind /*kind*/, const std::string& /*reason*/) noexcept override {}
  std::optional<PeerFailure> failure() const override { return std::nullopt; }
};

template <class T>
std::span<T> as_elements(std::span<std::byte> bytes) {
  return {reinterpret_cast<T*>(bytes.data()), bytes.size() / sizeof(T)};
}

// Calls work(elements), of the type that the dtype names.
template <class Work>
void with_summable(DType dtype, std::span<std::byte> bytes, const Work& work) {
  if (dtype == DType::f32) return work(as_elements<float>(bytes));
  if (dtype == DType::bf16) return work(as_elements<BFloat16>(bytes));
  if (dtype == DType::f16) return work(as_elements<Float16>(bytes));
  fail(ErrorKind::input, "Values of type {} cannot be summed over ranks; f32, bf16 and f16 can.", name_of(dtype));
}

// The sum, in place of `own`, of what the ranks have sent: one slot of so many elements for each, in rank order.
template <class T>
void add_up(std::span<T> own, std::span<const T> slots, std::vector<float>& /*sums*/) {
  std::ranges::copy(slots.first(own.size()), own.begin());
  for (std::size_t slot = own.size(); slot < slots.size(); slot += own.size()) {
    for (std::size_t i = 0; i < own.size(); ++i) own[i] += slots[slot + i];
  }
}

template <class T>
void add_up_wide(std::span<T> own, std::span<const T> slots, std::vector<float>& sums, T (*round)(float)) {
  sums.assign(own.size(), 0.0f);
  std::ranges::transform(slots.first(own.size()), sums.begin(), [](T value) { return to_float(value); });
  for (std::size_t slot = own.size(); slot < slots.size(); slot += own.size()) {
    for (std::size_t i = 0; i < own.size(); ++i) sums[i] += to_float(slots[slot + i]);
  }
  std::ranges::transform(sums, own.begin(), round);
}

void add_up(std::span<BFloat16> own, std::span<const BFloat16> slots, std::vector<float>& sums) {
  add_up_wide(own, slots, sums, to_bfloat16);
}

void add_up(std::span<Float16> own, std::span<const Float16> slots, std::vector<float>& sums) {
  add_up_wide(own, slots, sums, to_float16);
}

}  // namespace

Piece piece_of(std::size_t elements, int rank, int size) {
  const auto ranks = static_cast<std::size_t>(size);
  const auto place = static_cast<std::size_t>(rank);
  const std::size_t larger = elements % ranks;
  return {place * (elements / ranks) + std::min(place, larger), elements / ranks + (place < larger ? 1 : 0)};
}

std::string Communicator::name_of(int rank) const {
  return fmt::format("rank {} on {}", rank, transport_->host(rank));
}

template <class Out, class In>
void Communicator::exchange_with_each(const Out& out, const In& in) {
  std::vector<Outgoing> outgoing;
  std::vector<Incoming> incoming;
  for (int other = 0; other < size(); ++other) {
    if (other == rank()) continue;
    if (const std::span<const std::byte> bytes = out(other); !bytes.empty()) outgoing.push_back({other, bytes});
    if (const std::span<std::byte> bytes = in(other); !bytes.empty()) incoming.push_back({other, bytes});
  }
  transport_->exchange(outgoing, incoming);
}

template <class T>
void Communicator::reduce_pieces(std::span<T> values) {
  const std::size_t longest = piece_of(values.size(), 0, size()).count;
  const std::size_t most = std::max<std::size_t>(1, most_at_once / static_cast<std::size_t>(size()));
  for (std::size_t begin = 0; begin < longest; begin += most) {
    const auto part_of = [&](int owner) {
      const Piece piece = piece_of(values.size(), owner, size());
      const std::size_t first = std::min(begin, piece.count);
      return values.subspan(piece.first + first, std::min(most, piece.count - first));
    };
    const std::span<T> own = part_of(rank());
    received_.resize(own.size_bytes() * static_cast<std::size_t>(size()));
    const auto slot = [&](int other) {
      return std::span(received_).subspan(static_cast<std::size_t>(other) * own.size_bytes(), own.size_bytes());
    };
    exchange_with_each([&](int other) { return std::as_bytes(part_of(other)); }, slot);
    if (own.empty()) continue;
    std::ranges::copy(std::as_bytes(own), slot(rank()).begin());
    add_up(own, std::span<const T>(as_elements<T>(received_)), sums_);
  }
}

template <class T>
void Communicator::gather_pieces(std::span<T> values) {
  const std::size_t longest = piece_of(values.size(), 0, size()).count;
  for (std::size_t begin = 0; begin < longest; begin += most_at_once) {
    const auto part_of = [&](int owner) {
      const Piece piece = piece_of(values.size(), owner, size());
      const std::size_t first = std::min(begin, piece.count);
      return std::as_writable_bytes(values.subspan(piece.first + first, std::min(most_at_once, piece.count - first)));
    };
    exchange_with_each([&](int /*other*/) { return std::span<const std::byte>(part_of(rank())); }, part_of);
  }
}

template <class T>
void Communicator::sum_values(std::span<T> values) {
  if (is_alone()) return;
  for (std::size_t begin = 0; begin < values.size(); begin += most_at_once) {
    const std::span<T> part = values.subspan(begin, std::min(most_at_once, values.size() - begin));
    reduce_pieces(part);
    gather_pieces(part);
  }
}

void Communicator::sum(std::span<float> values) {
  background_.finish();
  sum_values(values);
}

void Communicator::all_gather(std::span<float> values) {
  background_.finish();
  gather_pieces(values);
}

double Communicator::sum(double value) {
  background_.finish();
  sum_values(std::span(&value, 1));
  return value;
}

// A double holds it exactly: no count of tokens or of ranks comes near to 2⁵³.
std::int64_t Communicator::sum(std::int64_t value) {
  return static_cast<std::int64_t>(sum(static_cast<double>(value)));
}

void Communicator::broadcast(std::span<std::byte> bytes) {
  background_.finish();
  broadcast_bytes(bytes);
}

void Communicator::broadcast_bytes(std::span<std::byte> bytes) {
  for (std::size_t begin = 0; begin < bytes.size(); begin += most_at_once) {
    const std::span<std::byte> part = bytes.subspan(begin, std::min(most_at_once, bytes.size() - begin));
    std::vector<Outgoing> outgoing;
    std::vector<Incoming> incoming;
    if (leads()) {
      for (int other = 1; other < size(); ++other) outgoing.push_back({other, part});
    } else {
      incoming.push_back({0, part});
    }
    transport_->exchange(outgoing, incoming);
  }
}

std::string Communicator::broadcast(std::string text) {
  std::uint64_t length = text.size();
  broadcast(std::as_writable_bytes(std::span(&length, 1)));
  text.resize(length);
  broadcast(std::as_writable_bytes(std::span(text)));
  return text;
}

std::vector<std::string> Communicator::gather(std::string_view text) {
  background_.finish();
  const std::uint64_t length = text.size();
  std::vector<std::uint64_t> lengths(static_cast<std::size_t>(size()), length);
  std::vector<std::string> texts(static_cast<std::size_t>(size()), std::string(text));
  exchange_with_each([&](int /*other*/) { return std::as_bytes(std::span(&length, 1)); },
                     [&](int other) {
                       return std::as_writable_bytes(std::span(lengths).subspan(static_cast<std::size_t>(other), 1));
                     });
  exchange_with_each([&](int /*other*/) { return std::as_bytes(std::span(text)); },
                     [&](int other) {
                       const auto place = static_cast<std::size_t>(other);
                       texts[place].resize(lengths[place]);
                       return std::as_writable_bytes(std::span(texts[place]));
                     });
  return texts;
}

void Communicator::sum(Backend& backend, const Tensor& values) {
  Communicator::begin_sum(backend, values);
  background_.finish();
}

void Communicator::reduce_scatter(Backend& backend, const Tensor& values) {
  Communicator::begin_reduce_scatter(backend, values);
  background_.finish();
}

void Communicator::all_gather(Backend& backend, const Tensor& values) {
  Communicator::begin_all_gather(backend, values);
  background_.finish();
}

void Communicator::broadcast(Backend& backend, const Tensor& values) {
  if (is_alone()) return;
  background_.finish();
  const Tensor flat = values.reshape({values.elements()});
  std::vector<std::byte> staging;
  for (std::int64_t begin = 0; begin < flat.elements(); begin += static_cast<std::int64_t>(most_at_once)) {
    const Tensor part = flat.slice(begin, std::min(static_cast<std::int64_t>(most_at_once), flat.elements() - begin));
    staging.resize(part.bytes());
    if (leads()) backend.download(part, staging);
    broadcast_bytes(staging);
    if (!leads()) backend.upload(part, staging);
  }
}

void Communicator::begin_on_host(Backend& backend, const Tensor& values,
                                 std::function<void(std::span<std::byte>)> work) {
  if (is_alone()) return;
  if (std::byte* host = values.buffer().host(); host != nullptr) {
    backend.wait();
    background_.add(
        [bytes = std::span(host + values.offset(), values.bytes()), work = std::move(work)] { work(bytes); });
    return;
  }
  background_.finish();
  std::vector<std::byte> staging(values.bytes());
  backend.download(values, staging);
  work(staging);
  backend.upload(values, staging);
}

void Communicator::begin_sum(Backend& backend, const Tensor& values) {
  begin_on_host(backend, values, [this, dtype = values.dtype()](std::span<std::byte> bytes) {
    with_summable(dtype, bytes, [this](auto elements) { sum_values(elements); });
  });
}

void Communicator::begin_reduce_scatter(Backend& backend, const Tensor& values) {
  begin_on_host(backend, values, [this, dtype = values.dtype()](std::span<std::byte> bytes) {
    with_summable(dtype, bytes, [this](auto elements) { reduce_pieces(elements); });
  });
}

void Communicator::begin_all_gather(Backend& backend, const Tensor& values) {
  begin_on_host(backend, values, [this, width = size_of(values.dtype())](std::span<std::byte> bytes) {
    if (width == sizeof(std::uint32_t)) return gather_pieces(as_elements<std::uint32_t>(bytes));
    if (width == sizeof(std::uint16_t)) return gather_pieces(as_elements<std::uint16_t>(bytes));
    gather_pieces(bytes);
  });
}

void Communicator::finish(Backend& /*backend*/) {
  background_.finish();
}

void Communicator::tell_failure(const std::exception& error) noexcept {
  const auto* const known = dynamic_cast<const Error*>(&error);
  try {
    transport_->tell_failure(known != nullptr ? known->kind() : ErrorKind::memory, error.what());
  } catch (const std::exception&) {
    return;  // without memory for the message, the others miss this rank
  }
}

std::unique_ptr<Communicator> make_lone_communicator() {
  return std::make_unique<Communicator>(std::make_unique<LoneTransport>());
}

}  // namespace mslt
