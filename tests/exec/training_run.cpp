#include "tests/exec/training_run.hpp"

#include "core/error.hpp"
#include "exec/checkpoint/checkpointer.hpp"
#include "exec/communication/loopback_communicator.hpp"
#include "exec/data/mock_dataset.hpp"
#include "exec/device/host_device.hpp"

#include <cstring>
#include <mutex>
#include <optional>

namespace runflat::tests {
namespace {

using namespace runflat::exec;

/// Collects what ranks hold of every parameter and notices where they differ.
class Owners {
 public:
  void add(Device& device, StageState& state) {
    const std::lock_guard lock(mutex_);
    for (std::size_t i = 0; i < state.params().size(); ++i) {
      add(device, state, i);
    }
  }

  [[nodiscard]] Weights weights() const { return weights_; }
  [[nodiscard]] const std::vector<std::string>& unequal() const { return unequal_; }
  void start_step() {
    const std::lock_guard lock(mutex_);
    weights_.clear();
  }

 private:
  void add(Device& device, StageState& state, std::size_t index) {
    const StageParam& param = state.params()[index];
    const ParamRef ref = state.find(param.name);
    const auto num_elements = static_cast<std::size_t>(param.spec.num_elements());
    auto& all = weights_[param.source_name];
    all.resize(num_elements, kUnknown);
    std::vector<std::byte> held(static_cast<std::size_t>(ref.num * kernels::size_of(state.type())));
    device.copy_out(held.data(), ref.weight, static_cast<std::int64_t>(held.size()));
    const auto value_at = [&](std::int64_t i) {
      return state.type() == DataType::bf16
                 ? static_cast<double>(reinterpret_cast<const kernels::BFloat16*>(held.data())[i])
                 : static_cast<double>(reinterpret_cast<const float*>(held.data())[i]);
    };
    std::int64_t next = 0;
    for (const ElementRange& range : state.layout().slots[index].compute) {
      for (std::int64_t i = range.first; i < range.end(); ++i) {
        const double value = value_at(next++);
        double& known = all[static_cast<std::size_t>(i)];
        if (known != kUnknown && known != value &&
            (unequal_.empty() || unequal_.back() != param.name)) {
          unequal_.push_back(param.name);
        }
        known = value;
      }
    }
  }

  static constexpr double kUnknown = 1e300;
  std::mutex mutex_;
  Weights weights_;
  std::vector<std::string> unequal_;
};

}  // namespace

ModelSpec tiny_llama() {
  ModelSpec model;
  model.name = "tiny-llama";
  model.family = ModelFamily::llama;
  model.num_layers = 4;
  model.hidden_size = 32;
  model.ffn_hidden_size = 48;
  model.num_attention_heads = 8;
  model.num_query_groups = 4;
  model.kv_channels = 4;
  model.seq_length = 16;
  model.padded_vocab_size = 64;
  model.gated_linear_unit = true;
  model.rms_norm = true;
  return model;
}

ModelSpec tiny_gpt() {
  ModelSpec model;
  model.name = "tiny-gpt";
  model.family = ModelFamily::gpt;
  model.num_layers = 4;
  model.hidden_size = 32;
  model.ffn_hidden_size = 64;
  model.num_attention_heads = 8;
  model.num_query_groups = 8;
  model.kv_channels = 4;
  model.seq_length = 16;
  model.padded_vocab_size = 64;
  model.learned_positions = true;
  model.add_bias_linear = true;
  model.untie_embeddings_and_output_weights = false;
  return model;
}

Plan plan_of(const ModelSpec& model, const LayoutCase& layout) {
  Plan plan;
  plan.policy = layout.policy;
  const std::int64_t gpus_per_replica = layout.sizes.num_ranks() / layout.sizes.dp;
  plan.cluster = {.gpu = "h200",
                  .num_nodes = layout.sizes.dp + layout.num_spare_domains,
                  .gpus_per_node = gpus_per_replica,
                  .domain_size = gpus_per_replica};
  for (std::int64_t i = 0; i < layout.num_spare_domains; ++i) {
    plan.spare_domains.emplace_back(layout.sizes.dp + i);
  }
  plan.model = model;
  plan.layout = ParallelLayout::nonuniform(layout.sizes, layout.inactive);
  plan.training.micro_batch_size = layout.micro_batch_size;
  plan.training.global_batch_size = kGlobalBatchSize;
  plan.training.recompute = layout.recompute;
  plan.training.zero_stage = layout.zero_stage;
  plan.training.sequence_parallel = layout.sequence_parallel;
  for (std::int64_t dp = 0; dp < layout.sizes.dp; ++dp) {
    const std::int64_t equal = kGlobalBatchSize / (layout.sizes.dp * layout.micro_batch_size);
    plan.replicas.push_back(
        {.num_microbatches =
             layout.shares.empty() ? equal : layout.shares[static_cast<std::size_t>(dp)]});
  }
  return plan;
}

exec::TrainerConfig config_of(const LayoutCase& layout) {
  exec::TrainerConfig config;
  config.lr = {.lr = 1e-3, .min_lr = 1e-4, .decay_samples = 1000};
  config.num_buckets = layout.num_buckets;
  config.redundancy = layout.redundancy;
  config.timeout = std::chrono::seconds(60);
  return config;
}

void run_on_host(std::int64_t world_size, const RankBody& body) {
  spawn(world_size, [&](ThreadRank& thread) {
    HostDevice device;
    body(device, thread.transport);
  });
}

TrainingRun train(const Plan& plan,
                  const exec::TrainerConfig& config,
                  std::int64_t num_steps,
                  const RunRanks& run_ranks,
                  const CheckpointUse& checkpoints) {
  TrainingRun run;
  run.timelines.resize(static_cast<std::size_t>(plan.layout.num_ranks()));
  Owners owners;
  run_ranks(plan.cluster.num_gpus(), [&](Device& device, Transport& transport) {
    if (!plan.layout.rank_of(GpuId(transport.process()))) {
      return;
    }
    const MockDataset data({.seq_length = plan.model.seq_length,
                            .num_samples = 1 << 20,
                            .vocab_size = plan.model.padded_vocab_size,
                            .seed = 7});
    Trainer trainer(device, transport, plan, config);
    Communicator* world = trainer.groups().world.get();
    const auto meet = [&] {
      if (world != nullptr) {
        world->join(world->barrier());
      }
    };
    std::optional<Checkpointer> checkpointer;
    if (!checkpoints.save.empty()) {
      checkpointer.emplace(
          transport,
          plan.layout,
          CheckpointerConfig{.folder = checkpoints.save, .timeout = config.timeout});
    }
    if (!checkpoints.load.empty()) {
      load_checkpoint(checkpoints.load, device, trainer);
    }
    while (trainer.progress().steps < num_steps) {
      if (trainer.progress().steps + 1 == num_steps) {
        trainer.record();
      }
      const StepResult result = trainer.step(data);
      require(result.status == SyncStatus::done,
              "a step failed: " + std::to_string(static_cast<int>(result.status)));
      require(result.is_finite, "a loss is not finite");
      if (trainer.rank().value() == 0) {
        run.losses.push_back(result.sums.loss);
        run.grad_norms.push_back(result.sums.grad_norm);
        owners.start_step();
      }
      meet();
      for (const auto& state : trainer.stages()) {
        owners.add(device, *state);
      }
      meet();
      if (checkpointer && trainer.progress().steps == checkpoints.save_at) {
        checkpointer->save(device, trainer);
      }
    }
    if (checkpointer) {
      checkpointer->wait();
    }
    run.timelines[trainer.rank().index()] = trainer.take_timeline();
  });
  run.weights = owners.weights();
  run.unequal = owners.unequal();
  return run;
}

}  // namespace runflat::tests
