#pragma once

#include "core/error.hpp"
#include "core/layout.hpp"
#include "core/megatron_config.hpp"

#include <string>
#include <vector>

namespace runflat {

struct MegatronNtpExport {
  MegatronNtpConfig config;
  /// What Megatron will run: the layout given, with the slots idled that parity costs.
  ParallelLayout layout;
  /// What the branch does not handle although its configuration can say it, one sentence each.
  std::vector<std::string> notes;
};

/// A cell may lose slots to parity: Megatron needs the same active slots in every CP slice of a
/// stage, and one spare count for all reduced cells. Infeasible, naming what Megatron cannot
/// express: ranks not in the order tp-cp-dp-pp, a reduced replica after a healthy one, no slot that
/// is active in every CP slice. `order_for_megatron` removes the last two.
[[nodiscard]] Expected<MegatronNtpExport, Infeasible> to_megatron_ntp(const ParallelLayout& layout);

/// The same job in the order in which Megatron can run it: reduced replicas first, the inactive
/// slots of every cell last. Every cell keeps its active GPUs in their order. Entry i of
/// `replicas` is the dp rank that replica i had before.
struct MegatronOrder {
  ParallelLayout layout;
  std::vector<DpRank> replicas;
};
[[nodiscard]] MegatronOrder order_for_megatron(const ParallelLayout& layout);

}  // namespace runflat
