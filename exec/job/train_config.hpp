#pragma once

#include "core/plan.hpp"
#include "core/reader.hpp"
#include "core/value.hpp"
#include "exec/data/training_data.hpp"
#include "exec/training/trainer.hpp"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace runflat::exec {

/// `[log]`, with Megatron's names and defaults.
struct LogConfig {
  std::int64_t log_interval = 100;  ///< steps between two lines
  bool log_throughput = false;
  std::optional<std::filesystem::path> tensorboard_dir;
};

/// `[checkpoint]`: `save`, `save_interval` and `load` as in Megatron.
struct CheckpointConfig {
  std::optional<std::filesystem::path> save;  ///< the folder of the job's checkpoints
  /// Steps between two saves; 0: none before the job ends.
  std::int64_t save_interval = 0;
  std::int64_t keep = 3;                      ///< so many of the last checkpoints; 0: all
  std::optional<std::filesystem::path> load;  ///< a checkpoint, or a folder with a latest one
};

/// `[recovery]`: what happens when workers are lost. Its `policy` is that of the plan, as
/// replan_in_place() follows it: ntp, dp_drop or spare_domain.
struct RecoveryConfig {
  /// How long a meeting waits for a worker that is not known to be dead.
  std::chrono::milliseconds join_timeout{60'000};
  /// How long attempts to go on in place may take before the last checkpoint is loaded.
  std::chrono::milliseconds in_place_timeout{120'000};
  /// How long those who hold the state wait for others to join where the policy cannot go on
  /// without; then the job stops.
  std::chrono::milliseconds wait_for_spare{0};
  /// How long a worker may make no progress of its own before it is ended.
  std::chrono::milliseconds hang_timeout{60'000};
  /// How long the agent of a host may give no sign before its workers are left out.
  std::chrono::milliseconds lost_host_timeout{10'000};
  /// Whether who comes back is taken in only where the steps left win the pause back. As fast as
  /// before, as when a spare domain has taken over, they do not: who comes back is a spare then,
  /// until workers are lost again.
  bool rejoins_when_it_pays = true;
  std::chrono::milliseconds rejoin_pause{1'000};  ///< expected, until one was measured
  std::int64_t max_restarts = 3;                  ///< of every process
  std::chrono::milliseconds restart_delay{0};     ///< from the end of a process to its next start
};

/// A job for `runflat train`.
struct TrainConfig {
  Plan plan;
  TrainerConfig trainer;
  std::int64_t train_iters = 0;
  std::int64_t eval_interval = 0;  ///< steps between two validations; 0: none
  std::int64_t eval_iters = 0;     ///< global batches of one
  DataConfig data;
  LogConfig log;
  CheckpointConfig checkpoint;
  RecoveryConfig recovery;
  Value document;     ///< what was read
  std::string store;  ///< URL of the Store where processes meet; empty: by the launcher
};

/// Tables `[model]`, `[layout]` and `[cluster]`, or `plan = "plan.json"`; `[training]`,
/// `[optimizer]`, `[data]`, `[log]`, `[checkpoint]`, `[recovery]`, and `store`. ParseError for
/// unknown keys and for what contradicts itself.
[[nodiscard]] TrainConfig read_train_config(const Reader& in);

/// The file with values changed as by `--set` (core/override.hpp).
[[nodiscard]] TrainConfig load_train_config(const std::filesystem::path& path,
                                            const std::vector<std::string>& overrides);

}  // namespace runflat::exec
