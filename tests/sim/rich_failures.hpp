#pragma once

#include "sim/failure_model.hpp"

namespace runflat::sim {

/// Every process at once, for clusters of at least 32 nodes of 8: batches, refaults, infant
/// mortality, lemon nodes, rates that step, silence, stragglers, drained repairs, groups,
/// maintenance.
[[nodiscard]] inline FailureModel rich_failures() {
  const auto kind = [](const char* name, BlastRadius radius, double rate, Hours repair) {
    return FailureClass{.name = name,
                        .blast_radius = radius,
                        .rate_per_node_day = rate,
                        .repair = Distribution::exponential(repair)};
  };
  FailureModel model{.classes = {kind("gpu", BlastRadius::gpu, 4e-3, Hours{50}),
                                 kind("silent", BlastRadius::gpu, 4e-4, Hours{10}),
                                 kind("slow", BlastRadius::node, 4e-4, Hours{30}),
                                 kind("leaf", BlastRadius::node, 2e-4, Hours{5}),
                                 kind("software", BlastRadius::job, 4e-4, Hours{0.1})},
                     .warm_up = Days{20},
                     .node_rate_shape = 1.5};
  FailureClass& gpu = model.classes[0];
  gpu.arrival_shape = 0.7;
  gpu.batches.weights = {20, 3, 1};
  gpu.refault = {.probability = 0.2, .delay = Distribution::exponential(Hours{12})};
  gpu.infant_mortality = {.probability = 0.1, .delay = Distribution::exponential(Days{5})};
  gpu.rate_over_time = {{.from = Days{50}, .factor = 2.0}, {.from = Days{80}, .factor = 1.0}};
  model.classes[1].silence = Distribution::exponential(Days{2});
  model.classes[2].slow = Slowness{.resource = Resource::network, .speed = 0.5};
  model.classes[3].together = 4;
  model.classes[3].drain = Drain{BlastRadius::domain, Distribution::constant(Hours{1})};
  model.maintenance = {{.name = "firmware",
                        .components = {0, 32},
                        .at = Days{3},
                        .duration = Hours{4},
                        .stagger = Hours{1},
                        .period = Days{90}}};
  return model;
}

}  // namespace runflat::sim
