#include "exec/training/step_recorder.hpp"

#include <algorithm>

namespace runflat::exec {
namespace {

OpKind kind_of(SyncOperation::Kind kind) {
  switch (kind) {
    case SyncOperation::Kind::reshard_to_sync:
      return OpKind::reshard_to_sync;
    case SyncOperation::Kind::reduce:
      return OpKind::reduce;
    case SyncOperation::Kind::gather:
      return OpKind::gather;
    case SyncOperation::Kind::reshard_to_compute:
      return OpKind::reshard_to_compute;
  }
  return OpKind::reduce;
}

bool is_within_tp(SyncOperation::Kind kind) {
  return kind == SyncOperation::Kind::reshard_to_sync ||
         kind == SyncOperation::Kind::reshard_to_compute;
}

}  // namespace

void StepRecorder::start(JobGroups& groups) {
  is_on_ = true;
  for (auto* group : {groups.tp.get(), groups.dp.get(), groups.mp.get()}) {
    if (group != nullptr) {
      group->record_times();
    }
  }
}

void StepRecorder::begin_step() {
  begin_ = Clock::now();
  compute_.clear();
  on_tp_.clear();
  on_dp_.clear();
  on_mp_.clear();
}

void StepRecorder::add_compute(const ScheduleOp& op, Mark begin, Mark end) {
  compute_.push_back({.span = {.stream = Stream::compute,
                               .name = std::string(name_of(op.kind)),
                               .microbatch = op.microbatch,
                               .vp_stage = op.vp_stage},
                      .begin = begin,
                      .end = end});
}

void StepRecorder::add_sync(std::int32_t vp_stage, const SyncOperation& operation) {
  if (!is_on_) {
    return;
  }
  auto& named = is_within_tp(operation.kind) ? on_tp_ : on_dp_;
  named.push_back({.span = {.stream = is_within_tp(operation.kind) ? Stream::tp : Stream::dp,
                            .name = std::string(name_of(kind_of(operation.kind))),
                            .vp_stage = vp_stage,
                            .bucket = static_cast<std::int32_t>(operation.bucket),
                            .bytes = {static_cast<double>(operation.bytes)}},
                   .ticket = operation.ticket});
}

void StepRecorder::add_message(const ScheduleOp& op, Ticket ticket, std::int64_t bytes) {
  if (!is_on_) {
    return;
  }
  on_mp_.push_back({.span = {.stream = Stream::pp,
                             .name = std::string(name_of(op.kind)),
                             .microbatch = op.microbatch,
                             .vp_stage = op.vp_stage,
                             .bytes = {static_cast<double>(bytes)}},
                    .ticket = ticket});
}

void StepRecorder::add_operations(Timeline& timeline,
                                  std::vector<Named>& named,
                                  Communicator* group,
                                  Rank rank) const {
  if (group == nullptr) {
    return;
  }
  const std::vector<OperationTime> times = group->take_times();
  for (Named& operation : named) {
    const auto time = std::find_if(times.begin(), times.end(), [&](const OperationTime& candidate) {
      return candidate.ticket == operation.ticket;
    });
    if (time != times.end()) {
      operation.span.rank = rank;
      operation.span.begin = time->begin - begin_;
      operation.span.end = time->end - begin_;
      timeline.add(std::move(operation.span));
    }
  }
}

Timeline StepRecorder::take_timeline(Rank rank, Device& device, JobGroups& groups) {
  Timeline timeline;
  for (Marked& op : compute_) {
    op.span.rank = rank;
    op.span.begin = device.time_of(op.begin) - begin_;
    op.span.end = device.time_of(op.end) - begin_;
    timeline.add(std::move(op.span));
  }
  add_operations(timeline, on_tp_, groups.tp.get(), rank);
  add_operations(timeline, on_dp_, groups.dp.get(), rank);
  add_operations(timeline, on_mp_, groups.mp.get(), rank);
  begin_step();
  return timeline;
}

}  // namespace runflat::exec
