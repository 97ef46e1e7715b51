// Downloading rows of parameters, and unpacking them.
#include "model/parameter_rows.h"

#include <cstring>
#include <span>

#include "base/parallel.h"
#include "tensor/quantize.h"

namespace mslt {
namespace {

template <class Value>
std::vector<Value> download_as(Backend& backend, const Tensor& tensor) {
  std::vector<Value> values(tensor.bytes() / sizeof(Value));
  backend.download(tensor, std::as_writable_bytes(std::span(values)));
  return values;
}

template <class Value>
void unpack(Backend& backend, const Weight& packed, std::span<float> out,
            void (*dequantise)(std::span<const Value>, std::span<const Float16>, std::span<float>)) {
  const auto values = download_as<Value>(backend, packed.values);
  const auto scales = download_as<Float16>(backend, packed.scales);
  const auto rows = static_cast<std::size_t>(packed.values.shape()[0]);
  const auto part = [rows](auto all, std::int64_t row) {
    const std::size_t width = all.size() / rows;
    return all.subspan(static_cast<std::size_t>(row) * width, width);
  };
  parallel_for(packed.values.shape()[0], Cost{.flops = 4, .bytes = 5} * static_cast<std::int64_t>(out.size() / rows),
               [&](std::int64_t row) {
                 dequantise(part(std::span(values), row), part(std::span(scales), row), part(out, row));
               });
}

// Rows [first, first + count) of a matrix, from its transpose.
void gather_columns(Backend& backend, const Tensor& transposed, std::int64_t first, std::int64_t count,
                    std::vector<std::byte>& rows) {
  const std::size_t element = size_of(transposed.dtype());
  const std::int64_t inner = transposed.shape()[0];
  const std::int64_t columns = transposed.shape()[1];
  const Tensor elements = transposed.reshape({inner * columns});
  std::vector<std::byte> part(static_cast<std::size_t>(count) * element);
  rows.resize(static_cast<std::size_t>(inner) * part.size());
  for (std::int64_t k = 0; k < inner; ++k) {
    backend.download(elements.slice(k * columns + first, count), part);
    for (std::int64_t r = 0; r < count; ++r) {
      std::memcpy(rows.data() + static_cast<std::size_t>(r * inner + k) * element,
                  part.data() + static_cast<std::size_t>(r) * element, element);
    }
  }
}

}  // namespace

DType download_rows(const Transformer& model, std::string_view name, std::int64_t first, std::int64_t count,
                    std::vector<std::byte>& rows) {
  Backend& backend = model.backend();
  const Segment& segment = model.layout().arena.segment(name);
  if (model.parameters().layout().contains(name)) {
    const Tensor tensor = model.parameters().tensor(name).slice(first, count);
    rows.resize(tensor.bytes());
    backend.download(tensor, rows);
    return segment.dtype;
  }
  if (const Tensor transposed = model.parameters().transposed(name)) {
    gather_columns(backend, transposed, first, count, rows);
    return segment.dtype;
  }
  const Weight all = model.quantised().find(name, {});
  const Weight packed = {all.values.slice(first, count), all.scales.slice(first, count)};
  rows.resize(static_cast<std::size_t>(count * segment.shape[1]) * sizeof(float));
  if (count == 0) return DType::f32;
  const std::span<float> floats(reinterpret_cast<float*>(rows.data()), rows.size() / sizeof(float));
  if (packed.values.dtype() == DType::u8) {
    unpack<std::uint8_t>(backend, packed, floats, dequantise_4_bit);
  } else {
    unpack<std::int8_t>(backend, packed, floats, dequantise_8_bit);
  }
  return DType::f32;
}

}  // namespace mslt
