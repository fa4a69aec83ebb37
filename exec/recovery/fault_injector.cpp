#include "exec/recovery/fault_injector.hpp"

#include "core/error.hpp"

#include <cmath>
#include <cstring>
#include <limits>
#include <thread>
#include <tuple>
#include <utility>

namespace runflat::exec {
namespace {

FaultPlace place_of(StepMoment moment) {
  return static_cast<FaultPlace>(static_cast<int>(FaultPlace::op) + static_cast<int>(moment));
}

FaultPlace place_of(RecoveryMoment moment) {
  return static_cast<FaultPlace>(static_cast<int>(FaultPlace::agreed) + static_cast<int>(moment));
}

/// Puts a NaN among the gradients before they are summed.
void poison(Trainer& trainer) {
  for (const auto& state : trainer.stages()) {
    for (const Bucket& bucket : state->buckets()) {
      if (bucket.shape.num > 0) {
        const float value = std::numeric_limits<float>::quiet_NaN();
        require(state->accumulate_type() == DataType::fp32, "NaN is written in fp32");
        const std::vector<float> values(static_cast<std::size_t>(bucket.shape.num), value);
        bucket.grads.device().copy_in(bucket.grads.data(), values.data(), bucket.grads.bytes());
        return;
      }
    }
  }
}

void break_links(Trainer& trainer) {
  trainer.groups().abort();
}

}  // namespace

FaultInjector::FaultInjector(std::vector<InjectedFault> faults, FaultActions actions)
    : faults_(std::move(faults)), actions_(std::move(actions)) {}

void FaultInjector::watch(Trainer& trainer) {
  trainer.watch(
      [this, &trainer](StepMoment moment, std::int64_t index) { at_step(trainer, moment, index); });
}

void FaultInjector::at_step(Trainer& trainer, StepMoment moment, std::int64_t index) {
  const bool has_updated = trainer.phase() >= StepPhase::updated;
  const std::int64_t step = trainer.progress().steps + (has_updated ? 0 : 1);
  num_operations_ = step == last_step_ ? num_operations_ : 0;
  last_step_ = step;
  const std::tuple now(last_step_, place_of(moment), index);
  for (std::size_t i = faults_.size(); i-- > 0;) {
    const InjectedFault& fault = faults_[i];
    const bool is_of_step = fault.place <= FaultPlace::end;
    const bool is_due = fault.time ? fault.place == place_of(moment) && is_late(fault)
                                   : now >= std::tuple(fault.step, fault.place, fault.index);
    if (is_of_step && is_due) {
      strike(i, &trainer);
    }
  }
}

void FaultInjector::at(RecoveryMoment moment) {
  for (std::size_t i = faults_.size(); i-- > 0;) {
    const InjectedFault& fault = faults_[i];
    const bool is_due = fault.time ? is_late(fault) : last_step_ >= fault.step;
    if (fault.place == place_of(moment) && is_due) {
      strike(i, nullptr);
    }
  }
}

void FaultInjector::at_operation() {
  ++num_operations_;
  for (std::size_t i = faults_.size(); i-- > 0;) {
    const InjectedFault& fault = faults_[i];
    const bool is_due =
        fault.time ? is_late(fault)
                   : std::tuple(last_step_, num_operations_) > std::tuple(fault.step, fault.index);
    if (fault.place == FaultPlace::operation && is_due) {
      strike(i, nullptr);
    }
  }
}

bool FaultInjector::is_late(const InjectedFault& fault) const {
  return last_step_ > 0 && actions_.elapsed() >= *fault.time;
}

OperationWatcher FaultInjector::operation_watcher() {
  return {.queued = [this] { at_operation(); },
          .received =
              [this](std::span<const Receive> receives) {
                if (std::exchange(corrupts_next_, false)) {
                  for (const Receive& receive : receives) {
                    std::memset(receive.data, 0xff, static_cast<std::size_t>(receive.bytes));
                  }
                }
              }};
}

void FaultInjector::strike(std::size_t index, Trainer* trainer) {
  const InjectedFault fault = faults_[index];
  faults_.erase(faults_.begin() + static_cast<std::ptrdiff_t>(index));
  actions_.on_fault(fault);
  switch (fault.kind) {
    case FaultKind::kill:
      actions_.kill();
      break;
    case FaultKind::stop:
      actions_.hang(0.0);
      break;
    case FaultKind::hang:
      actions_.hang(fault.seconds);
      break;
    case FaultKind::slow:
      std::this_thread::sleep_for(std::chrono::duration<double>(fault.seconds));
      break;
    case FaultKind::nan:
      if (trainer != nullptr) {
        poison(*trainer);
      }
      break;
    case FaultKind::corrupt:
      corrupts_next_ = true;
      break;
    case FaultKind::drop_link:
      if (trainer != nullptr) {
        break_links(*trainer);
      }
      break;
  }
}

}  // namespace runflat::exec
