#pragma once

#include "exec/files/event_file.hpp"
#include "exec/job/train_config.hpp"
#include "exec/job/train_log.hpp"
#include "exec/recovery/worker.hpp"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iosfwd>
#include <optional>

namespace runflat::exec {

/// All that one rank of a job, the one that reports, writes while it trains: Megatron's lines to
/// the console, a line of JSON per step to a file, and TensorBoard's events.
class JobLog {
 public:
  /// One that goes on adds to what is there; the first line that a job writes to the JSON file is
  /// its header. filesystem_error where a file cannot be made.
  JobLog(const TrainConfig& config,
         const std::optional<std::filesystem::path>& json,
         bool goes_on,
         std::ostream& console);

  void add_header(const Value& header);

  void add(const StepRecord& record);
  void add_validation(std::int64_t step, double loss);
  /// Of a checkpoint, as Megatron says it.
  void add_loaded(const std::filesystem::path& checkpoint, std::int64_t step);
  void add_saved(const std::filesystem::path& folder, std::int64_t step);
  void add_stop(std::int64_t step);
  /// A transition to another plan. `redo`: how long its first step took.
  void add_recovery(const RecoveryRecord& record, const Plan& plan, std::optional<Seconds> redo);

  /// The last step in the JSON file, whoever wrote it; 0: none, or there is no file.
  [[nodiscard]] std::int64_t last_step() const;

 private:
  void add_event(const StepRecord& record);

  LogConfig config_;
  std::int64_t train_iters_;
  std::ostream& console_;
  std::optional<std::filesystem::path> path_;
  std::ofstream json_;
  std::optional<EventFile> events_;
  LogInterval interval_;
};

}  // namespace runflat::exec
