#pragma once

#include "core/error.hpp"
#include "core/id.hpp"
#include "core/layout.hpp"
#include "core/model.hpp"
#include "core/shard_map.hpp"

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace runflat {

/// Parameters of one place that are divided alike, so that their units always travel together: the
/// qkv and proj weights of a layer, its two MLP weights, its norms, ...
struct StateSlice {
  std::vector<std::string> params;  ///< names of the ParamSpecs
  ParamPlace place = ParamPlace::layer;
  bool of_experts = false;     ///< one such slice for every expert, divided over ep
  bool is_tied = false;        ///< the output layer's copy of the embedding, where pp > 1
  std::int64_t num_units = 1;  ///< over tp
  bool may_replicate = false;  ///< kv-groups, and what tp does not divide: one unit for all ranks
  std::int64_t elements_per_unit = 0;  ///< of one layer, and of one expert

  friend bool operator==(const StateSlice&, const StateSlice&) = default;
};

[[nodiscard]] std::vector<StateSlice> state_slices(const ModelSpec& model);

/// Weight in 16 bits, fp32 master and two fp32 moments.
inline constexpr std::int64_t kStateBytesPerParameter = 2 + 4 + 4 + 4;

/// Ranks that divide the units of one pipeline stage (dense parameters: a TP group), or of one
/// range of experts of one stage, among them.
struct StateGroup {
  PpRank stage;
  std::int64_t ep = 0;           ///< expert-parallel index; 0 for dense parameters
  std::int64_t sync_degree = 1;  ///< with the number of GPUs, what fixes the compute map
  std::vector<GpuId> gpus;       ///< by rank of the compute map

  [[nodiscard]] std::int64_t degree() const { return static_cast<std::int64_t>(gpus.size()); }
  friend bool operator==(const StateGroup&, const StateGroup&) = default;
};

/// The groups that divide the dense parameters, by cell.
[[nodiscard]] std::vector<StateGroup> dense_groups(const ParallelLayout& layout);

/// The groups that divide the experts. Infeasible where ep does not divide them, and for a
/// nonuniform layout whose expert-TP groups are not its TP groups: a rank less would then be
/// experts less.
[[nodiscard]] Expected<std::vector<StateGroup>, Infeasible> expert_groups(
    const ModelSpec& model, const ParallelLayout& layout);

/// Nothing, or the dense parameter that a TP group of this degree cannot divide.
[[nodiscard]] std::optional<Infeasible> check_division(const ModelSpec& model,
                                                       std::int64_t degree,
                                                       std::int64_t sync_degree);

/// Who holds what under a compute map: `units` are the whole of it, once per copy, sorted by unit.
struct OwnerRun {
  UnitRange units;
  TpRank rank;
};
struct OwnerMap {
  ShardMaps maps;
  std::vector<OwnerRun> runs;
};

/// The maps of slices at the (degree, sync degree) that are asked for, made once.
class OwnerMaps {
 public:
  explicit OwnerMaps(const std::vector<StateSlice>& slices) : slices_(&slices) {}

  /// Infeasible, naming the parameter, where the slice cannot be divided so. The map stays valid.
  [[nodiscard]] Expected<const OwnerMap*, Infeasible> at(std::size_t slice,
                                                         const StateGroup& group);

 private:
  struct Key {
    std::size_t slice;
    std::int64_t degree;
    std::int64_t sync_degree;
    friend auto operator<=>(const Key&, const Key&) = default;
  };

  const std::vector<StateSlice>* slices_;
  std::map<Key, OwnerMap> made_;
};

}  // namespace runflat
