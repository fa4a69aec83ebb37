#pragma once

#include "exec/checkpoint/checkpointer.hpp"
#include "exec/job/train_config.hpp"
#include "exec/training/progress.hpp"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>

namespace runflat::exec {

/// Where a job begins.
struct JobStart {
  std::optional<std::filesystem::path> checkpoint;  ///< none: with new weights
  Progress progress;
};

/// The checkpoint that `load` names. ParseError where there is none, but for a job that loads from
/// where it saves: it has not saved yet, and begins with new weights.
[[nodiscard]] JobStart find_start(const CheckpointConfig& config);

/// When one rank of a job saves: every `save_interval` steps, and where the job ends. All ranks
/// call the same, between two steps.
class JobSaver {
 public:
  /// `transport` is one between host memories. `on_saved` is told the step of a checkpoint that has
  /// become visible; `generation` is that of its plan. filesystem_error where the folder cannot be
  /// written to.
  JobSaver(Transport& transport,
           const CheckpointConfig& config,
           const Trainer& trainer,
           std::int64_t generation,
           std::function<void(std::int64_t step)> on_saved);

  void after_step(Device& device, Trainer& trainer);
  /// Whether a save went wrong, maybe not yet known to all ranks; finish() says how.
  [[nodiscard]] bool has_failed() const { return checkpointer_.has_failed(); }
  /// Saves what is not saved, and waits for it. Throws as Checkpointer::wait().
  void finish(Device& device, Trainer& trainer);
  /// A rank was lost: gives up the save in flight.
  void abort() { checkpointer_.abort(); }

 private:
  void save(Device& device, Trainer& trainer);
  void wait();

  std::int64_t interval_;
  std::function<void(std::int64_t step)> on_saved_;
  std::int64_t last_;  // the step whose state was last loaded or given to be saved
  std::optional<std::int64_t> in_flight_;
  Checkpointer checkpointer_;
};

}  // namespace runflat::exec
