#include "sim/refault_split.hpp"

#include "core/error.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>

namespace runflat::sim {
namespace {

/// For each fault the one that was repaired last on its component before it.
std::vector<std::optional<std::size_t>> find_repaired_before(const std::vector<Fault>& faults) {
  std::map<std::pair<BlastRadius, std::int32_t>, std::size_t> latest;
  std::vector<std::optional<std::size_t>> before(faults.size());
  for (std::size_t i = 0; i < faults.size(); ++i) {
    const auto [found, is_first] =
        latest.try_emplace({faults[i].blast_radius, faults[i].component}, i);
    if (!is_first) {
      if (faults[found->second].end <= faults[i].begin) {
        before[i] = found->second;
      }
      found->second = i;
    }
  }
  return before;
}

class RefaultSplitter {
 public:
  RefaultSplitter(const std::vector<Fault>& faults,
                  const ClusterShape& shape,
                  const std::vector<bool>& in_batch)
      : faults_(faults), shape_(shape), in_batch_(in_batch) {
    for (const Fault& fault : faults_) {
      ++num_of_radius_[static_cast<std::size_t>(fault.blast_radius)];
    }
  }

  RefaultSplit run(Days observed, Days horizon) {
    const auto before = find_repaired_before(faults_);
    std::vector<double> arrivals(num_groups());
    std::vector<RepairSpell> spells;
    std::vector<std::size_t> ends;  // the fault that ends each spell
    std::vector<bool> followed(faults_.size());
    for (std::size_t i = 0; i < faults_.size(); ++i) {
      if (before[i]) {
        followed[*before[i]] = true;
        const Days span = to_days(faults_[i].begin - faults_[*before[i]].end);
        spells.push_back(spell(faults_[i], span, !in_batch_[i]));
        ends.push_back(i);
      }
      if (!before[i] || in_batch_[i]) {
        arrivals[group_of(faults_[i])] += 1.0;
      }
    }
    const SimTime end = to_sim_time(observed);
    for (std::size_t i = 0; i < faults_.size(); ++i) {
      if (!followed[i] && faults_[i].end < end) {
        spells.push_back(spell(faults_[i], to_days(end - faults_[i].end), false));
      }
    }
    RefaultSplit split{.probability = std::vector<double>(faults_.size()),
                       .fit = fit_recurrence(spells, arrivals, observed, horizon)};
    for (std::size_t i = 0; i < ends.size(); ++i) {
      split.probability[ends[i]] = split.fit.posterior[i];
    }
    return split;
  }

 private:
  /// Faults of one GPU or node belong to the node.
  [[nodiscard]] std::size_t num_groups() const {
    return static_cast<std::size_t>(shape_.num_nodes);
  }
  [[nodiscard]] std::size_t group_of(const Fault& fault) const {
    const ComponentRange nodes = components_hit(fault, shape_, BlastRadius::node);
    return nodes.num == 0 ? 0 : static_cast<std::size_t>(nodes.first);
  }

  [[nodiscard]] RepairSpell spell(const Fault& fault, Days span, bool may_recur) const {
    const auto radius = static_cast<std::size_t>(fault.blast_radius);
    const double share = num_of_radius_[radius] / static_cast<double>(faults_.size());
    const double components_per_node =
        static_cast<double>(shape_.num_components(fault.blast_radius)) / shape_.num_nodes;
    return {.span = span,
            .may_recur = may_recur,
            .node = group_of(fault),
            .rate_share = share / components_per_node};
  }

  const std::vector<Fault>& faults_;
  const ClusterShape& shape_;
  const std::vector<bool>& in_batch_;
  std::array<double, 4> num_of_radius_{};
};

}  // namespace

RefaultSplit split_refaults(const std::vector<Fault>& faults,
                            const ClusterShape& shape,
                            const std::vector<bool>& in_batch,
                            Days observed,
                            Days horizon) {
  require(in_batch.size() == faults.size(), "a fault is in a batch or not");
  return RefaultSplitter(faults, shape, in_batch).run(observed, horizon);
}

}  // namespace runflat::sim
