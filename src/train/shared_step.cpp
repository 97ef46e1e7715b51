// The part of a TrainingStep that several ranks make together: gradients reduced in buckets behind the backward pass,
// and the stages of ZeRO (Rajbhandari et al., 2020).
#include "train/training_step.h"

#include <chrono>

namespace mslt {
namespace {

Tensor slice(const Tensor& all, std::size_t first, std::size_t count) {
  return all.slice(static_cast<std::int64_t>(first), static_cast<std::int64_t>(count));
}

}  // namespace

Tensor TrainingStep::summed_gradients() const {
  return sums_ ? sums_ : pass_.gradients().whole();
}

Tensor TrainingStep::bucket_tensor(std::size_t bucket) const {
  const auto& [first, count, divided] = buckets_[bucket];
  if (!places_) return slice(summed_gradients(), first, count);
  const Arena& gradients = pass_.gradients();
  const DType dtype = gradients.layout().segments().front().dtype;
  return {gradients.buffer(), places_->offsets[bucket], dtype, {static_cast<std::int64_t>(count)}};
}

void TrainingStep::record_parts() {
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    recorded_parts_.push_back(backend_.record([&] {
      if (places_) {
        // The embeddings' gradients begin with those of the output head.
        if (i == 0) backend_.run(Fill{.out = bucket_tensor(parts_.size() - 1), .value = 0.0f});
        if (i + 1 < parts_.size()) backend_.run(Fill{.out = bucket_tensor(i), .value = 0.0f});
      }
      pass_.forward_backward(parts_[i], loss_sum_, loss_scale_, random_state_);
      if (!sums_ || places_) return;
      const Tensor gradients = slice(pass_.gradients().whole(), parts_[i].first, parts_[i].count);
      backend_.run(Add{.out = bucket_tensor(i), .in = gradients});
    }));
    if (places_) record_taking_in(i);
  }
  if (!shards_state()) return;
  const Tensor own = slice(norms_, static_cast<std::size_t>(norms_.elements() / options_.ranks * options_.rank), 1);
  measuring_ = backend_.record([&] { optimizer_.measure(own, summed_gradients(), options_.rank == 0); });
}

void TrainingStep::record_taking_in(std::size_t bucket) {
  const auto& [first, count, divided] = buckets_[bucket];
  taking_in_.push_back(backend_.record([&] {
    std::size_t offset = 0;
    for (const OwnedPiece& piece : owned_) {
      if (piece.first >= first && piece.first < first + count) {
        backend_.run(Add{.out = slice(sums_, offset, piece.count),
                         .in = slice(bucket_tensor(bucket), piece.first - first, piece.count)});
      }
      offset += piece.count;
    }
  }));
}

void TrainingStep::replay_parts(bool is_last_batch) {
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    backend_.replay(*recorded_parts_[i]);
    // Two buckets are under way: one is reduced, the next one is filled.
    if (places_ && i > 0) take_in(i - 1);
    begin_bucket(i);
    if (i == 0 && is_last_batch && others_ != nullptr) others_->begin_sum(backend_, loss_sum_);
  }
  if (places_) {
    take_in(parts_.size() - 1);
  } else {
    finish_works();
  }
}

void TrainingStep::finish_works() {
  if (others_ == nullptr) return;
  const auto begin = std::chrono::steady_clock::now();
  others_->finish(backend_);
  waited_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

void TrainingStep::begin_bucket(std::size_t bucket) {
  if (others_ == nullptr) return;
  const auto& [first, count, divided] = buckets_[bucket];
  const Tensor gradients = bucket_tensor(bucket);
  if (!shards_state()) {
    others_->begin_sum(backend_, gradients);
    return;
  }
  if (divided > 0) others_->begin_reduce_scatter(backend_, slice(gradients, 0, divided));
  if (divided < count) others_->begin_sum(backend_, slice(gradients, divided, count - divided));
}

void TrainingStep::take_in(std::size_t bucket) {
  finish_works();
  backend_.replay(*taking_in_[bucket]);
}

// Every rank's share, at the same place for all, so that all find the same global norm.
void TrainingStep::gather_norms() {
  backend_.replay(*measuring_);
  if (others_ == nullptr) return;
  others_->begin_all_gather(backend_, norms_);
  finish_works();
}

void TrainingStep::gather_parameters() {
  if (others_ == nullptr) return;
  const Tensor parameters = pass_.transformer().parameters().whole();
  for (const Bucket& bucket : buckets_) {
    if (bucket.divided > 0) others_->begin_all_gather(backend_, slice(parameters, bucket.first, bucket.divided));
  }
  finish_works();
}

}  // namespace mslt
