#include "sim/step_simulator.hpp"

#include "core/error.hpp"
#include "core/schedule_check.hpp"
#include "sim/hardware.hpp"
#include "sim/step_cost.hpp"
#include "tests/catch.hpp"
#include "tests/sim/sim_models.hpp"

#include <array>
#include <cmath>
#include <vector>

namespace runflat::sim {
namespace {

StepQuery query_of(std::int64_t pp, std::int64_t vpp, std::int64_t microbatches) {
  StepQuery query;
  query.tp = 8;
  query.dp = 4;
  query.pp = pp;
  query.vpp = vpp;
  query.num_microbatches = microbatches;
  query.sequence_parallel = true;
  query.zero_stage = 1;
  return query;
}

Seconds simulated(StepSimulator& simulator,
                  const ModelSpec& model,
                  const StepQuery& query,
                  const HardwareParameters& on) {
  const StepTerms terms = step_terms(model, query, on);
  const StepSchedule schedule = schedule_of(query);
  const ReplicaRun replica{&schedule, &terms, {}};
  return simulator.run(std::span(&replica, 1)).step_time;
}

TEST_CASE("the closed form agrees with the simulated schedule within 2 % on uniform plans",
          "[sim][simulator]") {
  StepSimulator simulator;
  int num = 0;
  for (const char* gpu : {"a100", "h100", "b200"}) {
    const HardwareParameters on = load_hardware(gpu);
    for (const ModelSpec& model :
         {gpt_model(24, 2048, 16), gpt_model(48, 6144, 64), gpt_model(96, 12288, 96)}) {
      for (const std::int64_t pp : {1, 2, 4, 8, 16}) {
        for (const std::int64_t vpp : {1, 2, 3, 6}) {
          for (const std::int64_t microbatches : {1, 4, 8, 16, 48}) {
            StepQuery query = query_of(pp, vpp, microbatches);
            if (model.num_layers % (pp * vpp) != 0 || (vpp > 1 && microbatches % pp != 0)) {
              continue;
            }
            const auto closed = step_cost(model, query, on);
            if (!closed) {
              continue;
            }
            CAPTURE(gpu, model.num_layers, pp, vpp, microbatches);
            CHECK(closed->step_time / simulated(simulator, model, query, on) ==
                  Approx(1.0).epsilon(0.02));
            ++num;
          }
        }
      }
    }
  }
  CHECK(num > 150);
}

TEST_CASE("a timeline's spans do not overlap on a stream, and end with the step",
          "[sim][simulator]") {
  for (const char* gpu : {"a100", "h100"}) {
    const HardwareParameters on = load_hardware(gpu);
    const ModelSpec model = gpt_model(48, 6144, 64);
    const StepQuery query = query_of(4, 2, 8);
    const StepTerms terms = step_terms(model, query, on);
    const StepSchedule schedule = schedule_of(query, 2);
    REQUIRE(!check_schedule(schedule));
    const ReplicaRun replica{&schedule, &terms, {}};
    Timeline timeline;
    StepSimulator simulator;
    const StepRun run = simulator.run(std::span(&replica, 1), &timeline);
    CHECK(timeline.end().count() == Approx(run.step_time.count()));
    for (std::int64_t stage = 0; stage < 4; ++stage) {
      const StageRun& of_stage = run.stages[static_cast<std::size_t>(stage)];
      CHECK(of_stage.compute.count() + terms.optimizer.count() ==
            Approx(timeline.busy_time(Rank(stage), Stream::compute).count()));
      CHECK(of_stage.idle() >= Seconds{-1e-9});
      double last = 0.0;
      for (const Span& span : timeline.spans()) {
        if (span.rank == Rank(stage) && span.stream == Stream::compute) {
          CHECK(span.begin.count() >= last - 1e-12);
          last = span.end.count();
        }
      }
    }
  }
}

TEST_CASE("replicas side by side wait for the slowest at their reductions", "[sim][simulator]") {
  HardwareParameters on = load_hardware("b200");
  on.fabric.domain_size = 32;
  const ModelSpec model = gpt_model(96, 20480, 128, 8192);
  StepQuery healthy = query_of(4, 1, 8);
  healthy.tp = 32;
  healthy.tp_sync = 28;
  StepQuery reduced = query_of(4, 1, 8);
  reduced.tp = 28;
  StepQuery smaller = reduced;
  smaller.num_microbatches = 6;

  StepSimulator simulator;
  const auto together = [&](const StepQuery& other) {
    const std::array terms = {step_terms(model, healthy, on), step_terms(model, other, on)};
    const std::array schedules = {schedule_of(healthy), schedule_of(other)};
    const std::array<ReplicaRun, 2> replicas = {
        {{&schedules[0], &terms[0], {}}, {&schedules[1], &terms[1], {}}}};
    return simulator.run(replicas).step_time;
  };
  const Seconds alone = simulated(simulator, model, healthy, on);
  CHECK(together(reduced) > alone * 1.1);
  CHECK(together(reduced) >= simulated(simulator, model, reduced, on));
  // A smaller batch brings the reduced replica back into step.
  CHECK(together(smaller) < alone * 1.02);
  CHECK(together(healthy).count() == Approx(alone.count()));
}

TEST_CASE("one slow stage slows every round of all replicas, and not more", "[sim][simulator]") {
  const HardwareParameters on = load_hardware("h100");
  const ModelSpec model = gpt_model(96, 12288, 96);
  const StepQuery query = query_of(4, 1, 64);
  const StepTerms terms = step_terms(model, query, on);
  const StepSchedule schedule = schedule_of(query);
  const std::array slow = {1.0, 1.0, 1.3, 1.0};
  const std::array<ReplicaRun, 2> replicas = {{{&schedule, &terms, {}}, {&schedule, &terms, slow}}};
  StepSimulator simulator;
  const Seconds healthy = simulated(simulator, model, query, on);
  const StepRun run = simulator.run(replicas);
  CHECK(run.step_time / healthy > 1.2);
  CHECK(run.step_time / healthy < 1.3);
  // The healthy replica idles for as long as the other is late.
  CHECK(run.stages[2].idle() > run.stages[6].idle() + (run.step_time - healthy) * 0.5);
}

TEST_CASE("a schedule that waits for itself is refused", "[sim][simulator]") {
  const HardwareParameters on = load_hardware("a100");
  const ModelSpec model = gpt_model(24, 2048, 16);
  const StepQuery query = query_of(2, 1, 1);
  const StepTerms terms = step_terms(model, query, on);
  const StepSchedule schedule(
      {.num_stages = 2},
      {{.kind = OpKind::recv_gradient, .vp_stage = 0, .peer = 1, .microbatch = 0},
       {.kind = OpKind::recv_activation, .vp_stage = 0, .peer = 0, .microbatch = 0}},
      {0, 1, 2});
  const ReplicaRun replica{&schedule, &terms, {}};
  StepSimulator simulator;
  CHECK_THROWS_AS(simulator.run(std::span(&replica, 1)), InvalidArgument);
}

}  // namespace
}  // namespace runflat::sim
