#include "sim/step_terms.hpp"

#include <algorithm>
#include <cmath>

namespace runflat::sim {
namespace {

constexpr double kWeight = 2.0;
constexpr double kGpusPerNode = 8.0;  // of the jobs that straggler_spread was fitted to

/// Bytes that the busiest rank moves between the compute map over n1 ranks and the sync map over
/// n2: an extra rank sends its whole shard G / n1, a core rank takes in G (1/n2 - 1/n1)
/// (reference/ntp.md 2.2). `sharded` is G, of all ranks.
double reshard_bytes(double sharded, double n1, double n2) {
  return n1 > n2 ? sharded * std::max(1.0 / n1, 1.0 / n2 - 1.0 / n1) : 0.0;
}

SyncCost sync_cost(const StepQuery& query,
                   const StageParameters& held,
                   const HardwareParameters& on) {
  const auto n1 = static_cast<double>(query.tp);
  const auto n2 = static_cast<double>(query.sync_tp());
  // A core rank holds the sync map's larger shard: the all-reduce grows by n1 / n2.
  const double growth = n1 / n2;
  const double dense = (held.dense() - held.replicated) * growth + held.replicated;
  const double experts = held.experts * growth;
  const GroupShape replicas = strided_group(on.fabric, query.dp * query.cp, query.tp);
  const GroupShape expert_replicas =
      strided_group(on.fabric, query.dp * query.cp / query.ep, query.tp * query.ep);
  const bool shards = query.zero_stage >= 1;
  const auto collective = [&](double element) {
    return shards ? reduce_scatter(on.fabric, replicas, Bytes{dense * element}) +
                        reduce_scatter(on.fabric, expert_replicas, Bytes{experts * element})
                  : all_reduce(on.fabric, replicas, Bytes{dense * element}) +
                        all_reduce(on.fabric, expert_replicas, Bytes{experts * element});
  };
  SyncCost sync;
  sync.reduce = collective(on.optimizer.gradient_bytes);
  if (shards) {
    sync.gather = collective(kWeight);
  }
  const double sharded = (held.total() - held.replicated) * n1;
  const double moved = reshard_bytes(sharded, n1, n2);
  if (moved > 0.0) {
    const double back = shards ? kWeight : on.optimizer.gradient_bytes;
    sync.reshard_in = send(on.fabric, true, Bytes{moved * on.optimizer.gradient_bytes});
    sync.reshard_out = send(on.fabric, true, Bytes{moved * back});
  }
  return sync;
}

Seconds optimizer_cost(const StepQuery& query,
                       const StageParameters& held,
                       const HardwareParameters& on) {
  const auto replicas = static_cast<double>(query.dp * query.cp);
  const bool shards = query.zero_stage >= 1;
  const double mine =
      held.dense() / (shards ? replicas : 1.0) +
      held.experts / (shards ? std::max(1.0, replicas / static_cast<double>(query.ep)) : 1.0);
  return stream(on.compute, Bytes{mine * on.optimizer.update_bytes}, 0) + on.optimizer.constant;
}

/// Forward and backward each gather the stage's parameters, layer by layer beside the compute.
Seconds zero3_cost(const StepQuery& query,
                   const StageParameters& held,
                   const StepTerms& terms,
                   const HardwareParameters& on) {
  if (query.zero_stage < 3) {
    return {};
  }
  const GroupShape replicas = strided_group(on.fabric, query.dp * query.cp, query.tp);
  const Seconds gathers = 2.0 * reduce_scatter(on.fabric, replicas, Bytes{held.total() * kWeight});
  const Seconds window =
      (terms.layer.forward.total() + terms.layer.backward.total()) * terms.share.layers;
  return std::max(gathers * terms.reduce_exposed, gathers - window);
}

void add_sends(const ModelSpec& model,
               const StepQuery& query,
               const HardwareParameters& on,
               StepTerms& terms) {
  if (query.pp == 1) {
    return;
  }
  const double bytes = kWeight * local_tokens(model, query) *
                       static_cast<double>(model.hidden_size) / static_cast<double>(query.tp);
  const bool in_domain = query.tp * query.cp * query.dp * query.pp <= on.fabric.domain_size;
  terms.full_send = send(on.fabric, in_domain, Bytes{bytes});
  terms.send = terms.full_send * (query.overlap_pipeline ? on.overlap.pipeline : 1.0);
}

}  // namespace

SyncCost StepTerms::visible_sync() const {
  const Seconds there = (sync.reshard_in + sync.reduce) * (1.0 - reduce_exposed);
  const Seconds back = (sync.gather + sync.reshard_out) * (1.0 - gather_exposed);
  if (there + back <= Seconds{}) {
    return sync;
  }
  const Seconds window = (layer.forward.total() + layer.backward.total()) * share.layers;
  // Of what may hide, the share that the window has no room for, and what the rest costs compute.
  const double left = std::max(0.0, 1.0 - window / (there + back));
  const double visible = left + (1.0 - left) * beside;
  SyncCost result = sync;
  for (Seconds SyncCost::*part : {&SyncCost::reshard_in, &SyncCost::reduce}) {
    result.*part *= reduce_exposed + (1.0 - reduce_exposed) * visible;
  }
  for (Seconds SyncCost::*part : {&SyncCost::gather, &SyncCost::reshard_out}) {
    result.*part *= gather_exposed + (1.0 - gather_exposed) * visible;
  }
  return result;
}

StepTerms step_terms(const ModelSpec& model, const StepQuery& query, const HardwareParameters& on) {
  StepTerms terms;
  terms.share = rank_share(model, query);
  terms.layer = layer_cost(model, query, terms.share, on);
  if (query.num_recompute_layers > 0 && query.recompute != Recompute::full) {
    const double share =
        std::min(1.0, static_cast<double>(query.num_recompute_layers) / terms.share.layers);
    terms.layer.backward += terms.layer.forward * share;
  }
  terms.embedding = embedding_cost(model, query, on);
  terms.head = head_cost(model, query, terms.share, on);
  add_sends(model, query, on, terms);
  const StageParameters first = stage_parameters(model, query, terms.share, false);
  const StageParameters last = stage_parameters(model, query, terms.share, true);
  const StageParameters& held = first.total() < last.total() ? last : first;
  terms.sync = sync_cost(query, held, on);
  terms.reduce_exposed = query.overlap_data ? on.overlap.data : 1.0;
  terms.gather_exposed = query.overlap_data ? on.overlap.gather : 1.0;
  terms.beside = on.overlap.beside;
  terms.optimizer = optimizer_cost(query, held, on);
  terms.zero3_gather = zero3_cost(query, held, terms, on);
  const double nodes = static_cast<double>(query.gpus()) / kGpusPerNode;
  if (nodes > 1.0) {
    terms.straggler = on.straggler_spread * std::sqrt(2.0 * std::log(nodes));
  }
  return terms;
}

}  // namespace runflat::sim
