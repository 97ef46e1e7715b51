// Whole runs of bf16 without master weights.
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "backend/registry.h"
#include "formats/safetensors.h"
#include "train/trainer_fixture.h"

namespace mslt {
namespace {

class TrainerRoundingTest : public TrainerTest {
 protected:
  TrainOptions rounding_options() const {
    TrainOptions now = options();
    now.dtype = "bf16";
    now.master_weights = MasterWeights::none;
    now.grad_dtype = GradientSums::f32;
    now.grad_accum = 2;
    now.steps = 4;
    now.warmup = 1;
    now.eval_every = 0;
    now.eval_batches = 1;
    now.save_every = 2;
    return now;
  }
  // On a device that trains in 16 bits.
  TrainResult train(const TrainOptions& options) {
    TrainCallbacks callbacks;
    callbacks.event = [&](const TrainEvent& event) {
      const auto* const step = std::get_if<StepEvent>(&event);
      if (step != nullptr && step->step == stop_after_) stop_ = true;
    };
    callbacks.stop = &stop_;
    const auto backend = make_backend("msl-host");
    Trainer trainer(std::make_unique<Trainer::Parts>(options, std::move(callbacks), *backend));
    EXPECT_EQ(trainer.plan().memory.master_weights, 0u);
    return trainer.run();
  }

  std::int64_t stop_after_ = 0;
};

TEST_F(TrainerRoundingTest, StoppingAndResumingChangesNoBit) {
  TrainOptions now = rounding_options();
  train(now);
  const fs::path last = run_folder() / "checkpoints/step-4";
  const std::string weights = slurp(last / "model.safetensors");
  const std::string moments = slurp(last / "optimizer.safetensors");
  const SafetensorsFile saved(last / "optimizer.safetensors");
  for (const SafetensorsEntry& entry : saved.entries()) {
    EXPECT_FALSE(entry.name.starts_with("master.")) << entry.name;
  }
  fs::remove_all(run_folder());
  stop_after_ = 1;
  EXPECT_TRUE(train(now).interrupted);
  stop_ = false;
  stop_after_ = 0;
  now.resume = true;
  train(now);
  EXPECT_TRUE(slurp(last / "model.safetensors") == weights);
  EXPECT_TRUE(slurp(last / "optimizer.safetensors") == moments);

  // The seed draws the numbers of rounding as well.
  now.master_weights = MasterWeights::f32;
  try {
    train(now);
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_TRUE(contains(error.what(), "master_weights nothing instead of none")) << error.what();
  }
  now = options();
  now.master_weights = MasterWeights::none;
  EXPECT_TRUE(contains(rejection(now, ErrorKind::usage), "--master-weights none goes with --dtype bf16, not f32"));
}

}  // namespace
}  // namespace mslt
