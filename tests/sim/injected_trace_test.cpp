#include "sim/injected_trace.hpp"

#include "core/error.hpp"
#include "core/random_fault.hpp"
#include "sim/job_life.hpp"
#include "tests/catch.hpp"
#include "tests/sim/test_jobs.hpp"

#include <map>
#include <string>
#include <vector>

using namespace runflat;
using namespace runflat::sim;

namespace {

const ClusterShape kShape{.num_nodes = 2, .gpus_per_node = 4, .domain_size = 4};
const InjectionSpec kSpec{.step_time = Seconds(10.0),
                          .compute_share = 0.8,
                          .detect_hang = Seconds(60.0),
                          .reconnect = Seconds(3.0)};

FaultTrace trace_of(const std::vector<std::string>& texts) {
  std::vector<InjectedFault> faults;
  for (const std::string& text : texts) {
    faults.push_back(parse_fault(text));
  }
  return injected_trace(faults, kShape, kSpec);
}

/// A GPU that is down from one second to another.
struct Down {
  std::int32_t gpu = 0;
  double begin = 0.0;
  double end = -1.0;  // never
  Detection detection = Detection::crash;

  friend bool operator==(const Down&, const Down&) = default;
};

std::vector<Down> downs(const FaultTrace& trace) {
  std::vector<Down> all;
  for (const Fault& fault : trace.faults) {
    CHECK(fault.blast_radius == BlastRadius::gpu);
    all.push_back({fault.component,
                   to_seconds(fault.begin).count(),
                   fault.end == kNever ? -1.0 : to_seconds(fault.end).count(),
                   fault.detection});
  }
  return all;
}

}  // namespace

TEST_CASE("what ends a process takes its GPU down in the middle or at the end of the step",
          "[sim][injected_trace]") {
  CHECK(downs(trace_of({"kill rank=3 step=2 index=7",
                        "kill rank=4 step=2 at=update",
                        "stop rank=5 step=4 at=decision repair_steps=3",
                        "hang rank=6 step=6 seconds=60 repair_steps=1",
                        "kill rank=7 time_s=123.25"})) ==
        std::vector<Down>{{3, 15.0},
                          {4, 20.0},
                          {5, 35.0, 65.0, Detection::hang},
                          {6, 55.0, 65.0, Detection::hang},
                          {7, 123.25}});
  const FaultTrace trace = trace_of({"kill rank=3 step=2", "stop rank=5 step=4"});
  CHECK(trace.class_names.at(static_cast<std::size_t>(trace.faults[1].class_index)) == "stop");
}

TEST_CASE("a fault of a GPU that is down waits until it is back", "[sim][injected_trace]") {
  CHECK(downs(trace_of({"kill rank=0 step=3 repair_steps=4", "kill rank=0 step=5"})) ==
        std::vector<Down>{{0, 25.0, 65.0}, {0, 65.0}});
  CHECK(downs(trace_of({"kill rank=0 step=3", "kill rank=0 step=5"})) ==
        std::vector<Down>{{0, 25.0}});
}

TEST_CASE("a fault in a transition strikes when the next one begins", "[sim][injected_trace]") {
  const std::string second = "kill rank=1 step=3 at=moved";
  CHECK(downs(trace_of({second})).empty());
  CHECK(downs(trace_of({second, "kill rank=0 step=2"})) == std::vector<Down>{{0, 15.0}});
  CHECK(downs(trace_of({second, "kill rank=0 step=3"})) == std::vector<Down>{{0, 25.0}, {1, 25.0}});
  // At a rejoin, and where nobody is lost at first; never of the GPU that is lost.
  CHECK(downs(trace_of({second, "kill rank=0 step=2 repair_steps=3"})) ==
        std::vector<Down>{{0, 15.0, 45.0}, {1, 45.0}});
  CHECK(downs(trace_of({second, "drop_link rank=0 step=9"})) == std::vector<Down>{{1, 85.0}});
  CHECK(downs(trace_of({second, "kill rank=1 step=9"})) == std::vector<Down>{{1, 85.0}});
  CHECK(downs(trace_of({"kill rank=1 time_s=9 at=agreed", "kill rank=0 time_s=9"})) ==
        std::vector<Down>{{0, 9.0}, {1, 9.0}});
}

TEST_CASE("what nobody is lost by costs the job its time", "[sim][injected_trace]") {
  // One GPU is the whole job: what it does not do is lost.
  const std::map<std::string, double> lost = {{"slow rank=0 step=3 seconds=7", 7.0},
                                              {"slow rank=0 time_s=31.5 seconds=700", 700.0},
                                              {"hang rank=0 step=3 seconds=59", 59.0},
                                              {"nan rank=0 step=3", 10.0},
                                              {"corrupt rank=0 step=3 at=operation", 10.0},
                                              {"drop_link rank=0 step=3", 13.0}};
  JobSpec job = one_gpu_job();
  job.step_shares = {.compute = kSpec.compute_share, .network = 1.0 - kSpec.compute_share};
  const SimTime duration = to_sim_time(Seconds(1000.0));
  for (const auto& [text, seconds] : lost) {
    CAPTURE(text);
    const FaultTrace trace = injected_trace({parse_fault(text)}, job.sites.cluster, kSpec);
    CHECK(trace.faults.empty());
    const JobOutcome outcome =
        simulate_job(job, replay(trace, job.sites.cluster, duration, SimTime{}));
    CHECK(1000.0 * (1.0 - outcome.goodput) == Approx(seconds).epsilon(1e-9));
    CHECK(outcome.availability == 1.0);
  }
}

TEST_CASE("no GPU is lost twice at once, whatever the faults", "[sim][injected_trace]") {
  for (const bool has_times : {false, true}) {
    FaultRange range{.num_ranks = 8, .num_steps = 60};
    range.most_time = has_times ? std::optional(Seconds(600.0)) : std::nullopt;
    for (std::uint64_t seed = 1; seed <= 50; ++seed) {
      std::vector<InjectedFault> faults;
      for (std::int64_t i = 0; i < 20; ++i) {
        faults.push_back(random_fault(seed, i, range));
      }
      const FaultTrace trace = injected_trace(faults, kShape, kSpec);
      std::map<std::int32_t, SimTime> down_until;
      for (const Fault& fault : trace.faults) {
        CHECK(fault.begin >= down_until[fault.component]);
        down_until[fault.component] = fault.end;
      }
      CHECK(trace.faults.size() + trace.slowdowns.size() <= faults.size());
      CHECK(trace == injected_trace(faults, kShape, kSpec));
    }
  }
}

TEST_CASE("a fault of a GPU that the cluster lacks is refused by its name",
          "[sim][injected_trace]") {
  CHECK_THROWS_WITH(
      trace_of({"kill rank=7 step=2", "nan rank=8 step=3"}),
      "nan rank=8 step=3 at=op index=0: rank: expected a GPU of the cluster, which has 8");
}
