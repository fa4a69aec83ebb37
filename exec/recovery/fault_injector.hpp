#pragma once

#include "core/injected_fault.hpp"
#include "core/units.hpp"
#include "exec/communication/watched_transport.hpp"
#include "exec/recovery/worker.hpp"
#include "exec/training/trainer.hpp"

#include <cstdint>
#include <functional>
#include <vector>

namespace runflat::exec {

/// What a fault does to a process that it does not live in.
struct FaultActions {
  std::function<void()> kill;                          ///< does not return
  std::function<void(double seconds)> hang;            ///< 0: until the others have gone on
  std::function<void(const InjectedFault&)> on_fault;  ///< it strikes now
  std::function<Seconds()> elapsed;                    ///< since the first step of the job began
};

/// Makes the faults of one process happen, each once.
class FaultInjector {
 public:
  FaultInjector(std::vector<InjectedFault> faults, FaultActions actions);

  /// Follows the steps of a trainer.
  void watch(Trainer& trainer);
  /// The same, for whoever watches it already.
  void at_step(Trainer& trainer, StepMoment moment, std::int64_t index);
  /// Follows the transitions of a worker.
  void at(RecoveryMoment moment);
  /// Follows the communication of a transport.
  [[nodiscard]] OperationWatcher operation_watcher();

 private:
  void at_operation();
  /// Whether the time of a fault that has one has come, for a process that has trained.
  [[nodiscard]] bool is_late(const InjectedFault& fault) const;
  void strike(std::size_t fault, Trainer* trainer);

  std::vector<InjectedFault> faults_;  // those to come
  FaultActions actions_;
  std::int64_t last_step_ = 0;
  std::int64_t num_operations_ = 0;  // since it began
  bool corrupts_next_ = false;
};

}  // namespace runflat::exec
