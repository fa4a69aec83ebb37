#include "sim/step_query.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace runflat::sim {
namespace {

double ceil_share(std::int64_t units, std::int64_t ranks) {
  return static_cast<double>((units + ranks - 1) / ranks);
}

/// Query heads go to the ranks in contiguous balanced runs; every rank holds the keys and values of
/// all groups that its heads belong to.
double most_groups_touched(const ModelSpec& model, std::int64_t tp) {
  const std::int64_t heads = model.num_attention_heads;
  const std::int64_t per_group = heads / model.num_query_groups;
  std::int64_t most = 0;
  std::int64_t first = 0;
  for (std::int64_t rank = 0; rank < tp; ++rank) {
    const std::int64_t num = heads / tp + (rank < heads % tp ? 1 : 0);
    most = std::max(most, (first + num - 1) / per_group - first / per_group + 1);
    first += num;
  }
  return static_cast<double>(most);
}

std::optional<Infeasible> check_shards(const ModelSpec& model, const StepQuery& q) {
  if (q.tp > model.num_attention_heads) {
    return Infeasible{fmt::format("tp {} is above the {} attention heads: a rank would have none",
                                  q.tp,
                                  model.num_attention_heads)};
  }
  if (q.sync_tp() > q.tp) {
    return Infeasible{fmt::format("tp_sync {} is above tp {}", q.sync_tp(), q.tp)};
  }
  if (q.cp > 1 && model.seq_length % (2 * q.cp) != 0) {
    return Infeasible{fmt::format(
        "seq_length {} does not divide into 2 cp = {} chunks", model.seq_length, 2 * q.cp)};
  }
  if (q.context_exchange == ContextExchange::all_to_all && q.cp * q.tp > model.num_query_groups) {
    return Infeasible{
        fmt::format("cp {} by all-to-all over tp {} needs as many kv-groups; the model has {}",
                    q.cp,
                    q.tp,
                    model.num_query_groups)};
  }
  if (q.ep > 1 && (model.num_experts == 0 || q.ep > model.num_experts)) {
    return Infeasible{
        fmt::format("ep {} is above the model's {} experts", q.ep, model.num_experts)};
  }
  if (q.ep > 1 && (q.dp * q.cp) % q.ep != 0) {
    return Infeasible{fmt::format("ep {} does not divide dp {} x cp {}", q.ep, q.dp, q.cp)};
  }
  return std::nullopt;
}

std::optional<Infeasible> check_pipeline(const ModelSpec& model, const StepQuery& q) {
  if (q.pp * q.vpp > model.num_layers + 2) {  // the embedding and the output layer may stand alone
    return Infeasible{fmt::format("pp {} x vpp {} is above the {} layers: a chunk would be empty",
                                  q.pp,
                                  q.vpp,
                                  model.num_layers)};
  }
  if (q.vpp > 1 && q.pp < 2) {
    return Infeasible{fmt::format("vpp {} interleaves a pipeline, and pp is {}", q.vpp, q.pp)};
  }
  if (q.vpp > 1 && q.num_microbatches < q.pp) {
    return Infeasible{fmt::format(
        "interleaving over pp {} cannot schedule {} microbatches", q.pp, q.num_microbatches)};
  }
  return std::nullopt;
}

}  // namespace

std::optional<Infeasible> check_query(const ModelSpec& model, const StepQuery& q) {
  const std::int64_t least = std::min({q.tp, q.cp, q.ep, q.dp, q.pp, q.vpp, q.micro_batch_size});
  if (least < 1 || q.num_microbatches < 1) {
    return Infeasible{
        "every degree of parallelism, the micro-batch size and the number of "
        "microbatches must be at least 1"};
  }
  if (q.zero_stage < 0 || q.zero_stage > 3 || !(q.power_multiple > 0.0) ||
      q.num_recompute_layers < 0) {
    return Infeasible{
        "zero_stage is 0 to 3, power_multiple is positive and num_recompute_layers not negative"};
  }
  if (q.precision == Precision::fp32) {
    return Infeasible{"no step in fp32 can be priced: the hardware parameters have no peak for it"};
  }
  if (std::optional<Infeasible> fault = check_shards(model, q)) {
    return fault;
  }
  return check_pipeline(model, q);
}

RankShare rank_share(const ModelSpec& model, const StepQuery& q) {
  RankShare share;
  share.heads = ceil_share(model.num_attention_heads, q.tp);
  share.kv_heads = most_groups_touched(model, q.tp);
  share.ffn = ceil_share(model.ffn_hidden_size, q.tp);
  share.vocab = ceil_share(model.padded_vocab_size, q.tp);
  if (model.num_experts > 0) {
    share.experts = ceil_share(model.num_experts, q.ep);
    share.expert_ffn = ceil_share(model.moe_ffn_hidden_size, q.tp);
  }
  const std::int64_t chunks = q.pp * q.vpp;
  const std::int64_t full = (model.num_layers + chunks - 1) / chunks * q.vpp;
  const std::int64_t missing = full * q.pp - model.num_layers;
  share.layers = static_cast<double>(full);
  const std::int64_t at_end = std::min(full - 1, (missing + 1) / 2);
  const std::int64_t at_start = std::min(full - 1, missing / 2);
  share.last_layers = static_cast<double>(full - at_end);
  share.first_layers = static_cast<double>(full - at_start);
  return share;
}

}  // namespace runflat::sim
