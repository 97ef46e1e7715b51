// AdamW over a model's parameters, and the loss scale of 16-bit training.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "model/parameters.h"
#include "tensor/arena.h"
#include "train/shard_plan.h"

namespace mslt {

// Owns first and second moments, f32, and for 16-bit parameters f32 master weights: each one buffer for the elements of
// the parameter arena that it updates, gaps included; all of them, or some pieces. Weight decay acts on the first
// `decayed` segments of the layout alone. The backend and the parameters must outlive it. One thread at a time.
class AdamW {
 public:
  // With a rounding_seed, which only bf16 parameters take, there are no master weights: each update rounds the
  // parameters at random, by the seed and the update's number (AdamWUpdate). `under_way` updates may be on their way to
  // the device at a time. Without `owned` it updates all elements. Throws Error(usage) for other parameters,
  // Error(memory) if the state does not fit.
  AdamW(Backend& backend, const Arena& parameters, std::size_t decayed, const AdamWConfig& config,
        std::optional<std::uint64_t> rounding_seed = {}, std::size_t under_way = 2,
        const std::vector<OwnedPiece>& owned = {});

  // Bytes of the state for parameters of this layout, without a rounding_seed; of the pieces, where some are given.
  static std::size_t moment_bytes(const ArenaLayout& parameters, const std::vector<OwnedPiece>& owned = {});
  static std::size_t master_bytes(const ArenaLayout& parameters, const std::vector<OwnedPiece>& owned = {});

  // Copies the parameters into the master weights; for 16-bit parameters to be called once they have their initial
  // values. Does nothing for f32.
  void initialize_master();

  // Uploads what changes from update to update. `update` counts from 1 and sets the bias corrections
  // 1 / (1 - beta^update), computed in double. Gradients are multiplied by gradient_scale first; max_norm 0 clips
  // nothing.
  void set_update(std::int64_t update, double learning_rate, float gradient_scale, float max_norm);
  // One update as set, from `gradients`, all of the parameters' arena as Arena::whole() gives them, in the parameters'
  // dtype or f32: measures the global norm over everything, and updates what it owns. Runs nothing but operations, so
  // that it can be recorded.
  void update(const Tensor& gradients);
  void update(const Arena& gradients) { update(gradients.whole()); }

  // The same in two halves, for the owner of some pieces. First, out f32 [1] is the norm over the pieces that it owns
  // alone, or over all of its pieces.
  void measure(const Tensor& out, const Tensor& gradients, bool with_shared);
  // Then, the global norm is that over `norms`, f32 of any shape, and the pieces are updated. Here, `gradients` may be
  // those of what it owns alone, one piece behind the other.
  void update_pieces(const Tensor& norms, const Tensor& gradients);

  // The norm that the last update measured, f32 [1], of the gradients before gradient_scale.
  const Tensor& norm() const { return norm_; }

  // Calls visit(name, tensor) for every tensor of the state of all elements: first_moment.NAME, second_moment.NAME and,
  // where there are master weights, master.NAME, with the parameters' names and shapes, in the layout's order.
  void for_each_tensor(const std::function<void(const std::string& name, const Tensor& tensor)>& visit) const;
  // The names and shapes alone, for any pieces.
  void for_each_name(const std::function<void(const std::string& name, const Shape& shape)>& visit) const;
  // Calls visit(name, first, part) for the elements from `first` on of each such tensor that it owns, f32 [n], where it
  // owns some.
  void for_each_part(const std::function<void(const std::string& name, std::int64_t first, const Tensor& part,
                                              bool is_shared)>& visit) const;

 private:
  struct State {
    std::string prefix;
    Buffer& buffer;
  };
  std::vector<State> states() const;
  // The f32 elements of `buffer` for so many elements from `offset` on of what is owned.
  static Tensor view(Buffer& buffer, std::size_t offset, std::size_t count);
  Tensor gradients_of(const Tensor& gradients, std::size_t first, std::size_t count, std::size_t offset) const;
  void update_owned(const Tensor& gradients);
  // Updates owned elements on one side of the boundary of decay.
  void update_range(std::size_t first, std::size_t count, std::size_t offset, const Tensor& gradients);

  Backend& backend_;
  const Arena& parameters_;
  std::size_t decayed_;  // elements under decay
  std::size_t decayed_segments_;
  AdamWConfig config_;
  std::vector<OwnedPiece> owned_;
  std::unique_ptr<Buffer> first_moment_;
  std::unique_ptr<Buffer> second_moment_;
  std::unique_ptr<Buffer> master_;
  std::unique_ptr<Buffer> scalars_;
  Tensor state_;
  Tensor norm_;
  std::optional<std::uint64_t> rounding_seed_;
  Tensor random_state_;                        // u32 [4]; absent without a seed
  std::unique_ptr<UploadSlot> update_;         // to state_
  std::unique_ptr<UploadSlot> random_states_;  // to random_state_
};

// The dynamic loss scale of f16 training (Micikevicius et al., 2018): halved when a gradient norm is not finite,
// doubled after `interval` updates in a row that were. A value type.
class LossScaler {
 public:
  explicit LossScaler(double scale = 1.0, std::int64_t interval = 2000) : scale_(scale), interval_(interval) {}
  double scale() const { return scale_; }
  std::int64_t good_updates() const { return good_updates_; }
  // Counts one update. Returns whether the scale can go no lower (below 2^-14): training has diverged.
  bool update(bool finite);
  void restore(double scale, std::int64_t good_updates);

 private:
  double scale_;
  std::int64_t interval_;
  std::int64_t good_updates_ = 0;
};

}  // namespace mslt
