#include "sim/layer_cost.hpp"

#include "sim/hardware.hpp"
#include "tests/catch.hpp"
#include "tests/sim/golden_table.hpp"
#include "tests/sim/sim_models.hpp"

#include <cmath>
#include <string>

namespace runflat::sim {
namespace {

StepQuery query_of(std::int64_t tp) {
  StepQuery query;
  query.tp = tp;
  query.micro_batch_size = 4;
  query.precision = Precision::fp16;
  return query;
}

TEST_CASE("layer times of the 22B model are within 8 % of Korthikanti's Table 4, 4 % on average",
          "[sim][layer][golden]") {
  const HardwareParameters on = load_hardware("a100", "megatron-2022");
  const ModelSpec model = gpt_model(48, 6144, 64);
  double mean = 0.0;
  int num = 0;
  for (const auto& row : read_golden("korthikanti_layer_times.txt")) {
    StepQuery query = query_of(8);
    query.recompute = row[0] == "full"        ? Recompute::full
                      : row[0] == "selective" ? Recompute::selective
                                              : Recompute::none;
    query.sequence_parallel = row[1] == "1";
    const PassCost cost = layer_cost(model, query, rank_share(model, query), on);
    CAPTURE(row[0], row[1]);
    const double forward = cost.forward.total().count() * 1e3 / std::stod(row[2]) - 1.0;
    const double backward = cost.backward.total().count() * 1e3 / std::stod(row[3]) - 1.0;
    CHECK(forward == Approx(0.0).margin(0.08));
    CHECK(backward == Approx(0.0).margin(0.08));
    mean += (std::abs(forward) + std::abs(backward)) / 2.0;
    ++num;
  }
  REQUIRE(num == 5);
  CHECK(mean / num <= 0.04);
}

TEST_CASE("full recomputation adds one forward to backward", "[sim][layer]") {
  for (const char* gpu : {"a100", "h100"}) {
    const HardwareParameters on = load_hardware(gpu);
    const ModelSpec model = gpt_model(48, 6144, 64);
    StepQuery query = query_of(4);
    const PassCost kept = layer_cost(model, query, rank_share(model, query), on);
    query.recompute = Recompute::full;
    const PassCost again = layer_cost(model, query, rank_share(model, query), on);
    CHECK(again.forward.total() == kept.forward.total());
    CHECK((again.backward.total() - kept.backward.total()).count() ==
          Approx(kept.forward.total().count()));
  }
}

TEST_CASE("what a trainer computes again and moves besides is priced by its counts",
          "[sim][layer]") {
  HardwareParameters on = load_hardware("h100");
  ModelSpec model = gpt_model(48, 6144, 64);
  model.add_bias_linear = true;
  StepQuery query = query_of(4);
  query.sequence_parallel = true;
  const auto costs = [&] { return layer_cost(model, query, rank_share(model, query), on); };
  const double tokens = 4.0 * static_cast<double>(model.seq_length);
  const auto seconds = [&](double bytes) { return stream(on.compute, Bytes{bytes}, 0).count(); };
  const PassCost plain = costs();

  // 3 h / 4 of queries, keys and values and twice h get a bias; fc1's 4 h / 4 only its gradient.
  on.bias_add_bytes = 4.0;
  on.bias_gradient_bytes = 2.0;
  const PassCost biased = costs();
  CHECK((biased.forward.streaming - plain.forward.streaming).count() ==
        Approx(seconds(4.0 * tokens * 2.75 * 6144)));
  CHECK((biased.backward.streaming - plain.backward.streaming).count() ==
        Approx(seconds(2.0 * tokens * 3.75 * 6144)));

  on.sequence_copy_bytes = 36.0;  // of a rank's quarter of the tokens
  const PassCost copied = costs();
  CHECK((copied.forward.streaming - biased.forward.streaming).count() ==
        Approx(seconds(18.0 * tokens / 4.0 * 6144)));

  query.recompute = Recompute::selective;
  CHECK(costs().backward.attention == copied.backward.attention);
  on.recompute.attention = 1.0;
  CHECK(costs().backward.attention == copied.backward.attention + copied.forward.attention);

  query.recompute = Recompute::full;
  const PassCost all = costs();
  on.recompute.last_product = 0.0;
  CHECK((all.backward.gemm - costs().backward.gemm).count() ==
        Approx(gemm(on.compute, {tokens, 6144, 6144}, false).count()));
}

TEST_CASE("a GEMM reaches no more than its efficiency, and more of it when it is larger",
          "[sim][op]") {
  const ComputeParameters on = load_hardware("h100").compute;
  double previous = 0.0;
  for (double n = 256.0; n <= 32768.0; n *= 2.0) {
    const double rate = 2.0 * n * n * n / gemm(on, {n, n, n}, false).count();
    CHECK(rate > previous);
    CHECK(rate < on.gpu.peak_16bit.value * on.gemm.efficiency);
    previous = rate;
  }
}

TEST_CASE("an MoE layer computes topk experts per token and pays to dispatch them",
          "[sim][layer]") {
  const HardwareParameters on = load_hardware("h100");
  const ModelSpec moe = mixtral();
  ModelSpec dense = moe;
  dense.num_experts = 0;
  StepQuery query = query_of(1);
  query.precision = Precision::bf16;
  query.dp = 8;
  const PassCost one = layer_cost(dense, query, rank_share(dense, query), on);
  const PassCost two = layer_cost(moe, query, rank_share(moe, query), on);
  CHECK(two.forward.gemm / one.forward.gemm > 1.5);
  CHECK(two.forward.gemm / one.forward.gemm < 2.2);
  CHECK(two.forward.expert == Seconds{});
  query.ep = 8;
  CHECK(layer_cost(moe, query, rank_share(moe, query), on).forward.expert > Seconds{});
  query.expert_imbalance = 1.5;
  CHECK(layer_cost(moe, query, rank_share(moe, query), on).forward.gemm > two.forward.gemm);
}

TEST_CASE("context parallelism divides a layer, and its exchanges cost by kind", "[sim][layer]") {
  const HardwareParameters on = load_hardware("h100");
  const ModelSpec model = llama_405b();
  StepQuery query = query_of(4);
  query.micro_batch_size = 1;
  query.precision = Precision::bf16;
  const PassCost whole = layer_cost(model, query, rank_share(model, query), on);
  query.cp = 2;
  for (const ContextExchange exchange :
       {ContextExchange::ring, ContextExchange::all_gather, ContextExchange::all_to_all}) {
    query.context_exchange = exchange;
    const PassCost half = layer_cost(model, query, rank_share(model, query), on);
    CHECK(half.forward.compute() / whole.forward.compute() == Approx(0.5).epsilon(0.05));
    if (exchange != ContextExchange::ring) {
      CHECK(half.forward.context > Seconds{});
    }
  }
}

}  // namespace
}  // namespace runflat::sim
