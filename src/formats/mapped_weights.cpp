// Finding the parameters that a mapped file stores in the needed form.
#include "formats/mapped_weights.h"

#include <optional>
#include <utility>

namespace mslt {
namespace {

constexpr std::size_t least_alignment = 16;

// Whether these pieces, all of one parameter of `dtype`, are in memory exactly as the parameter is, or as its
// transpose.
bool in_place(std::span<const WeightPiece> pieces, std::span<const FileTensor* const> tensors, DType dtype) {
  const std::byte* next = tensors.front()->data.data();
  std::int64_t row = 0;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const FileTensor& tensor = *tensors[i];
    if ((pieces[i].transposed && pieces.size() > 1) || pieces[i].alternating > 0 || pieces[i].offset != 0 ||
        pieces[i].first_row != row || dtype_from_safetensors(tensor.dtype) != dtype || tensor.data.data() != next) {
      return false;
    }
    next += tensor.data.size();
    row += pieces[i].rows;
  }
  return true;
}

// The files of a model as buffers, each made on first use.
class WrappedFiles {
 public:
  WrappedFiles(Backend& backend, const std::shared_ptr<const SafetensorsModel>& files)
      : backend_(backend), files_(files), numbers_(files->files().size()) {}

  // The position of `data`; nothing if its file cannot be wrapped.
  std::optional<MappedSegments::Place> place(std::span<const std::byte> data, MappedSegments& into) {
    for (std::size_t i = 0; i < numbers_.size(); ++i) {
      const SafetensorsFile& file = files_->files()[i];
      if (data.data() < file.bytes().data() || data.data() >= file.bytes().data() + file.bytes().size()) continue;
      const auto offset = static_cast<std::size_t>(data.data() - file.bytes().data());
      if (offset % least_alignment != 0) return std::nullopt;
      if (!numbers_[i]) numbers_[i] = wrap(file, into);
      if (*numbers_[i] == refused) return std::nullopt;
      return MappedSegments::Place{*numbers_[i], offset};
    }
    return std::nullopt;
  }

 private:
  static constexpr std::size_t refused = SIZE_MAX;

  std::size_t wrap(const SafetensorsFile& file, MappedSegments& into) {
    std::unique_ptr<Buffer> buffer = backend_.wrap(file.bytes(), file.path().filename().string(), files_);
    if (!buffer) return refused;
    into.buffers.push_back(std::move(buffer));
    return into.buffers.size() - 1;
  }

  Backend& backend_;
  const std::shared_ptr<const SafetensorsModel>& files_;
  std::vector<std::optional<std::size_t>> numbers_;  // index in the buffers
};

}  // namespace

MappedSegments map_weights(Backend& backend, const ArenaLayout& parameters, std::span<const WeightPiece> pieces,
                           std::span<const FileTensor* const> tensors,
                           const std::shared_ptr<const SafetensorsModel>& files, bool by_columns) {
  const bool reads_transposed = by_columns && backend.device().reads_transposed;
  MappedSegments result;
  WrappedFiles wrapped(backend, files);
  for (std::size_t begin = 0, end = 0; begin < pieces.size(); begin = end) {
    const std::string& name = pieces[begin].parameter;
    for (end = begin + 1; end < pieces.size() && pieces[end].parameter == name; ++end) {
    }
    const auto own_tensors = tensors.subspan(begin, end - begin);
    const Segment& segment = parameters.segment(name);
    const bool transposed = pieces[begin].transposed;
    if (transposed && !reads_transposed) continue;
    if (!in_place(pieces.subspan(begin, end - begin), own_tensors, segment.dtype)) continue;
    const auto place = wrapped.place(own_tensors.front()->data, result);
    if (!place) continue;
    if (transposed) {
      const Shape shape = {segment.shape[1], segment.shape[0]};
      result.transposed.emplace(name, Tensor(*result.buffers[place->buffer], place->offset, segment.dtype, shape));
    } else {
      result.places.emplace(name, *place);
    }
  }
  if (!result.buffers.empty())
    result.require_intact = [files] {
      files->require_intact();
    };
  return result;
}

}  // namespace mslt
