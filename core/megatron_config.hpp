#pragma once

#include "core/layout.hpp"
#include "core/reader.hpp"
#include "core/value.hpp"

#include <cstdint>
#include <optional>
#include <vector>

namespace runflat {

/// The configuration of Megatron's branch for nonuniform tensor parallelism (NonuniformTPConfig).
/// It knows two TP degrees: tp_base, and tp_base - tp_spares for the cells that are listed.
struct MegatronNtpConfig {
  std::int64_t tp_base = 1;
  std::int64_t tp_spares = 0;
  std::int64_t num_reduced_tp_dp_ranks = 0;  ///< replicas with a listed cell
  /// Ascending by cell. Every entry has tp_spares slots, ascending.
  std::vector<InactiveSlots> non_active_ranks_per_dp;

  friend bool operator==(const MegatronNtpConfig&, const MegatronNtpConfig&) = default;
};

/// Idles healthy slots, highest first, until every entry has `tp_spares` slots. InvalidArgument for
/// an entry that has more, or slots that are not distinct or not in [0, tp_base).
[[nodiscard]] std::vector<InactiveSlots> pad_to_parity(std::vector<InactiveSlots> inactive,
                                                       std::int64_t tp_base,
                                                       std::int64_t tp_spares);

/// A configuration that lists these cells, padded to parity; tp_spares defaults to the longest
/// list.
[[nodiscard]] MegatronNtpConfig make_megatron_ntp(
    std::int64_t tp_base,
    std::vector<InactiveSlots> inactive,
    std::optional<std::int64_t> tp_spares = std::nullopt);

/// Reads `tp_base` (default, and otherwise equal to: the TP degree of `sizes`), `tp_spares`,
/// `num_reduced_tp_dp_ranks` and `non_active_ranks_per_dp`, whose keys are "dp,cp,pp",
/// "(dp, cp, pp)", or "dp" for all cells of a replica that are not named themselves. Short lists
/// are padded to parity; tp_spares defaults to the longest list. With no map or an empty one, the
/// last tp_spares slots of the first num_reduced_tp_dp_ranks replicas (default 1) are inactive.
/// ParseError for cells or slots outside the layout, a list longer than tp_spares, a replica that
/// names some CP slices of a stage but not all, or a number of replicas that is not the map's.
[[nodiscard]] MegatronNtpConfig read_megatron_ntp(const Reader& in, const ParallelSizes& sizes);

/// The map `non_active_ranks_per_dp` as it stands, every cell with a list of its own length.
/// ParseError as above.
[[nodiscard]] std::vector<InactiveSlots> read_inactive_slots(const Reader& in,
                                                             const ParallelSizes& sizes);

/// In the spelling that the branch's scripts read: keys are "dp,cp,pp".
[[nodiscard]] Value to_value(const MegatronNtpConfig& config);

/// The layout that the configuration describes, on GPUs in rank order.
[[nodiscard]] ParallelLayout to_layout(const MegatronNtpConfig& config, const ParallelSizes& sizes);

}  // namespace runflat
