#pragma once

#include "sim/class_sampler.hpp"
#include "sim/failure_model.hpp"
#include "sim/fault_window.hpp"
#include "sim/maintenance_plan.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace runflat::sim {

/// What fails in trial number `trial_number`, window by window: a pure function of its arguments.
/// Arrivals, targets and repairs of each class draw from streams of their own: another repair law
/// keeps when and where things fail, another rate of one class keeps the other classes, and a
/// larger `scale` compresses the same arrivals. Batches, recurrences, silence and node rates draw
/// from further streams, so without them nothing changes.
///
/// Faults arrive from -warm_up to `duration` and those repaired by time 0, or found only after the
/// end, are left out. Maintenance has the class indices after those of the classes.
///
/// Holds one window and what an arrival before its end leads to later (the rest of a batch, what
/// is not found yet, recurrences), so its memory does not grow with `duration`.
class FaultStream {
 public:
  /// `model` must outlive the stream. Throws InvalidArgument for a negative or infinite rate, a
  /// shape outside [0.05, 1000], components that always fail again, or more than 1e8 faults
  /// expected.
  FaultStream(const FailureModel& model,
              const ClusterShape& shape,
              SimTime duration,
              std::uint64_t seed,
              std::uint32_t trial_number);
  FaultStream(const FaultStream&) = delete;
  FaultStream& operator=(const FaultStream&) = delete;
  FaultStream(FaultStream&&) = delete;
  FaultStream& operator=(FaultStream&&) = delete;
  ~FaultStream() = default;

  /// Holds until the next call. None after the last.
  [[nodiscard]] std::optional<FaultWindow> next();

  /// Over the whole trial, in the long run.
  [[nodiscard]] double num_expected() const { return num_expected_; }
  /// Faults, slowdowns and corruptions in memory.
  [[nodiscard]] std::size_t num_held() const {
    return waiting_.faults.num_held() + waiting_.slowdowns.num_held() +
           waiting_.corruptions.num_held();
  }

 private:
  SampledTrial trial_;
  std::vector<ClassSampler> classes_;
  std::vector<MaintenancePlan> maintenance_;
  WaitingFaults waiting_;
  double num_expected_ = 0.0;
  SimTime window_{};
  SimTime end_{};  // of the windows so far
};

}  // namespace runflat::sim
