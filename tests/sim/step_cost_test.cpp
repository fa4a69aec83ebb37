#include "sim/step_cost.hpp"

#include "sim/hardware.hpp"
#include "tests/catch.hpp"
#include "tests/sim/sim_models.hpp"

#include <random>
#include <string>
#include <vector>

namespace runflat::sim {
namespace {

StepQuery query_of(std::int64_t tp, std::int64_t pp, std::int64_t dp, std::int64_t microbatches) {
  StepQuery query;
  query.tp = tp;
  query.pp = pp;
  query.dp = dp;
  query.num_microbatches = microbatches;
  query.sequence_parallel = true;
  query.zero_stage = 1;
  return query;
}

double seconds(const ModelSpec& model, const StepQuery& query, const HardwareParameters& on) {
  const auto cost = step_cost(model, query, on);
  REQUIRE(cost);
  return cost->step_time.count();
}

TEST_CASE("a step's parts sum to its time, and none is negative", "[sim][step]") {
  std::mt19937 random(7);
  const auto pick = [&](std::vector<std::int64_t> from) { return from[random() % from.size()]; };
  const std::vector<ModelSpec> models = {gpt_model(48, 6144, 64), llama_405b(), mixtral()};
  const std::vector<HardwareName> known = known_hardware();
  int num_priced = 0;
  for (int trial = 0; trial < 3000; ++trial) {
    const HardwareName name = known[random() % known.size()];
    const HardwareParameters on = load_hardware(name.gpu, name.release);
    StepQuery query = query_of(pick({1, 2, 3, 5, 7, 8, 16, 30}),
                               pick({1, 2, 3, 4, 8, 16}),
                               pick({1, 2, 8, 32}),
                               pick({1, 4, 7, 16, 64}));
    query.cp = pick({1, 1, 2, 4});
    query.ep = pick({1, 1, 2, 8});
    query.vpp = pick({1, 1, 2, 4});
    query.micro_batch_size = pick({1, 2, 8});
    query.zero_stage = pick({0, 1, 2, 3});
    query.recompute = static_cast<Recompute>(pick({0, 1, 2}));
    query.precision = pick({0, 1}) == 0 ? Precision::bf16 : Precision::fp8;
    query.context_exchange = static_cast<ContextExchange>(pick({0, 1, 2}));
    query.tp_sync = pick({0, 1, 2});
    const auto cost = step_cost(models[random() % models.size()], query, on);
    if (!cost) {
      CHECK(!cost.error().reason.empty());
      continue;
    }
    ++num_priced;
    const StepBreakdown& parts = cost->breakdown;
    CHECK(cost->step_time == parts.total());
    for (const Seconds part : {parts.gemm,
                               parts.attention,
                               parts.streaming,
                               parts.host,
                               parts.tensor,
                               parts.context,
                               parts.expert,
                               parts.pipeline,
                               parts.data,
                               parts.reshard,
                               parts.straggler,
                               parts.optimizer}) {
      CHECK(part >= Seconds{});
    }
    CHECK(parts.bubble > Seconds{-1e-9});
    CHECK(cost->mfu > 0.0);
    CHECK(cost->mfu < 1.0);
    CHECK(cost->memory.peak() > Bytes{0.0});
  }
  CHECK(num_priced > 500);
}

TEST_CASE("every TP degree up to the heads has a price, and units make 30 ranks as slow as 26",
          "[sim][step]") {
  const HardwareParameters on = load_hardware("b200");
  const ModelSpec model = gpt_model(100, 20480, 128, 16384);
  for (std::int64_t tp = 1; tp <= 128; ++tp) {
    CAPTURE(tp);
    CHECK(step_cost(model, query_of(tp, 4, 2, 8), on).has_value());
  }
  const auto refused = step_cost(model, query_of(129, 4, 2, 8), on);
  REQUIRE(!refused);
  CHECK(refused.error().reason.find("128 attention heads") != std::string::npos);
  // 128 heads: ceil(128/30) = ceil(128/26) = 5 per rank, against 4 with 32.
  const RankShare at_30 = rank_share(model, query_of(30, 1, 1, 1));
  CHECK(at_30.heads == 5.0);
  CHECK(rank_share(model, query_of(26, 1, 1, 1)).heads == 5.0);
  CHECK(rank_share(model, query_of(32, 1, 1, 1)).heads == 4.0);
  CHECK(at_30.ffn == 2731.0);
}

TEST_CASE("query heads are divided, and kv-groups copied to every rank that has heads of them",
          "[sim][step]") {
  const ModelSpec model = llama_405b();  // 128 heads in 8 groups of 16
  CHECK(rank_share(model, query_of(8, 1, 1, 1)).heads == 16.0);
  CHECK(rank_share(model, query_of(8, 1, 1, 1)).kv_heads == 1.0);
  CHECK(rank_share(model, query_of(7, 1, 1, 1)).heads == 19.0);  // 18.3 up
  CHECK(rank_share(model, query_of(7, 1, 1, 1)).kv_heads == 2.0);
  CHECK(rank_share(model, query_of(16, 1, 1, 1)).heads == 8.0);
  CHECK(rank_share(model, query_of(16, 1, 1, 1)).kv_heads == 1.0);
}

TEST_CASE("fewer ranks never make a replica faster", "[sim][step]") {
  for (const char* gpu : {"a100", "h100", "b200"}) {
    const HardwareParameters on = load_hardware(gpu);
    const ModelSpec model = gpt_model(48, 8192, 64);
    double previous = 1e9;
    for (std::int64_t tp = 1; tp <= 8; ++tp) {
      const double now = seconds(model, query_of(tp, 2, 4, 16), on);
      CAPTURE(gpu, tp);
      CHECK(now <= previous);
      previous = now;
    }
  }
}

TEST_CASE("what cannot run is refused with the reason", "[sim][step]") {
  const HardwareParameters on = load_hardware("a100");
  const ModelSpec model = gpt_model(24, 2048, 16);
  const auto reason = [&](const StepQuery& query) -> std::string {
    const auto cost = step_cost(model, query, on);
    return cost ? "priced" : cost.error().reason;
  };
  StepQuery fp8 = query_of(1, 1, 1, 1);
  fp8.precision = Precision::fp8;
  CHECK(reason(fp8) == "a100 has no 8-bit floating point");
  CHECK(reason(query_of(1, 27, 1, 1)).find("24 layers") != std::string::npos);
  StepQuery experts = query_of(1, 1, 8, 1);
  experts.ep = 8;
  CHECK(reason(experts).find("0 experts") != std::string::npos);
  StepQuery interleaved = query_of(1, 4, 1, 3);
  interleaved.vpp = 2;
  CHECK(reason(interleaved).find("3 microbatches") != std::string::npos);
  CHECK(reason(query_of(0, 1, 1, 1)).find("at least 1") != std::string::npos);
}

TEST_CASE("a healthy replica pays for resharding only beside a reduced one", "[sim][step]") {
  HardwareParameters on = load_hardware("b200");
  on.fabric.domain_size = 32;
  const ModelSpec model = gpt_model(100, 20480, 128, 16384);
  StepQuery query = query_of(32, 4, 8, 8);
  const auto alone = step_cost(model, query, on);
  query.tp_sync = 30;
  const auto beside = step_cost(model, query, on);
  REQUIRE(alone);
  REQUIRE(beside);
  CHECK(alone->breakdown.reshard == Seconds{});
  CHECK(beside->breakdown.reshard > Seconds{});
  // The paper's bound: at most 4 % of the backward pass, so less of a step.
  CHECK(beside->step_time / alone->step_time < 1.04);

  const StepTerms before = step_terms(model, query_of(32, 4, 8, 8), on);
  const StepTerms after = step_terms(model, query, on);
  // The all-reduce grows by 32/30; the small replicated part and the latency do not.
  CHECK(after.sync.reduce / before.sync.reduce == Approx(32.0 / 30.0).epsilon(0.01));
}

TEST_CASE("more power speeds up computing by the published curve, and nothing else",
          "[sim][step]") {
  // reference/ntp.md R16: 1.1x power loses 2.8 % of performance per watt, 1.2x 6.5 %.
  CHECK(speed_at_power(1.0) == 1.0);
  CHECK(speed_at_power(1.1) / 1.1 == Approx(1.0 - 0.028).epsilon(0.001));
  CHECK(speed_at_power(1.2) / 1.2 == Approx(1.0 - 0.065).epsilon(0.001));
  const HardwareParameters on = load_hardware("h100");
  const ModelSpec model = gpt_model(48, 8192, 64);
  StepQuery query = query_of(8, 2, 4, 16);
  const auto nominal = step_cost(model, query, on);
  query.power_multiple = 1.2;
  const auto boosted = step_cost(model, query, on);
  REQUIRE(boosted);
  CHECK(nominal->breakdown.compute() / boosted->breakdown.compute() == Approx(speed_at_power(1.2)));
  CHECK(nominal->breakdown.tensor == boosted->breakdown.tensor);
}

TEST_CASE("a layer count that does not fill all chunks leaves room at the ends", "[sim][step]") {
  const ModelSpec model = llama_405b();  // 126 layers
  StepQuery query = query_of(8, 16, 1, 16);
  const RankShare share = rank_share(model, query);
  CHECK(share.layers == 8.0);
  CHECK(share.first_layers + share.last_layers + 14 * share.layers == 126.0);
}

TEST_CASE("ZeRO shards the optimizer, then gradients, then weights", "[sim][memory]") {
  const HardwareParameters on = load_hardware("h100");
  const ModelSpec model = gpt_model(48, 6144, 64);
  StepQuery query = query_of(4, 2, 16, 8);
  std::vector<StageMemory> memory;
  for (const std::int64_t stage : {0, 1, 2, 3}) {
    query.zero_stage = stage;
    memory.push_back(step_cost(model, query, on)->memory.first);
  }
  CHECK(memory[1].optimizer.value * 16.0 == Approx(memory[0].optimizer.value));
  CHECK(memory[2].gradients.value * 16.0 == Approx(memory[0].gradients.value));
  CHECK(memory[3].parameters.value * 16.0 == Approx(memory[0].parameters.value));
  CHECK(memory[1].gradients == memory[0].gradients);
  CHECK(memory[2].parameters == memory[0].parameters);
}

}  // namespace
}  // namespace runflat::sim
