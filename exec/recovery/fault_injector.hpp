#pragma once

#include "exec/communication/watched_transport.hpp"
#include "exec/recovery/fault_plan.hpp"
#include "exec/recovery/worker.hpp"
#include "exec/training/trainer.hpp"

#include <cstdint>
#include <functional>
#include <vector>

namespace runflat::exec {

/// What a fault does to a process that it does not live in.
struct FaultActions {
  std::function<void()> kill;                  ///< does not return
  std::function<void(double seconds)> hang;    ///< 0: until the others have gone on
  std::function<void(const Fault&)> on_fault;  ///< it strikes now
};

/// Makes the faults of one process happen, each once.
class FaultInjector {
 public:
  FaultInjector(std::vector<Fault> faults, FaultActions actions);

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
  void strike(std::size_t fault, Trainer* trainer);

  std::vector<Fault> faults_;  // those to come
  FaultActions actions_;
  std::int64_t last_step_ = 0;
  std::int64_t num_operations_ = 0;  // since it began
  bool corrupts_next_ = false;
};

}  // namespace runflat::exec
