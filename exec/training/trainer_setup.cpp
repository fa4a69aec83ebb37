#include "core/error.hpp"
#include "exec/device/out_of_memory.hpp"
#include "exec/training/stage_place.hpp"
#include "exec/training/trainer.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace runflat::exec {
namespace {

Rank rank_of_process(const ParallelLayout& layout, std::int64_t process) {
  const std::optional<Rank> rank = layout.rank_of(GpuId(process));
  require(rank.has_value(), fmt::format("process {} plays no rank in the plan", process));
  return *rank;
}

void check_supported(const Plan& plan) {
  const auto refuse = [](const char* what) {
    throw InfeasibleError(fmt::format("{} cannot be trained yet", what));
  };
  if (plan.model.num_experts > 0) {
    refuse("a model with experts");
  }
  if (plan.layout.sizes().cp > 1) {
    refuse("context parallelism");
  }
  if (plan.training.zero_stage > 1) {
    refuse("zero_stage 2 or 3");
  }
}

std::vector<BatchShare> shares_of(const Plan& plan) {
  std::vector<BatchShare> shares;
  for (const ReplicaShare& replica : plan.replicas) {
    shares.push_back({.num_microbatches = replica.num_microbatches,
                      .micro_batch_size = plan.training.micro_batch_size});
  }
  return shares;
}

bool reshards(const ParallelLayout& layout, const Coordinate& me) {
  return layout.tp_size(me.cell()) > layout.sync_degree(me.pp);
}

StepSchedule schedule_of(const Plan& plan, const Coordinate& me, const TrainerConfig& config) {
  const ParallelSizes& sizes = plan.layout.sizes();
  const std::int64_t num_microbatches = plan.replicas[me.dp.index()].num_microbatches;
  return make_step_schedule({.num_stages = static_cast<int>(sizes.pp),
                             .num_vp_stages = static_cast<int>(sizes.vpp),
                             .num_microbatches = static_cast<int>(num_microbatches)},
                            {.num_buckets = static_cast<int>(config.num_buckets),
                             .reshard = reshards(plan.layout, me),
                             .distributed_optimizer = plan.training.zero_stage > 0});
}

TokenShape tokens_of(const Plan& plan, const Coordinate& me) {
  return make_token_shape(plan.model.seq_length,
                          plan.training.micro_batch_size,
                          plan.layout.tp_size(me.cell()),
                          plan.training.sequence_parallel);
}

LayerShape layer_shape_of(const Plan& plan, const Coordinate& me, const TrainerConfig& config) {
  LayerShape shape = make_layer_shape(plan.model,
                                      plan.layout.tp_size(me.cell()),
                                      plan.layout.sync_degree(me.pp),
                                      me.tp,
                                      config.type);
  shape.epsilon = config.norm_epsilon;
  shape.deterministic = config.deterministic;
  return shape;
}

}  // namespace

Trainer::Trainer(Device& device,
                 Transport& transport,
                 const Plan& plan,
                 const TrainerConfig& config,
                 std::int64_t generation,
                 FirstWeights weights)
    : device_(device),
      plan_((check_supported(plan), plan)),
      config_(config),
      rank_(rank_of_process(plan.layout, transport.process())),
      me_(plan.layout.coordinate_of(rank_)),
      groups_(make_job_groups(plan.layout, rank_, transport, generation, config.timeout)),
      sampler_(plan.global_batch_size(), shares_of(plan)),
      schedule_(schedule_of(plan, me_, config)),
      tp_(groups_.tp.get(), tokens_of(plan, me_), config.type),
      layers_(allocating("buffers of a layer", kRemedyForActivations, [&] {
        return LayerRunner(device, tp_, layer_shape_of(plan, me_, config), plan.training.recompute);
      })) {
  if (!plan.model.learned_positions) {
    allocating("buffers of a layer", kRemedyForActivations, [&] {
      layers_.set_rotary(config.rotary_base);
    });
  }
  make_chunks();
  std::vector<StageState*> states;
  for (const auto& state : states_) {
    if (weights == FirstWeights::drawn) {
      state->initialise(config.seed);
    }
    states.push_back(state.get());
  }
  optimizer_ = std::make_unique<Optimizer>(
      device, std::move(states), config.optimizer, groups_.world.get(), config.timeout);
}

Trainer::~Trainer() {
  groups_ = {};  // ends what is under way before its memory goes
}

void Trainer::make_chunks() {
  for (std::int64_t vp_stage = 0; vp_stage < plan_.layout.sizes().vpp; ++vp_stage) {
    allocating("weights, gradients and optimizer states", kRemedyForState, [&] {
      states_.push_back(
          std::make_unique<StageState>(device_, stage_place(plan_, config_, rank_, vp_stage)));
    });
    StageState& state = *states_.back();
    Chunk chunk;
    allocating("buffers of a virtual stage", kRemedyForActivations, [&] {
      chunk.model = std::make_unique<ModelChunk>(device_, tp_, layers_, state);
      chunk.sync = std::make_unique<GradSync>(device_, state, groups_.tp.get(), groups_.dp.get());
      chunk.tied = std::make_unique<TiedEmbedding>(device_, plan_.layout, rank_, state);
    });
    chunk.slots.resize(num_slots(static_cast<std::int16_t>(vp_stage)));
    allocating(fmt::format("activations of {} microbatches under way", chunk.slots.size()),
               kRemedyForActivations,
               [&] {
                 for (Slot& slot : chunk.slots) {
                   slot.act = chunk.model->make_activations();
                 }
               });
    chunks_.push_back(std::move(chunk));
  }
  const std::int64_t tokens = tp_.tokens().tokens();
  const std::int64_t num = sampler_.num_microbatches(me_.dp);
  const auto make = [&](DataType type) {
    return device_.allocate(tokens * kernels::size_of(type));
  };
  allocating("tokens of all microbatches", kRemedyForActivations, [&] {
    for (std::int64_t i = 0; i < num; ++i) {
      microbatches_.push_back({.ids = make(DataType::int32),
                               .targets = make(DataType::int32),
                               .loss_mask = make(DataType::fp32),
                               .losses = make(kernels::accumulate_type(config_.type))});
    }
  });
}

/// The most microbatches that are between their arrival on a virtual stage and the end of their
/// backward pass there.
std::size_t Trainer::num_slots(std::int16_t vp_stage) const {
  const bool is_first = me_.pp.value() == 0 && vp_stage == 0;
  std::vector<std::int32_t> held;
  std::vector<std::int32_t> over;  // at the end of the group of messages
  std::size_t most = 0;
  for (const ScheduleOp& op : schedule_.ops(me_.pp)) {
    if (!op.joins_group) {
      for (const std::int32_t microbatch : std::exchange(over, {})) {
        std::erase(held, microbatch);
      }
    }
    if (op.vp_stage != vp_stage || op.microbatch < 0) {
      continue;
    }
    if (std::find(held.begin(), held.end(), op.microbatch) == held.end()) {
      held.push_back(op.microbatch);
    }
    most = std::max(most, held.size());
    if (op.kind == OpKind::send_gradient || (is_first && op.kind == OpKind::backward)) {
      over.push_back(op.microbatch);
    }
  }
  return most;
}

}  // namespace runflat::exec
