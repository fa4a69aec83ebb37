#pragma once

#include "core/plan.hpp"
#include "exec/training/trainer.hpp"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace runflat::tests {

/// A small Llama: 4 layers, 8 heads in 4 kv-groups, 48 ffn columns, untied.
[[nodiscard]] ModelSpec tiny_llama();
/// A small GPT-2: 4 layers, 8 heads, biases, LayerNorm, learned positions, tied embeddings.
[[nodiscard]] ModelSpec tiny_gpt();

/// What a layout of the parity matrix says beside the model.
struct LayoutCase {
  std::string name;
  ParallelSizes sizes;
  std::vector<InactiveSlots> inactive = {};
  std::vector<std::int64_t> shares = {};  ///< microbatches by replica; empty: equal
  std::int64_t zero_stage = 0;
  bool sequence_parallel = false;
  bool redundancy = false;
  Recompute recompute = Recompute::none;
  std::int64_t micro_batch_size = 1;
  std::int64_t num_buckets = 2;
  std::int64_t num_spare_domains = 0;
  std::string policy = "ntp";
};

inline constexpr std::int64_t kGlobalBatchSize = 12;

/// One NVLink domain for every replica, GPUs in the order of ranks of the undamaged layout, then
/// the spare ones.
[[nodiscard]] Plan plan_of(const ModelSpec& model, const LayoutCase& layout);
[[nodiscard]] exec::TrainerConfig config_of(const LayoutCase& layout);

/// Every parameter in unit-major order, by name.
using Weights = std::map<std::string, std::vector<double>>;

struct TrainingRun {
  std::vector<double> losses;
  std::vector<double> grad_norms;
  Weights weights;  ///< after the last step
  /// Parameters of which two owners did not hold the same bits after some step.
  std::vector<std::string> unequal;
  std::vector<Timeline> timelines;  ///< by rank, of the last step
};

/// Runs a function for every process of a world, each with a device and a transport.
using RankBody = std::function<void(exec::Device&, exec::Transport&)>;
using RunRanks = std::function<void(std::int64_t world_size, const RankBody&)>;

/// In threads, on the host.
void run_on_host(std::int64_t world_size, const RankBody& body);

/// Where a training run starts, and what it leaves.
struct CheckpointUse {
  std::filesystem::path load = {};  ///< a checkpoint; empty: start with drawn weights
  std::filesystem::path save = {};  ///< a folder; empty: none
  std::int64_t save_at = 0;         ///< after this step, while training goes on
};

/// Trains on mock data until `num_steps` steps have been taken, those of the checkpoint included.
[[nodiscard]] TrainingRun train(const Plan& plan,
                                const exec::TrainerConfig& config,
                                std::int64_t num_steps,
                                const RunRanks& run_ranks = run_on_host,
                                const CheckpointUse& checkpoints = {});

}  // namespace runflat::tests
