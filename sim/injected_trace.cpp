#include "sim/injected_trace.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <fmt/format.h>
#include <functional>
#include <queue>
#include <unordered_map>

namespace runflat::sim {
namespace {

constexpr std::array kKinds{FaultKind::kill,
                            FaultKind::stop,
                            FaultKind::hang,
                            FaultKind::slow,
                            FaultKind::nan,
                            FaultKind::corrupt,
                            FaultKind::drop_link};

/// How much of its step is over when a fault strikes. One in a transition waits for it from after
/// the end of the step before, and not later than what strikes in this step.
double share_over(FaultPlace place) {
  if (is_in_transition(place)) {
    return 0.25;
  }
  const bool is_decided = place >= FaultPlace::update && place <= FaultPlace::end;
  return is_decided ? 1.0 : 0.5;
}

/// Lives through the faults in order of time, with the GPUs that they take and give back.
class Script {
 public:
  Script(const std::vector<InjectedFault>& faults, const InjectionSpec& spec)
      : faults_(faults), spec_(spec) {
    for (std::size_t i = 0; i < faults.size(); ++i) {
      const InjectedFault& fault = faults[i];
      const bool waits = is_in_transition(fault.place);
      events_.push({moment_of(fault), waits ? Happening::waits : Happening::strikes, i});
    }
    for (const FaultKind kind : kKinds) {
      trace_.class_names.emplace_back(name_of(kind));
    }
  }

  [[nodiscard]] FaultTrace play() && {
    while (!events_.empty()) {
      const Event event = events_.top();
      events_.pop();
      now_ = event.time;
      switch (event.happening) {
        case Happening::waits:
          waiting_.push_back(event.fault);
          break;
        case Happening::comes_back:
          go_through_transition();
          break;
        case Happening::strikes:
          try_strike(event.fault);
          break;
      }
    }
    std::sort(trace_.faults.begin(), trace_.faults.end());
    std::sort(trace_.slowdowns.begin(), trace_.slowdowns.end());
    return std::move(trace_);
  }

 private:
  /// In the order in which they come at one moment.
  enum class Happening : std::uint8_t { waits, comes_back, strikes };
  struct Event {
    SimTime time{};
    Happening happening = Happening::strikes;
    std::size_t fault = 0;

    friend auto operator<=>(const Event&, const Event&) = default;
  };

  [[nodiscard]] SimTime moment_of(const InjectedFault& fault) const {
    const double steps = static_cast<double>(fault.step - 1) + share_over(fault.place);
    return to_sim_time(fault.time.value_or(steps * spec_.step_time));
  }

  /// When the GPU of a fault is there: now, later, or never.
  [[nodiscard]] SimTime next_up(std::size_t fault) const {
    const auto known = down_until_.find(faults_[fault].rank);
    return known == down_until_.end() ? now_ : std::max(now_, known->second);
  }

  void try_strike(std::size_t fault) {
    const SimTime up = next_up(fault);
    if (up == now_) {
      strike(faults_[fault]);
    } else if (up != kNever) {
      events_.push({up, Happening::strikes, fault});
    }
  }

  void go_through_transition() {
    const auto is_up = [this](std::size_t fault) { return next_up(fault) == now_; };
    for (auto next = std::find_if(waiting_.begin(), waiting_.end(), is_up); next != waiting_.end();
         next = std::find_if(waiting_.begin(), waiting_.end(), is_up)) {
      const InjectedFault& fault = faults_[*next];
      waiting_.erase(next);
      strike(fault);
    }
  }

  void strike(const InjectedFault& fault) {
    switch (fault.kind) {
      case FaultKind::kill:
        return lose_gpu(fault, Detection::crash);
      case FaultKind::stop:
        return lose_gpu(fault, Detection::hang);
      case FaultKind::hang:
        return Seconds(fault.seconds) < spec_.detect_hang ? lose_time(fault, Seconds(fault.seconds))
                                                          : lose_gpu(fault, Detection::hang);
      case FaultKind::slow:
        return lose_time(fault, Seconds(fault.seconds));
      case FaultKind::nan:
      case FaultKind::corrupt:
        return lose_time(fault, spec_.step_time);
      case FaultKind::drop_link:
        lose_time(fault, spec_.step_time + spec_.reconnect);
        return go_through_transition();
    }
  }

  void lose_gpu(const InjectedFault& fault, Detection detection) {
    const Seconds repair = static_cast<double>(fault.repair_steps) * spec_.step_time;
    const SimTime end = fault.repair_steps > 0 ? add_span(now_, to_sim_time(repair)) : kNever;
    trace_.faults.push_back({.begin = now_,
                             .end = end,
                             .component = static_cast<std::int32_t>(fault.rank),
                             .class_index = static_cast<std::int32_t>(fault.kind),
                             .detection = detection});
    down_until_[fault.rank] = end;
    if (end != kNever) {
      events_.push({end, Happening::comes_back, 0});
    }
    go_through_transition();
  }

  /// For L longer than a step, the job makes a step's progress T: its pace is T / (T + L), which a
  /// GPU at speed s brings about with T / (T + L) = 1 / (1 - c + c / s), c being its share.
  void lose_time(const InjectedFault& fault, Seconds lost) {
    const double stretch = lost / (spec_.compute_share * spec_.step_time);
    trace_.slowdowns.push_back({.begin = now_,
                                .end = add_span(now_, to_sim_time(spec_.step_time + lost)),
                                .component = static_cast<std::int32_t>(fault.rank),
                                .class_index = static_cast<std::int32_t>(fault.kind),
                                .speed = 1.0 / (1.0 + stretch)});
  }

  const std::vector<InjectedFault>& faults_;
  InjectionSpec spec_;
  FaultTrace trace_;
  SimTime now_{};
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  std::vector<std::size_t> waiting_;  // for a transition
  std::unordered_map<std::int64_t, SimTime> down_until_;
};

}  // namespace

FaultTrace injected_trace(const std::vector<InjectedFault>& faults,
                          const ClusterShape& shape,
                          const InjectionSpec& spec) {
  require_valid(shape);
  require(spec.step_time > Seconds{} && spec.compute_share > 0.0, "a step computes for some time");
  for (const InjectedFault& fault : faults) {
    if (fault.rank >= shape.num_gpus()) {
      throw ParseError(
          to_text(fault),
          "rank",
          fmt::format("expected a GPU of the cluster, which has {}", shape.num_gpus()));
    }
  }
  return Script(faults, spec).play();
}

}  // namespace runflat::sim
