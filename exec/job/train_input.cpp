#include "exec/job/train_input.hpp"

#include <algorithm>
#include <cstdint>

namespace runflat::exec {

TrainInput make_train_input(const TrainConfig& config) {
  const std::int64_t batch = config.plan.global_batch_size();
  const auto seed = static_cast<std::uint32_t>(config.trainer.seed);
  TrainInput input;
  input.start = find_start(config.checkpoint);
  const Progress& done = input.start.progress;
  // As many as the whole job takes, however many of them are left: the order depends on it.
  const std::int64_t num_samples =
      done.consumed_samples + std::max<std::int64_t>(config.train_iters - done.steps, 0) * batch;
  input.train = make_samples(config.data, config.plan.model, Split::train, num_samples, seed);
  if (config.eval_interval > 0) {
    const std::int64_t num_evaluations = config.train_iters / config.eval_interval + 1;
    input.valid = make_samples(config.data,
                               config.plan.model,
                               Split::valid,
                               num_evaluations * config.eval_iters * batch,
                               seed);
  }
  return input;
}

}  // namespace runflat::exec
