#pragma once

#include "core/replan.hpp"
#include "exec/data/mock_dataset.hpp"
#include "exec/drill/loopback_job.hpp"
#include "tests/exec/training_run.hpp"

#include <chrono>
#include <vector>

namespace runflat::tests {

inline exec::MockDataset mock_data(const ModelSpec& model) {
  return exec::MockDataset({.seq_length = model.seq_length,
                            .num_samples = 1 << 20,
                            .vocab_size = model.padded_vocab_size,
                            .seed = 7});
}

/// A job of threads that replans in place. A rank that is slower than its time-outs is left out,
/// which changes no loss.
inline exec::LoopbackJob job_of(const ModelSpec& model,
                                const LayoutCase& layout,
                                std::int64_t num_steps) {
  const Plan plan = plan_of(model, layout);
  exec::LoopbackJob job{
      .worker = {.plan = plan, .trainer = config_of(layout), .num_steps = num_steps},
      .replan = [plan](const Plan& current, const Health& health) {
        return replan_in_place(plan, current, health);
      }};
  job.worker.trainer.timeout = std::chrono::milliseconds(1000);
  job.worker.patience = std::chrono::milliseconds(500);
  return job;
}

/// Layouts whose every state has a second holder.
inline std::vector<LayoutCase> redundant_cases() {
  return {
      {.name = "DP3", .sizes = {.dp = 3}},
      {.name = "TP2 DP2", .sizes = {.tp = 2, .dp = 2}},
      {.name = "TP3 SP DP2, uneven", .sizes = {.tp = 3, .dp = 2}, .sequence_parallel = true},
      {.name = "TP2 PP2 DP2", .sizes = {.tp = 2, .dp = 2, .pp = 2}},
      {.name = "PP2 x 2 virtual DP2", .sizes = {.dp = 2, .pp = 2, .vpp = 2}},
      {.name = "DP3 ZeRO-1", .sizes = {.dp = 3}, .zero_stage = 1, .redundancy = true},
      {.name = "TP2 DP3 ZeRO-1", .sizes = {.tp = 2, .dp = 3}, .zero_stage = 1, .redundancy = true},
      {.name = "TP2 SP PP2 DP2 ZeRO-1",
       .sizes = {.tp = 2, .dp = 2, .pp = 2},
       .zero_stage = 1,
       .sequence_parallel = true,
       .redundancy = true},
      {.name = "TP4 + TP3 ZeRO-1",
       .sizes = {.tp = 4, .dp = 2},
       .inactive = {{.cell = {.dp = DpRank(1), .cp = CpRank(0), .pp = PpRank(0)}, .slots = {1}}},
       .shares = {7, 5},
       .zero_stage = 1,
       .redundancy = true},
      {.name = "TP4 + TP2 SP",
       .sizes = {.tp = 4, .dp = 2},
       .inactive = {{.cell = {.dp = DpRank(0), .cp = CpRank(0), .pp = PpRank(0)}, .slots = {0, 2}}},
       .sequence_parallel = true},
      {.name = "TP2 DP2, one spare", .sizes = {.tp = 2, .dp = 2}, .num_spare_domains = 1},
      {.name = "TP2 PP2 DP2 ZeRO-1, one spare, dp_drop",
       .sizes = {.tp = 2, .dp = 2, .pp = 2},
       .zero_stage = 1,
       .redundancy = true,
       .num_spare_domains = 1,
       .policy = "dp_drop"},
  };
}

}  // namespace runflat::tests
