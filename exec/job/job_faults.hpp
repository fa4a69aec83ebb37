#pragma once

#include "core/injected_fault.hpp"
#include "exec/recovery/agreement.hpp"
#include "exec/recovery/fault_injector.hpp"
#include "exec/store/store.hpp"

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace runflat::exec {

/// The faults on demand of one process of a job, of which the Store remembers across its lives
/// those that have struck.
class JobFaults {
 public:
  /// `all`: of the job. `self`: this life of the process.
  JobFaults(const std::vector<InjectedFault>& all, const Member& self, Store& store);

  /// This process is about to train: the times of faults count from when the first has said so.
  void note_training();
  /// How many steps the job has taken, when they strike.
  void set_steps(std::int64_t steps) { steps_ = steps; }
  [[nodiscard]] FaultInjector& injector() { return injector_; }

 private:
  void note(const InjectedFault& fault);
  void hang(double seconds) const;

  Member self_;
  Store& store_;
  bool has_faults_;  // the job
  std::int64_t steps_ = 0;
  std::chrono::system_clock::time_point job_began_;
  FaultInjector injector_;
};

/// Keys of the Store by which whoever starts workers knows when one whose fault was on demand comes
/// back: at that step, or `never`; and the steps that a job with such faults has taken.
[[nodiscard]] std::string repair_key(std::int64_t process);
inline constexpr const char* kStepsKey = "steps";

}  // namespace runflat::exec
