#pragma once

#include "core/injected_fault.hpp"
#include "core/replan.hpp"
#include "exec/data/sample_source.hpp"
#include "exec/drill/planned_job.hpp"
#include "exec/recovery/worker.hpp"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace runflat::exec {

/// A job whose workers are threads, with faults on demand.
struct LoopbackJob {
  WorkerConfig worker;
  Replanner replan;
  std::vector<InjectedFault> faults{};
  /// Where checkpoints go, and how many steps lie between two; 0: there are none.
  std::filesystem::path checkpoints{};
  std::int64_t save_interval = 0;
  std::chrono::milliseconds deadline{60'000};  ///< of the whole run
};

/// A fault that struck, and the transition that followed. Seconds count from when it struck.
struct FaultRecord {
  InjectedFault fault;
  std::int64_t life = 1;            ///< of the process
  std::optional<double> detected;   ///< the first worker went to meet the others
  std::optional<double> recovered;  ///< the last one was ready to train again
  std::optional<Rung> rung;         ///< none where the run took no notice
  std::string reason;
};

struct JobOutcome {
  bool is_in_time = true;
  WorkerEnd end = WorkerEnd::stopped;  ///< of those that were there at the end
  std::string reason;
  Losses losses;    ///< of the steps that were taken; of those taken again, the first
  PlanSpans spans;  ///< under which they were
  /// Steps for which two workers do not have the same loss to the bit: none, unless the job has
  /// started again.
  std::vector<std::int64_t> unequal_steps;
  std::vector<RecoveryRecord> recoveries;  ///< of all workers, by generation
  std::vector<FaultRecord> faults;         ///< that struck, in their order
};

/// Runs a job to its end in host memory. Processes that ended come back as their faults say, or
/// when the job waits for them. A run that is not over at its deadline is ended, and says so.
[[nodiscard]] JobOutcome run_loopback_job(const LoopbackJob& job, const SampleSource& data);

}  // namespace runflat::exec
