#pragma once

#include "core/schedule.hpp"
#include "core/timeline.hpp"
#include "exec/communication/communicator.hpp"
#include "exec/device/device.hpp"
#include "exec/training/grad_sync.hpp"
#include "exec/training/job_groups.hpp"

#include <cstdint>
#include <map>
#include <vector>

namespace runflat::exec {

/// Notes what one rank did during a step, as the spans that the simulator predicts.
class StepRecorder {
 public:
  void start(JobGroups& groups);
  [[nodiscard]] bool is_on() const { return is_on_; }

  void begin_step();
  /// A span on the compute stream.
  void add_compute(const ScheduleOp& op, Mark begin, Mark end);
  /// An operation of a communicator that is still to come to an end.
  void add_sync(std::int32_t vp_stage, const SyncOperation& operation);
  void add_message(const ScheduleOp& op, Ticket ticket, std::int64_t bytes);

  /// After the device has been synchronised.
  [[nodiscard]] Timeline take_timeline(Rank rank, Device& device, JobGroups& groups);

 private:
  struct Named {
    Span span;
    Ticket ticket = 0;
  };
  void add_operations(Timeline& timeline,
                      std::vector<Named>& named,
                      Communicator* group,
                      Rank rank) const;

  bool is_on_ = false;
  Clock::time_point begin_;
  struct Marked {
    Span span;
    Mark begin = 0;
    Mark end = 0;
  };
  std::vector<Marked> compute_;
  std::vector<Named> on_tp_;
  std::vector<Named> on_dp_;
  std::vector<Named> on_mp_;
};

}  // namespace runflat::exec
