#include "planner/scenario.hpp"

#include "core/document.hpp"
#include "core/error.hpp"
#include "core/override.hpp"
#include "sim/fault_sampler.hpp"
#include "tests/catch.hpp"
#include "tests/planner/shipped_scenario.hpp"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

using namespace runflat;
using namespace runflat::planner;

namespace {

/// What a person is told about the small scenario after an override; nothing when it is accepted.
std::string complaint(const std::vector<std::string>& overrides) {
  Value document = read_document(shipped_scenarios() / "small.toml");
  try {
    for (const std::string& assignment : overrides) {
      apply_override(document, assignment);
    }
    static_cast<void>(read_scenario(Reader(document, "small.toml")));
  } catch (const ParseError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("every shipped scenario reads, under its own name", "[planner][scenario]") {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(shipped_scenarios())) {
    if (entry.path().extension() != ".toml") {
      continue;
    }
    CAPTURE(entry.path().filename().string());
    const Value document = read_document(entry.path());
    const Scenario scenario = read_scenario(Reader(document, entry.path().filename().string()));
    CHECK(scenario.name == entry.path().stem().string());
    CHECK(scenario.num_job_sites() * scenario.layout.tp == scenario.layout.num_ranks());
    CHECK(scenario.layout.num_ranks() <= scenario.cluster.num_gpus());
    CHECK(scenario.num_microbatches() * scenario.layout.dp * scenario.training.micro_batch_size ==
          scenario.training.global_batch_size);
    names.insert(scenario.name);
  }
  CHECK(names.size() >= 4);
}

TEST_CASE("the Llama-3 scenario is the published job", "[planner][scenario][golden]") {
  const Scenario scenario = shipped_scenario("llama3-405b-h100");
  CHECK(scenario.cluster.num_gpus() == 16384);
  CHECK(scenario.layout.num_ranks() == 16384);
  CHECK(scenario.model.num_parameters() == Approx(405e9).epsilon(0.01));
  CHECK(scenario.training.global_batch_size * scenario.model.seq_length == 16 << 20);
  CHECK(scenario.duration == Days{54});
  CHECK(scenario.failures.rate_per_node_day() * 2048 * 54 == Approx(419).epsilon(1e-3));
}

TEST_CASE("trials of the Llama-3 scenario have 419 interruptions in 54 days",
          "[planner][scenario][golden]") {
  // Poisson of mean 419 (arXiv 2407.21783, Table 5): the mean of n trials is off by sqrt(419 / n).
  const Scenario scenario = shipped_scenario("llama3-405b-h100");
  constexpr std::uint32_t kTrials = 200;
  double sum = 0.0;
  for (std::uint32_t trial = 0; trial < kTrials; ++trial) {
    sum += static_cast<double>(sim::sample_faults(scenario.failures,
                                                  scenario.shape_with_spares(0),
                                                  sim::to_sim_time(scenario.duration),
                                                  5,
                                                  trial)
                                   .faults.size());
  }
  CHECK(sum / kTrials == Approx(419.0).margin(3.0 * std::sqrt(419.0 / kTrials)));
}

TEST_CASE("spare domains come as whole nodes", "[planner][scenario]") {
  const Scenario nodes = shipped_scenario("llama3-405b-h100");  // a domain is a node
  CHECK(nodes.shape_with_spares(3).num_nodes == 2051);
  const Scenario racks = shipped_scenario("ntp-paper-b200");  // eight nodes a domain
  CHECK(racks.shape_with_spares(0).num_nodes == 8192);
  CHECK(racks.shape_with_spares(3).num_nodes == 8192 + 24);
  Scenario halves = shipped_scenario("small");
  halves.cluster.domain_size = 4;  // half a node
  CHECK(halves.shape_with_spares(1).num_nodes == 9);
  CHECK(halves.shape_with_spares(2).num_nodes == 9);
  CHECK(racks.most_spares() == 90);
  CHECK(racks.spares_of(PolicyKind::ntp) == 0);
}

TEST_CASE("a bad scenario gets one line that names the file, the key and what was expected",
          "[planner][scenario]") {
  struct Bad {
    std::vector<std::string> overrides;
    std::string place;  ///< key path
    std::string says;
  };
  const std::vector<Bad> cases = {
      {{"colour=1"}, "", "colour"},
      {{"cluster.colour=1"}, "cluster", "colour"},
      {{"recovery.reboot_seconds=1"}, "recovery", "reboot_seconds"},
      {{"policies.ntp.spares=1"}, "policies.ntp", "spare"},
      {{"policies.pray.spare_domains=1"}, "policies", "pray"},
      {{"schema=2"}, "schema", "schema 1"},
      {{"schema=one"}, "schema", "integer"},
      {{"name=1"}, "name", "text"},
      {{"cluster=3"}, "cluster", "table"},
      {{"cluster.num_nodes=8.5"}, "cluster.num_nodes", "integer"},
      {{"cluster.num_nodes=0"}, "cluster.num_nodes", "from 1"},
      {{"cluster.gpu=7"}, "cluster.gpu", "text"},
      {{"duration_days=0"}, "", "duration above 0"},
      {{"duration_days=0.01"}, "", "duration must be from an hour"},
      {{"duration_days=1e9"}, "", "duration must be from an hour to a hundred years"},
      {{"duration_hours=3"}, "duration", "one unit"},
      {{"failures.scale=-1"}, "failures.scale", "0"},
      {{"failures.warm_up_days=-1"}, "failures.warm_up", "0"},
      {{"failures.class.1.rate_per_1000_node_days=-0.8"},
       "failures.class.1.rate_per_1000_node_days",
       "0"},
      {{"failures.class=1"}, "failures.class", "array"},
      {{"layout.tensor_model_parallel_size=16"}, "layout", "larger than the NVLink domain"},
      {{"layout.tensor_model_parallel_size=7"}, "layout", "num_attention_heads 32"},
      {{"layout.data_parallel_size=8"}, "layout", "room for 8"},
      {{"layout.data_parallel_size=3"}, "training", "not divisible"},
      {{"layout.pipeline_model_parallel_size=0"}, "layout.pipeline_model_parallel_size", "1"},
      {{"layout.virtual_pipeline_model_parallel_size=18"}, "layout", "num_layers 32"},
      {{"model.num_attention_heads=48", "model.hidden_size=4100"}, "model", "not divisible"},
      {{"model.num_query_groups=5"}, "model", "not divisible"},
      {{"model.num_attention_heads=33", "model.hidden_size=4224", "model.num_query_groups=1"},
       "layout",
       "num_attention_heads 33"},
      {{"model.num_attention_heads=24", "model.hidden_size=3072", "model.num_query_groups=12"},
       "layout",
       "num_query_groups 12"},
      {{"training.global_batch_size=130"}, "training", "not divisible"},
      {{"training.micro_batch_size=0"}, "training.micro_batch_size", "1"},
      {{"training.precision=fp12"}, "training.precision", "bf16"},
      {{"checkpoint.interval_seconds=0"}, "checkpoint", "above 0"},
      {{"checkpoint.longest_interval_hours=0"}, "checkpoint", "above 0"},
      {{"checkpoint.cost_seconds=-2"}, "checkpoint.cost_seconds", "0"},
      {{"recovery.state_copy_GBps=0"}, "recovery.state_copy_GBps", "above 0"},
      {{"recovery.restart_minutes=soon"}, "recovery.restart_minutes", "number"},
      {{"recovery.peer_state=2"}, "recovery.peer_state", "true or false"},
      {{"power.max_boost=0.9"}, "power.max_boost", "from 1 to 2"},
      {{"power.rack_headroom=nan"}, "power.rack_headroom", "from 1 to 2"},
      {{"policies.ntp.spare_domains=-1"}, "policies.ntp.spare_domains", "0"},
      {{"policies.ntp.spare_domains=1.5"}, "policies.ntp.spare_domains", "integer"},
      {{"usd_per_gpu_hour=-1"}, "usd_per_gpu_hour", "0"}};
  for (const Bad& bad : cases) {
    const std::string text = complaint(bad.overrides);
    CAPTURE(bad.overrides, text);
    CHECK(text.rfind("small.toml: " + bad.place, 0) == 0);
    CHECK(text.find(bad.says) != std::string::npos);
    CHECK(text.find('\n') == std::string::npos);
  }
  CHECK(complaint({}).empty());
}

TEST_CASE("a scenario without a required key is refused with its name", "[planner][scenario]") {
  const Value whole = read_document(shipped_scenarios() / "small.toml");
  for (const std::string key :
       {"schema", "name", "description", "cluster", "model", "layout", "training", "failures"}) {
    Value document = whole;
    auto& members = *document.get_if<Value::Object>();
    std::erase_if(members, [&](const auto& member) { return member.first == key; });
    try {
      static_cast<void>(read_scenario(Reader(document, "small.toml")));
      FAIL("accepted without " << key);
    } catch (const ParseError& error) {
      CHECK(std::string(error.what()).find(key) != std::string::npos);
    }
  }
}

TEST_CASE("recovery and checkpoints read their keys, and each mistake is named",
          "[planner][scenario]") {
  Value document = read_document(shipped_scenarios() / "small.toml");
  for (const char* assignment : {"checkpoint.kind=in_memory",
                                 "checkpoint.rule=daly",
                                 "checkpoint.stored_interval_minutes=10",
                                 "checkpoint.survives=['gpu']",
                                 "recovery.start_seconds=120",
                                 "recovery.communicators=reinitialise",
                                 "recovery.hot_spares=true",
                                 "recovery.rejoin_rule=when_it_pays",
                                 "recovery.batch=fixed"}) {
    CAPTURE(assignment);
    apply_override(document, assignment);
  }
  const Scenario scenario = read_scenario(Reader(document, "small.toml"));
  CHECK(scenario.checkpoint.kind == CheckpointKind::in_memory);
  CHECK(scenario.checkpoint.cost == Seconds{0.04});
  CHECK(scenario.checkpoint.rule == IntervalRule::daly);
  CHECK(scenario.checkpoint.stored_interval == Seconds{600});
  CHECK(scenario.checkpoint.survives == std::array<bool, 4>{true, false, false, false});
  CHECK(scenario.recovery.start == Seconds{120});
  CHECK(scenario.recovery.communicators == Communicators::reinitialise);
  CHECK(scenario.recovery.hot_spares);
  CHECK(scenario.recovery.rejoin_rule == RejoinRule::when_it_pays);
  CHECK(scenario.recovery.batch == BatchRule::fixed);

  const auto names = [](const std::vector<std::string>& overrides, const std::string& part) {
    const std::string text = complaint(overrides);
    CAPTURE(text, part);
    CHECK(text.find(part) != std::string::npos);
  };
  names({"checkpoint.kind=lazy"}, "checkpoint.kind");
  names({"checkpoint.rule=guess"}, "checkpoint.rule");
  names({"checkpoint.survives=['rack']"}, "checkpoint.survives");
  names({"checkpoint.save_GBps=0"}, "checkpoint.save_GBps");
  names({"checkpoint.stored_interval_seconds=0"}, "checkpoint");
  names({"checkpoint.rule=adaptive", "checkpoint.interval_seconds=5"}, "checkpoint");
  names({"recovery.batch=maybe"}, "recovery.batch");
  names({"recovery.start_seconds=5", "recovery.restart_seconds=5"}, "recovery");
  names({"recovery.quiesce_pending_seconds=-1"}, "recovery.quiesce_pending");
}
