#pragma once

#include "sim/arrival_clock.hpp"
#include "sim/failure_model.hpp"
#include "sim/fault_window.hpp"
#include "sim/random.hpp"
#include "sim/waiting_items.hpp"
#include "sim/weighted_choice.hpp"

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace runflat::sim {

/// What all classes of one trial share.
struct SampledTrial {
  const FailureModel& model;
  ClusterShape shape;
  std::pair<Days, Days> span;  ///< from the warm-up to the end
  SimTime duration{};
  std::uint64_t seed = 0;
  std::uint32_t number = 0;
  std::optional<WeightedChoice> nodes{};  ///< by rate multiplier; none: all alike

  [[nodiscard]] RandomStream stream(std::uint32_t source, Purpose purpose) const {
    return {seed, {number, source, purpose}};
  }
};

/// What the sources of a trial's faults fill.
struct WaitingFaults {
  WaitingItems<Fault> faults;
  WaitingItems<Slowdown> slowdowns;
  WaitingItems<Corruption> corruptions;
};

/// The faults of one class, in the order of their arrivals. Every purpose draws from a stream of
/// its own, and what follows from one fault draws from a stream that one number of that fault
/// seeds, so that switching a process on or prolonging the trial leaves the other numbers as they
/// were. `trial` must outlive the sampler.
class ClassSampler {
 public:
  /// `mean_gap`: between arrivals, at a factor of 1.
  ClassSampler(const SampledTrial& trial, std::uint32_t class_index, Days mean_gap);

  /// Adds what arrives before `end`, which never goes back, and what follows from it.
  void run(SimTime end, WaitingFaults& out);

 private:
  [[nodiscard]] std::int32_t draw_component(RandomStream& stream) const;
  [[nodiscard]] std::int32_t draw_other_component(const std::vector<std::int32_t>& taken);
  void add_rest_of_batch(SimTime first, std::int32_t component, WaitingFaults& out);
  void add(SimTime time, std::int32_t component, RandomStream& repairs, WaitingFaults& out);
  void complete(Fault& fault, SimTime time, RandomStream& repairs, RandomStream& silences) const;
  [[nodiscard]] bool recur(Fault& fault, RandomStream& stream) const;
  void push(const Fault& fault, WaitingFaults& out);
  void push_group(Fault fault, WaitingFaults& out) const;
  void push_one(const Fault& fault, WaitingFaults& out) const;
  void push_drain(Fault fault, WaitingFaults& out);

  const SampledTrial& trial_;
  const FailureClass& class_;
  std::int32_t num_hit_;
  std::uint32_t num_components_;  // groups of `together`
  RandomStream arrivals_;
  RandomStream targets_;
  RandomStream repairs_;
  RandomStream batches_;
  RandomStream batch_repairs_;
  RandomStream recurrences_;
  RandomStream silences_;
  RandomStream drains_;
  Fault prototype_;
  std::optional<WeightedChoice> batch_sizes_;
  Days mean_gap_;
  UnitRenewal renewal_;
  ArrivalClock clock_;
  Days next_;  // arrival
};

}  // namespace runflat::sim
