#include "exec/recovery/recovery_record.hpp"

#include "exec/recovery/rendezvous.hpp"

#include <algorithm>
#include <chrono>
#include <string>

namespace runflat::exec {
namespace {

double unix_time(Clock::time_point when) {
  const std::chrono::duration<double> ago = Clock::now() - when;
  const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
  return (now - ago).count();
}

}  // namespace

void explain(Store& store, const Agreement& base, const Agreement& next, RecoveryRecord& record) {
  const bool is_joined =
      std::any_of(next.members.begin(), next.members.end(), [&](const Member& member) {
        return !base.has_member(member);
      });
  record.cause = is_joined ? "join" : "peer_lost";
  if (next.waited > 0.0) {
    return;  // what was lost was noticed long ago
  }
  std::optional<Death> first;
  for (const Member& member : trainers_of(base)) {
    if (next.has_member(member)) {
      continue;
    }
    const std::optional<Death> death = find_death(store, member);
    if (death && (!first || death->when < first->when)) {
      first = death;
    }
    record.cause = first && !first->was_silent ? "exit" : "hang";
  }
  if (first) {
    const auto ago = std::chrono::system_clock::now() - first->when;
    const auto noticed_ago = Clock::now() - record.noticed;
    record.detail = first->cause;
    record.detected = std::chrono::duration<double>(ago - noticed_ago).count() - record.quiesced;
  }
}

double seconds_of(const RecoveryRecord& record) {
  return std::max(0.0, record.detected.value_or(0.0)) + record.quiesced + record.carried_out;
}

Value to_value(const RecoveryRecord& record, std::int64_t num_ranks, std::optional<Seconds> redo) {
  const auto ms = [](double seconds) { return Value(seconds * 1e3); };
  const bool is_moved = record.rung == Rung::in_place;
  const double ready = is_moved ? record.moved : record.connected;
  return Value::Object{
      {"generation", record.generation},
      {"rung", std::string(name_of(record.rung))},
      {"reason", record.reason},
      {"cause", record.cause},
      {"detail", record.detail.empty() ? Value() : Value(record.detail)},
      {"step", record.at_step},
      {"members", Value::Array(record.members.begin(), record.members.end())},
      {"num_ranks", num_ranks},
      {"spans_ms",
       Value::Object{{"detect", record.detected ? ms(std::max(0.0, *record.detected)) : Value()},
                     {"quiesce", ms(record.quiesced)},
                     {"agree", ms(record.agreed)},
                     {"communicators", ms(record.connected - record.agreed)},
                     {"move", is_moved ? ms(record.moved - record.connected) : Value()},
                     {"warm_up", ms(record.carried_out - ready)},
                     {"redo", redo ? ms(redo->count()) : Value()}}},
      {"total_ms", ms(seconds_of(record))},
      {"waited_ms", ms(record.waited)},
      {"ready_at", unix_time(record.noticed) + record.carried_out},
      {"bytes_moved", record.bytes_moved}};
}

void add_spans(const RecoveryRecord& record, Rank rank, Seconds noticed, Timeline& timeline) {
  const auto add = [&](const char* name, double begin, double end, std::int64_t bytes = 0) {
    timeline.add({.rank = rank,
                  .stream = Stream::host,
                  .name = name,
                  .begin = noticed + Seconds(begin),
                  .end = noticed + Seconds(std::max(begin, end)),
                  .bytes = Bytes(static_cast<double>(bytes))});
  };
  const double sign = -record.quiesced;
  if (record.detected && *record.detected > 0.0) {
    add("detect", sign - *record.detected, sign);
  }
  add("quiesce", sign, 0.0);
  add("agree", 0.0, record.agreed);
  add("communicators", record.agreed, record.connected);
  const bool is_moved = record.rung == Rung::in_place;
  if (is_moved) {
    add("move", record.connected, record.moved, record.bytes_moved);
  }
  add("warm_up", is_moved ? record.moved : record.connected, record.carried_out);
}

}  // namespace runflat::exec
