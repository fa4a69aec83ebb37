#include "sim/memory_cost.hpp"

#include "sim/hardware.hpp"
#include "tests/catch.hpp"
#include "tests/sim/golden_table.hpp"
#include "tests/sim/sim_models.hpp"

#include <map>
#include <string>

namespace runflat::sim {
namespace {

struct PublishedModel {
  ModelSpec model;
  StepQuery query;
};

/// Korthikanti et al., Table 3.
PublishedModel published(const std::string& name) {
  StepQuery query;
  query.tp = 8;
  query.precision = Precision::fp16;
  if (name == "22B") {
    query.micro_batch_size = 4;
    return {gpt_model(48, 6144, 64), query};
  }
  if (name == "175B") {
    query.pp = 8;
    query.vpp = 3;
    query.num_microbatches = 64;
    return {gpt_model(96, 12288, 96), query};
  }
  if (name == "530B") {
    query.pp = 35;
    query.vpp = 3;
    query.num_microbatches = 280;
    return {gpt_model(105, 20480, 128), query};
  }
  query.pp = 64;
  query.num_microbatches = 512;
  return {gpt_model(128, 25600, 160), query};
}

void configure(const std::string& configuration, StepQuery& query) {
  query.sequence_parallel = configuration.find("sequence") != std::string::npos;
  query.recompute = configuration == "full"                                ? Recompute::full
                    : configuration.find("selective") != std::string::npos ? Recompute::selective
                                                                           : Recompute::none;
}

TEST_CASE("state and activations are within 3 % of Korthikanti's Figures 1 and 7",
          "[sim][memory][golden]") {
  const HardwareParameters on = load_hardware("a100", "megatron-2022");
  int num = 0;
  for (const auto& row : read_golden("korthikanti_memory.txt")) {
    PublishedModel job = published(row[1]);
    CAPTURE(row[0], row[1], row[2]);
    const Bytes baseline =
        layer_activations(job.model, job.query, rank_share(job.model, job.query), on);
    configure(row[2], job.query);
    const RankShare share = rank_share(job.model, job.query);
    const MemoryCost memory = memory_cost(job.model, job.query, share, on);
    double value = 0.0;
    if (row[0] == "activations") {
      value = memory.first.activations / 1_GiB;
    } else if (row[0] == "state") {
      // The figure leaves the embedding out.
      value = Bytes{stage_parameters(job.model, job.query, share, false).layers * 18.0} / 1_GiB;
    } else {
      value = 100.0 * (layer_activations(job.model, job.query, share, on) / baseline);
    }
    CHECK(value / std::stod(row[3]) == Approx(1.0).epsilon(0.03));
    ++num;
  }
  CHECK(num == 28);
}

TEST_CASE("activations in flight are those of the schedule", "[sim][memory]") {
  const HardwareParameters on = load_hardware("h100");
  const ModelSpec model = gpt_model(96, 12288, 96);
  for (const std::int64_t microbatches : {1, 3, 8, 32}) {
    StepQuery query;
    query.tp = 8;
    query.pp = 8;
    query.num_microbatches = microbatches;
    const RankShare share = rank_share(model, query);
    const MemoryCost memory = memory_cost(model, query, share, on);
    const Bytes layer = layer_activations(model, query, share, on);
    CHECK(memory.first.activations / layer ==
          Approx(12.0 * static_cast<double>(std::min<std::int64_t>(8, microbatches))));
    CHECK(memory.last.activations / layer == Approx(12.0));
  }
}

TEST_CASE("parameters of all ranks of a dense model add up to the model", "[sim][memory]") {
  const ModelSpec model = gpt_model(48, 6144, 64);
  StepQuery query;
  query.tp = 8;
  query.pp = 4;
  const RankShare share = rank_share(model, query);
  const double first = stage_parameters(model, query, share, false).layers;
  CHECK(first * 32.0 == Approx(12.0 * 48 * 6144.0 * 6144.0).epsilon(0.01));
}

}  // namespace
}  // namespace runflat::sim
