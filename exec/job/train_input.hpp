#pragma once

#include "exec/data/sample_source.hpp"
#include "exec/job/job_checkpoints.hpp"
#include "exec/job/train_config.hpp"

#include <memory>

namespace runflat::exec {

/// What a job is given, which ranks of one process share.
struct TrainInput {
  JobStart start;
  std::unique_ptr<SampleSource> train;
  std::unique_ptr<SampleSource> valid;  ///< nullptr without validation
};

[[nodiscard]] TrainInput make_train_input(const TrainConfig& config);

}  // namespace runflat::exec
