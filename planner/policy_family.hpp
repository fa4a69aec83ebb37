#pragma once

#include "planner/policy.hpp"
#include "sim/operation.hpp"

#include <cstdint>
#include <vector>

// The operations of each family of policies, one file each, as plan_operation dispatches them.
namespace runflat::planner {

[[nodiscard]] inline std::int64_t num_sites(const sim::SiteCensus& census) {
  return census.num_healthy + census.num_damaged();
}

/// `restart`, `spare_domain` and `train_mover`, all or nothing: the job runs at the full degree on
/// healthy sites, J of them, or waits:
///   throughput = 1 if healthy >= J, else 0.
[[nodiscard]] sim::Operation on_healthy_sites(const PolicyRates& rates,
                                              const sim::SiteCensus& census);

/// `dp_drop`, what torchft, FT-HSDP and HyperPod do (one replica is one unit of failure), and the
/// baseline DP-DROP of the NTP paper (arXiv 2504.06095), with the damage packed into the fewest
/// replicas of R sites:
///   throughput = min(D, floor(healthy / R)) / D.
/// The batch shrinks with the replicas; where it may not, the job waits for the last of them.
[[nodiscard]] sim::Operation without_damaged_replicas(const PolicyRates& rates,
                                                      const sim::SiteCensus& census);

/// `uniform_tp`: the fastest layout with one TP degree t for all and as many replicas as fit; the
/// largest degree among equals:
///   throughput = max over t of speed(t) min(D, floor(sites with t GPUs / R)) / D,
/// of D replicas only where the batch must stay whole.
[[nodiscard]] sim::Operation at_uniform_degree(const PolicyRates& rates,
                                               const sim::SiteCensus& census);

/// `ntp` and `ntp_pw` (arXiv 2504.06095 section 3): damaged sites, worst first, are packed into the
/// fewest replicas, each of which runs at a degree t that its worst site reaches, with share(t) of
/// a healthy replica's batch, or not at all:
///   throughput = (healthy replicas + sum of share(t)) / D / slowdown(smallest t).
/// Without any reduced replica this is the operation of dp_drop. The degrees are those with the
/// most throughput in the time that interruptions leave, so that it is dp_drop's operation where
/// the GPUs that this one leaves idle would cost more by being hit than they add. Where the batch
/// must stay whole, spare sites that do not replace damaged ones make up additional replicas, the
/// fewest that fill the batch; the job waits where they do not suffice.
[[nodiscard]] sim::Operation nonuniform(const PolicyRates& rates, const sim::SiteCensus& census);

/// For every number of GPUs that a site may have left, the degree that gives a replica of such
/// sites its largest batch, never below `lowest`; 0 where none can run.
[[nodiscard]] std::vector<std::int32_t> best_degrees(const PolicyRates& rates, std::int32_t lowest);

/// `recycle` (ReCycle, SOSP 2024, arXiv 2405.14009): the microbatches of a lost TP group go to the
/// groups of the same stage in other replicas, which compute them in their pipeline bubbles; the
/// batch stays whole. With f groups lost in each stage (losses are spread evenly over the stages),
/// m microbatches a replica and a bubble of b microbatches,
///   throughput = (m + b) / max(m + b, m + ceil(m f / (D - f))),
/// as if decoupled backward passes and a staggered optimizer could fill every bubble. Spares stay
/// in reserve while the bubbles do: fewer active groups are hit less often.
[[nodiscard]] sim::Operation rerouted(const PolicyRates& rates, const sim::SiteCensus& census);
/// Lost groups, over all stages, that cost no throughput.
[[nodiscard]] std::int64_t num_rerouted_free(const PolicyRates& rates);

/// `oobleck` (Oobleck, SOSP 2023, arXiv 2309.08125): the healthy sites form pipelines of unequal
/// length from precomputed templates. S stages in r pipelines, of which S mod r are a stage longer
/// than the others; a pipeline of q stages has share(q) of the batch, the most microbatches that it
/// finishes, on fewer and fuller stages, in the time of a healthy pipeline:
///   throughput = max over r of sum of share(q) / D.
[[nodiscard]] sim::Operation from_templates(const PolicyRates& rates,
                                            const sim::SiteCensus& census);

/// `adaptive`: the operation of the alternative with the most throughput in the time that
/// interruptions of its active GPUs leave, at what each costs under that policy:
///   throughput x Interruptions::time_left(active GPUs).
/// The first of equals.
[[nodiscard]] sim::Operation best_of(const PolicyRates& rates, const sim::SiteCensus& census);

}  // namespace runflat::planner
