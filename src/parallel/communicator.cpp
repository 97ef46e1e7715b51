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

// Calls visit(part) for parts of a tensor that fit in a few MiB, in order.
template <class Visit>
void for_each_part(const Tensor& tensor, Visit visit) {
  const Tensor flat = tensor.reshape({tensor.elements()});
  for (std::int64_t begin = 0; begin < flat.elements(); begin += static_cast<std::int64_t>(most_at_once)) {
    visit(flat.slice(begin, std::min(static_cast<std::int64_t>(most_at_once), flat.elements() - begin)));
  }
}

template <class T>
std::span<T> as_elements(std::span<std::byte> bytes) {
  return {reinterpret_cast<T*>(bytes.data()), bytes.size() / sizeof(T)};
}

// 16-bit elements as f32.
template <class T>
void widen(std::span<const T> narrow, std::span<float> wide) {
  std::ranges::transform(narrow, wide.begin(), [](T value) { return to_float(value); });
}

void widen(DType dtype, std::span<std::byte> bytes, std::span<float> wide) {
  if (dtype == DType::bf16) {
    widen<BFloat16>(as_elements<BFloat16>(bytes), wide);
  } else if (dtype == DType::f16) {
    widen<Float16>(as_elements<Float16>(bytes), wide);
  } else {
    fail(ErrorKind::input, "Values of type {} cannot be summed over ranks; f32, bf16 and f16 can.", name_of(dtype));
  }
}

void narrow(DType dtype, std::span<const float> wide, std::span<std::byte> bytes) {
  if (dtype == DType::bf16) {
    std::ranges::transform(wide, as_elements<BFloat16>(bytes).begin(), to_bfloat16);
  } else {
    std::ranges::transform(wide, as_elements<Float16>(bytes).begin(), to_float16);
  }
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
  const Piece own = piece_of(values.size(), rank(), size());
  const std::size_t bytes = own.count * sizeof(T);
  received_.resize(bytes * static_cast<std::size_t>(size()));
  const auto from = [&](int other) {
    return std::span(received_).subspan(static_cast<std::size_t>(other) * bytes, bytes);
  };
  const auto theirs = [&](int other) {
    const Piece piece = piece_of(values.size(), other, size());
    return std::as_bytes(values.subspan(piece.first, piece.count));
  };
  exchange_with_each(theirs, from);
  const std::span<T> mine = values.subspan(own.first, own.count);
  std::ranges::copy(std::as_bytes(mine), from(rank()).begin());
  std::ranges::copy(as_elements<T>(from(0)), mine.begin());
  for (int other = 1; other < size(); ++other) {
    const std::span<const T> received = as_elements<T>(from(other));
    for (std::size_t i = 0; i < mine.size(); ++i) mine[i] += received[i];
  }
}

template <class T>
void Communicator::gather_pieces(std::span<T> values) {
  const auto piece = [&](int owner) {
    const Piece part = piece_of(values.size(), owner, size());
    return std::as_writable_bytes(values.subspan(part.first, part.count));
  };
  exchange_with_each([&](int /*other*/) { return piece(rank()); }, piece);
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

template void Communicator::reduce_pieces(std::span<float> values);
template void Communicator::reduce_pieces(std::span<double> values);
template void Communicator::gather_pieces(std::span<float> values);
template void Communicator::gather_pieces(std::span<double> values);
template void Communicator::sum_values(std::span<float> values);
template void Communicator::sum_values(std::span<double> values);

double Communicator::sum(double value) {
  sum(std::span(&value, 1));
  return value;
}

// A double holds it exactly: no count of tokens or of ranks comes near to 2⁵³.
std::int64_t Communicator::sum(std::int64_t value) {
  return static_cast<std::int64_t>(sum(static_cast<double>(value)));
}

void Communicator::broadcast(std::span<std::byte> bytes) {
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

// Lets `work` change the bytes of a part on the host.
template <class Work>
void Communicator::on_host(Backend& backend, const Tensor& part, const Work& work) {
  if (std::byte* host = part.buffer().host(); host != nullptr) {
    backend.wait();
    work(std::span(host + part.offset(), part.bytes()));
    return;
  }
  staging_.resize(part.bytes());
  backend.download(part, staging_);
  work(std::span(staging_));
  backend.upload(part, staging_);
}

template <class Collective>
void Communicator::add_up(Backend& backend, const Tensor& part, const Collective& collective) {
  on_host(backend, part, [&](std::span<std::byte> bytes) {
    if (part.dtype() == DType::f32) {
      collective(as_elements<float>(bytes));
      return;
    }
    widened_.resize(static_cast<std::size_t>(part.elements()));
    widen(part.dtype(), bytes, widened_);
    collective(std::span(widened_));
    narrow(part.dtype(), widened_, bytes);
  });
}

void Communicator::sum(Backend& backend, const Tensor& values) {
  if (is_alone()) return;
  for_each_part(values,
                [&](const Tensor& part) { add_up(backend, part, [&](std::span<float> elements) { sum(elements); }); });
}

void Communicator::reduce_scatter(Backend& backend, const Tensor& values) {
  if (is_alone()) return;
  add_up(backend, values, [&](std::span<float> elements) { reduce_scatter(elements); });
}

void Communicator::all_gather(Backend& backend, const Tensor& values) {
  if (is_alone()) return;
  on_host(backend, values, [&](std::span<std::byte> bytes) {
    const std::size_t width = size_of(values.dtype());
    const auto piece = [&](int owner) {
      const Piece part = piece_of(bytes.size() / width, owner, size());
      return bytes.subspan(part.first * width, part.count * width);
    };
    exchange_with_each([&](int /*other*/) { return std::span<const std::byte>(piece(rank())); }, piece);
  });
}

void Communicator::begin_sum(Backend& backend, const Tensor& values) {
  sum(backend, values);
}

void Communicator::begin_reduce_scatter(Backend& backend, const Tensor& values) {
  reduce_scatter(backend, values);
}

void Communicator::begin_all_gather(Backend& backend, const Tensor& values) {
  all_gather(backend, values);
}

void Communicator::finish(Backend& /*backend*/) {}

void Communicator::broadcast(Backend& backend, const Tensor& values) {
  if (is_alone()) return;
  for_each_part(values, [&](const Tensor& part) {
    staging_.resize(part.bytes());
    if (leads()) backend.download(part, staging_);
    broadcast(std::span(staging_));
    if (!leads()) backend.upload(part, staging_);
  });
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
