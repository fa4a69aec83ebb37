#pragma once

#include "exec/communication/communicator.hpp"
#include "exec/training/lr_schedule.hpp"
#include "exec/training/optimizer.hpp"

#include <chrono>
#include <cstdint>

namespace runflat::exec {

/// How a job trains, beside its plan.
struct TrainerConfig {
  OptimizerConfig optimizer;
  LrSchedule lr;
  std::uint64_t seed = 1234;
  DataType type = DataType::fp32;  ///< of weights and activations
  std::int64_t num_buckets = 2;    ///< of gradients, for every virtual stage
  bool redundancy = false;  ///< with ZeRO-1: a copy of every optimizer slice on another replica
  bool deterministic = false;
  double rotary_base = 10000.0;
  double norm_epsilon = 1e-5;
  std::chrono::milliseconds timeout{600'000};  ///< of any communication
};

}  // namespace runflat::exec
