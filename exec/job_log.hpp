#pragma once

#include "exec/event_file.hpp"
#include "exec/train_config.hpp"
#include "exec/train_log.hpp"

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
  /// `header` is the first line that this job writes to the JSON file; one that goes on from a step
  /// adds to what is there. filesystem_error where a file cannot be made.
  JobLog(const TrainConfig& config,
         const std::optional<std::filesystem::path>& json,
         const Value& header,
         bool goes_on,
         std::ostream& console);

  void add(const StepRecord& record);
  void add_validation(std::int64_t step, double loss);
  /// Of a checkpoint, as Megatron says it.
  void add_loaded(const std::filesystem::path& checkpoint, std::int64_t step);
  void add_saved(const std::filesystem::path& folder, std::int64_t step);
  void add_stop(std::int64_t step);

 private:
  void add_event(const StepRecord& record);

  LogConfig config_;
  std::int64_t train_iters_;
  std::int64_t num_ranks_;
  std::ostream& console_;
  std::ofstream json_;
  std::optional<EventFile> events_;
  LogInterval interval_;
};

}  // namespace runflat::exec
