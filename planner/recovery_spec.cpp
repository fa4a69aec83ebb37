#include "planner/recovery_spec.hpp"

#include "sim/span_reader.hpp"

#include <string_view>

namespace runflat::planner {
namespace {

void read_span_or_keep(ObjectReader& in, std::string_view stem, Seconds& span) {
  if (const std::optional<Seconds> found = sim::find_span(in, stem)) {
    span = *found;
  }
}

Seconds blocking_cost(CheckpointKind kind) {
  switch (kind) {
    case CheckpointKind::synchronous:
      return Seconds{20.0};
    case CheckpointKind::asynchronous:
      return Seconds{0.5};
    case CheckpointKind::in_memory:
      return Seconds{0.04};
  }
  return {};
}

std::array<bool, sim::kNumBlastRadii> read_survives(const Reader& in) {
  std::array<bool, sim::kNumBlastRadii> survives{};
  for (const Reader& item : in.items()) {
    survives[item.choice({"gpu", "node", "domain", "job"})] = true;
  }
  return survives;
}

/// A choice among the words of an enumeration, in its order.
template <typename Enum>
void read_choice_or_keep(ObjectReader& in,
                         std::string_view key,
                         const std::vector<std::string_view>& words,
                         Enum& value) {
  if (const std::optional<Reader> item = in.find(key)) {
    value = static_cast<Enum>(item->choice(words));
  }
}

}  // namespace

CheckpointSpec read_checkpoint(const Reader& in) {
  ObjectReader members = in.object();
  CheckpointSpec checkpoint;
  read_choice_or_keep(
      members, "kind", {"synchronous", "asynchronous", "in_memory"}, checkpoint.kind);
  checkpoint.cost = blocking_cost(checkpoint.kind);
  read_span_or_keep(members, "cost", checkpoint.cost);
  checkpoint.interval = sim::find_span(members, "interval");
  read_choice_or_keep(members, "rule", {"young", "daly", "adaptive"}, checkpoint.rule);
  read_span_or_keep(members, "longest_interval", checkpoint.longest_interval);
  read_span_or_keep(members, "stored_interval", checkpoint.stored_interval);
  checkpoint.save_GBps =
      read_or(members, "save_GBps", checkpoint.save_GBps, &Reader::positive_number);
  checkpoint.load_GBps =
      read_or(members, "load_GBps", checkpoint.load_GBps, &Reader::positive_number);
  checkpoint.survives = read_or(members, "survives", checkpoint.survives, read_survives);
  members.finish();
  if (checkpoint.longest_interval.count() <= 0.0 || checkpoint.stored_interval.count() <= 0.0 ||
      (checkpoint.interval && checkpoint.interval->count() <= 0.0)) {
    in.reject("a checkpoint interval must be above 0");
  }
  if (checkpoint.interval && checkpoint.rule == IntervalRule::adaptive) {
    in.reject("an interval that is given does not adapt");
  }
  return checkpoint;
}

RecoverySpec read_recovery(const Reader& in) {
  ObjectReader members = in.object();
  RecoverySpec recovery;
  read_span_or_keep(members, "detect_crash", recovery.detect_crash);
  read_span_or_keep(members, "detect_hang", recovery.detect_hang);
  read_span_or_keep(members, "detect_timeout", recovery.detect_timeout);
  const std::optional<Seconds> restart = sim::find_span(members, "restart");
  recovery.restart = restart.value_or(recovery.restart);
  recovery.start = sim::find_span(members, "start");
  read_span_or_keep(members, "spare_swap", recovery.spare_swap);
  read_span_or_keep(members, "standby_swap", recovery.standby_swap);
  recovery.hot_spares = read_or(members, "hot_spares", recovery.hot_spares, &Reader::boolean);
  read_span_or_keep(members, "rejoin", recovery.rejoin);
  read_span_or_keep(members, "quiesce", recovery.quiesce);
  read_span_or_keep(members, "quiesce_pending", recovery.quiesce_pending);
  read_choice_or_keep(members, "communicators", {"shrink", "reinitialise"}, recovery.communicators);
  read_span_or_keep(members, "communicator_base", recovery.communicator_base);
  read_span_or_keep(members, "communicator_per_doubling", recovery.communicator_per_doubling);
  read_span_or_keep(members, "communicator_init", recovery.communicator_init);
  read_span_or_keep(members, "communicator_init_at_96k", recovery.communicator_init_at_96k);
  read_span_or_keep(members, "state_copy_base", recovery.state_copy_base);
  recovery.state_copy_GBps =
      read_or(members, "state_copy_GBps", recovery.state_copy_GBps, &Reader::positive_number);
  recovery.nvlink_copy_GBps =
      read_or(members, "nvlink_copy_GBps", recovery.nvlink_copy_GBps, &Reader::positive_number);
  read_span_or_keep(members, "warm_up", recovery.warm_up);
  recovery.peer_state = read_or(members, "peer_state", recovery.peer_state, &Reader::boolean);
  read_choice_or_keep(members, "rejoin_rule", {"always", "when_it_pays"}, recovery.rejoin_rule);
  read_choice_or_keep(members, "batch", {"flexible", "fixed"}, recovery.batch);
  members.finish();
  if (recovery.start && restart) {
    in.reject("give the whole restart, or its start alone, not both");
  }
  return recovery;
}

}  // namespace runflat::planner
