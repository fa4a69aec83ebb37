#include "sim/failure_process.hpp"

#include "core/document.hpp"
#include "core/error.hpp"
#include "core/reader.hpp"
#include "core/value.hpp"
#include "sim/down_count.hpp"
#include "sim/fault_sampler.hpp"
#include "tests/catch.hpp"
#include "tests/sim/sample_statistics.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <vector>

using namespace runflat;
using namespace runflat::sim;

namespace {

const ClusterShape kShape{.num_nodes = 100, .gpus_per_node = 8, .domain_size = 16};

FailureClass node_class(double per_node_day) {
  return {.name = "node",
          .blast_radius = BlastRadius::node,
          .rate_per_node_day = per_node_day,
          .repair = Distribution::exponential(Hours{6})};
}

FaultTimeline sample(const FailureModel& model, Days duration, std::uint32_t trial) {
  return sample_faults(model, kShape, to_sim_time(duration), 77, trial);
}

/// Of `value(timeline)` over independent trials.
template <typename Value>
Estimate over_trials(const FailureModel& model, Days duration, int num_trials, Value value) {
  std::vector<double> values;
  for (int trial = 0; trial < num_trials; ++trial) {
    values.push_back(
        static_cast<double>(value(sample(model, duration, static_cast<std::uint32_t>(trial)))));
  }
  return estimate(values);
}

std::size_t num_faults(const FaultTimeline& timeline) {
  return timeline.faults.size();
}

/// Everything but the class's own consequences: when, where, until when.
std::set<std::tuple<SimTime, std::int32_t, SimTime>> hits(const FaultTimeline& timeline) {
  std::set<std::tuple<SimTime, std::int32_t, SimTime>> result;
  for (const Fault& fault : timeline.faults) {
    result.emplace(fault.begin, fault.component, fault.end);
  }
  return result;
}

FailureModel read(const std::string& lines) {
  const std::string toml =
      "[[failures.class]]\nname = 'gpu'\nblast_radius = 'gpu'\nrate_per_gpu_day = 1e-4\n"
      "repair = {kind = 'constant', value_hours = 3}\n" +
      lines + "\n";
  const Value value = parse_toml(toml, "f.toml");
  return read_failure_model(Reader{*value.find("failures"), "f.toml", "failures"}, kShape);
}

std::string message(const std::string& lines) {
  try {
    static_cast<void>(read(lines));
  } catch (const ParseError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("node counts under Gamma multipliers are Dirichlet-multinomial",
          "[sim][failure_process]") {
  // n faults over N nodes of weights Dirichlet(k, ..., k): the count of a node has
  // Var(X | n) = n (1/N) (1 - 1/N) (n + N k) / (1 + N k). Hence the sum of squares of the counts of
  // all nodes is on average n^2 / N + n (1 - 1/N) (n + N k) / (1 + N k).
  const double k = GENERATE(0.3, 0.93, 5.0);
  const BlastRadius radius = GENERATE(BlastRadius::node, BlastRadius::gpu);
  FailureModel model{.classes = {node_class(0.05)}, .node_rate_shape = k};
  model.classes[0].blast_radius = radius;
  const Estimate found = over_trials(model, Days{100}, 3000, [&](const FaultTimeline& timeline) {
    std::vector<double> counts(100);
    for (const Fault& fault : timeline.faults) {
      const auto node = components_hit(fault, kShape, BlastRadius::node).first;
      ++counts.at(static_cast<std::size_t>(node));
    }
    const auto n = static_cast<double>(timeline.faults.size());
    double squares = 0.0;
    for (const double count : counts) {
      squares += count * count;
    }
    const double nk = 100.0 * k;
    const double expected = n * n / 100.0 + n * 0.99 * (n + nk) / (1.0 + nk);
    return squares - expected;
  });
  CHECK(found.agrees_with(0.0));
}

TEST_CASE("GPUs of a lemon node fail equally often", "[sim][failure_process]") {
  FailureModel model{.classes = {node_class(1.0)}, .node_rate_shape = 0.5};
  model.classes[0].blast_radius = BlastRadius::gpu;
  std::vector<double> counts(8);
  for (const Fault& fault : sample(model, Days{200}, 0).faults) {
    ++counts.at(static_cast<std::size_t>(fault.component % 8));
  }
  double total = 0.0;
  for (const double count : counts) {
    total += count;
  }
  for (const double count : counts) {
    // Binomial(n, 1/8): variance n 7/64.
    CHECK(std::abs(count - total / 8) < 5.0 * std::sqrt(total * 7.0 / 64.0));
  }
}

TEST_CASE("batches keep the rate, have the law's sizes, and lie within the spread",
          "[sim][failure_process]") {
  // Sizes 1, 2, 4 with weights 5, 3, 2: mean 19/10. A fraction 5/10 of the batches is single.
  FailureModel model{.classes = {node_class(0.001)}};
  model.classes[0].batches = {.weights = {5, 3, 0, 2}, .spread = Seconds{30}};
  CHECK(model.classes[0].batches.mean_size() == Approx(1.9));
  const Estimate count = over_trials(model, Days{50}, 4000, num_faults);
  CHECK(count.agrees_with(0.001 * 100 * 50));
  // Compound Poisson: Var N = arrivals E[b^2] = (5 / 1.9) (5 + 12 + 32) / 10.
  const Estimate square = over_trials(model, Days{50}, 4000, [](const FaultTimeline& timeline) {
    const double excess = static_cast<double>(timeline.faults.size()) - 5.0;
    return excess * excess;
  });
  CHECK(square.agrees_with(5.0 / 1.9 * 4.9));

  std::map<std::size_t, double> sizes;
  double num_batches = 0.0;
  const std::vector<Fault> faults = sample(model, Days{50000}, 0).faults;
  for (std::size_t i = 0; i < faults.size();) {
    std::set<std::int32_t> nodes;
    std::size_t j = i;
    for (; j < faults.size() && faults[j].begin - faults[i].begin <= SimTime{30000}; ++j) {
      nodes.insert(faults[j].component);
    }
    REQUIRE(nodes.size() == j - i);  // distinct
    ++sizes[j - i];
    ++num_batches;
    i = j;
  }
  const auto close_to = [&](std::size_t size, double share) {
    return std::abs(sizes[size] / num_batches - share) <
           5.0 * std::sqrt(share * (1.0 - share) / num_batches) + 0.001;  // chance neighbours
  };
  CHECK(close_to(1, 0.5));
  CHECK(close_to(2, 0.3));
  CHECK(close_to(4, 0.2));
}

TEST_CASE("a batch larger than the cluster repeats components instead of looking forever",
          "[sim][failure_process]") {
  FailureModel model{.classes = {node_class(0.1)}};
  model.classes[0].batches.weights = std::vector<double>(150, 0.0);
  model.classes[0].batches.weights.back() = 1.0;
  const FaultTimeline timeline = sample(model, Days{200}, 0);
  CHECK(timeline.faults.size() > 100);
}

TEST_CASE("recurrences keep the long-run rate and follow a share of the repairs",
          "[sim][failure_process]") {
  // A branching process: each fault brings p on average, so n (1 + p + p^2 + ...) = n / (1 - p)
  // faults follow from n arrivals at the rate r (1 - p): r in all. 40 repair-and-delay times of
  // warm-up leave less than p^20.
  FailureModel model{.classes = {node_class(0.02)}, .warm_up = Days{40}};
  model.classes[0].refault = {.probability = 0.3, .delay = Distribution::exponential(Hours{8})};
  model.classes[0].infant_mortality = {.probability = 0.2,
                                       .delay = Distribution::weibull(0.5, Hours{6})};
  CHECK(over_trials(model, Days{20}, 3000, num_faults).agrees_with(0.02 * 100 * 20, 0.02));

  // Delays: of the second fault of a node after the repair of its first; 0.3 / 0.5 exponential.
  FailureModel rare{.classes = {node_class(1e-5)}};
  rare.classes[0].refault = model.classes[0].refault;
  rare.classes[0].infant_mortality = model.classes[0].infant_mortality;
  std::map<std::int32_t, SimTime> repaired;
  std::vector<double> within_8_hours;
  double num_repairs = 0.0;
  for (std::uint32_t trial = 0; trial < 20; ++trial) {
    repaired.clear();
    for (const Fault& fault : sample(rare, Days{100000}, trial).faults) {
      const auto before = repaired.find(fault.component);
      if (before != repaired.end() && fault.begin - before->second < SimTime{86400000} * 100) {
        const double hours = to_hours(fault.begin - before->second).count();
        within_8_hours.push_back(hours <= 8.0 ? 1.0 : 0.0);
      }
      repaired[fault.component] = fault.end;
      ++num_repairs;
    }
  }
  const auto num_recurrences = static_cast<double>(within_8_hours.size());
  CHECK(std::abs(num_recurrences / num_repairs - 0.5) <
        5.0 * std::sqrt(0.25 / num_repairs) + 100 * 1e-5);  // a new arrival within 100 days
  const double expected =
      0.6 * (1.0 - std::exp(-1.0)) + 0.4 * (1.0 - std::exp(-std::sqrt(8.0 / 6.0)));
  CHECK(estimate(within_8_hours).agrees_with(expected, 0.002));
}

TEST_CASE("switching a process on or prolonging the trial keeps the other numbers",
          "[sim][failure_process]") {
  const FailureModel plain{.classes = {node_class(0.02)}};
  FailureModel rich = plain;
  rich.classes[0].refault = {.probability = 0.4, .delay = Distribution::exponential(Hours{8})};
  rich.classes[0].batches.weights = {2, 1, 1};
  rich.classes[0].rate_per_node_day /= rich.classes[0].arrivals_per_fault();
  const auto less = hits(sample(plain, Days{60}, 1));
  const auto more = hits(sample(rich, Days{60}, 1));
  const auto longer = hits(sample(rich, Days{120}, 1));
  CHECK(more.size() > 2 * less.size());
  CHECK(std::includes(more.begin(), more.end(), less.begin(), less.end()));
  CHECK(std::includes(longer.begin(), longer.end(), more.begin(), more.end()));
}

TEST_CASE("a rate that steps gives rate x the integral of its factor, for every arrival shape",
          "[sim][failure_process]") {
  // E N = r (10 x 1 + 5 x 4 + 5 x 0 + 10 x 0.5), in equilibrium in operational time.
  const std::vector<RateStep> steps{{Days{10}, 4.0}, {Days{15}, 0.0}, {Days{20}, 0.5}};
  CHECK(operational_time(steps, Days{0}, Days{30}).count() == Approx(35));
  CHECK(operational_time(steps, Days{-5}, Days{12}).count() == Approx(23));
  CHECK(operational_time({}, Days{2}, Days{5}).count() == Approx(3));
  FailureModel model{.classes = {node_class(0.01)}};
  model.classes[0].rate_over_time = steps;
  model.classes[0].arrival_shape = GENERATE(1.0, 0.62, 2.0);
  const auto count_in = [&](Days begin, Days end) {
    return over_trials(model, Days{30}, 3000, [&](const FaultTimeline& timeline) {
      return std::count_if(timeline.faults.begin(), timeline.faults.end(), [&](const Fault& fault) {
        return fault.begin >= to_sim_time(begin) && fault.begin < to_sim_time(end);
      });
    });
  };
  CHECK(count_in(Days{0}, Days{10}).agrees_with(10.0));
  CHECK(count_in(Days{10}, Days{15}).agrees_with(20.0));
  CHECK(count_in(Days{15}, Days{20}).mean == 0.0);
  CHECK(count_in(Days{20}, Days{30}).agrees_with(5.0));
}

TEST_CASE("a rate that steps to zero for good ends the arrivals", "[sim][failure_process]") {
  FailureModel model{.classes = {node_class(0.5)}};
  model.classes[0].rate_over_time = {{Days{1}, 0.0}};
  for (const Fault& fault : sample(model, Days{30}, 0).faults) {
    CHECK(fault.begin <= to_sim_time(Days{1}));
  }
}

TEST_CASE("silent corruption is found late: a delayed Poisson process", "[sim][failure_process]") {
  // Corruptions at rate r, each found an exponential(m) later: E[found by T] = r E[(T - S)+] =
  // r (T - m (1 - e^(-T/m))).
  FailureModel model{.classes = {node_class(0.02)}};
  model.classes[0].silence = Distribution::exponential(Days{5});
  const double expected = 0.02 * 100 * (20.0 - 5.0 * (1.0 - std::exp(-4.0)));
  CHECK(over_trials(model, Days{20}, 3000, num_faults).agrees_with(expected));
  FailureModel loud = model;
  loud.classes[0].silence = {};
  std::set<std::pair<SimTime, std::int32_t>> onsets;
  for (const Fault& fault : sample(loud, Days{20}, 0).faults) {
    onsets.emplace(fault.begin, fault.component);
    CHECK(fault.silent_for.count() == 0);
  }
  for (const Fault& fault : sample(model, Days{20}, 0).faults) {
    CHECK(onsets.count({fault.begin - fault.silent_for, fault.component}) == 1);
  }
}

TEST_CASE("stragglers are slow for their span and never down", "[sim][failure_process]") {
  // An infinite-server queue: r m components slow on average after the warm-up.
  FailureModel model{.classes = {node_class(0.2)}, .warm_up = Days{5}};
  model.classes[0].slow = Slowness{.resource = Resource::network, .speed = 0.7};
  CHECK(model.rate_per_node_day() == 0.0);
  const FaultTimeline one = sample(model, Days{10}, 0);
  CHECK(one.faults.empty());
  CHECK(DownCount{one, BlastRadius::node}.max() == 0);
  REQUIRE_FALSE(one.slowdowns.empty());
  CHECK(std::is_sorted(one.slowdowns.begin(), one.slowdowns.end()));
  CHECK(one.slowdowns[0].resource == Resource::network);
  CHECK(one.slowdowns[0].speed == 0.7);
  const Estimate slow = over_trials(model, Days{10}, 3000, [](const FaultTimeline& timeline) {
    return std::count_if(timeline.slowdowns.begin(),
                         timeline.slowdowns.end(),
                         [](const Slowdown& s) { return s.end >= to_sim_time(Days{10}); });
  });
  CHECK(slow.agrees_with(0.2 * 100 * 0.25));
}

TEST_CASE("planned maintenance happens on its dates", "[sim][failure_process]") {
  FailureModel model = read(R"(
[[failures.maintenance]]
name = 'firmware'
blast_radius = 'node'
first = 10
count = 3
at_days = 2
duration_hours = 4
stagger_hours = 1
every_days = 30
)");
  model.classes[0].rate_per_node_day = 0.0;
  CHECK(model.class_names() == std::vector<std::string>{"gpu", "firmware"});
  const FaultTimeline timeline = sample(model, Days{40}, 5);
  REQUIRE(timeline.faults.size() == 6);
  for (std::size_t i = 0; i < 6; ++i) {
    const SimTime begin = to_sim_time(Days{i < 3 ? 2.0 : 32.0}) + to_sim_time(Hours(i % 3));
    CHECK(timeline.faults[i] == Fault{.begin = begin,
                                      .end = begin + to_sim_time(Hours{4}),
                                      .component = 10 + static_cast<std::int32_t>(i % 3),
                                      .class_index = 1,
                                      .blast_radius = BlastRadius::node,
                                      .detection = Detection::planned});
  }
}

TEST_CASE("every process is read from its table", "[sim][failure_process]") {
  const FailureClass found = read(R"(
batches = {sizes = [467, 24, 6], within_seconds = 30}
refault = {probability = 0.3, delay = {kind = 'exponential', mean_hours = 3}}
infant_mortality = {probability = 0.05, delay = {kind = 'weibull', shape = 0.5, mean_days = 10}}
rate_over_time = [{from_days = 30, factor = 3}, {from_days = 60, factor = 1}]
silence = {kind = 'exponential', mean_hours = 20}
)")
                                 .classes.at(0);
  CHECK(found.batches == BatchLaw{.weights = {467, 24, 6}, .spread = Seconds{30}});
  CHECK(found.refault ==
        Recurrence{.probability = 0.3, .delay = Distribution::exponential(Hours{3})});
  CHECK(found.infant_mortality.delay == Distribution::weibull_of_mean(0.5, Days{10}));
  CHECK(found.rate_over_time == std::vector<RateStep>{{Days{30}, 3.0}, {Days{60}, 1.0}});
  CHECK(found.silence == Distribution::exponential(Hours{20}));
  CHECK(read("slow = {speed = 0.7}").classes.at(0).slow == Slowness{.speed = 0.7});
}

TEST_CASE("a bad process is refused with its file and key path", "[sim][failure_process]") {
  using Catch::Matchers::Contains;
  const std::string place = "f.toml: failures.class.0";
  CHECK_THAT(message("batches = {sizes = [0, 0]}"),
             Contains(place + ".batches.sizes: expected a weight above 0"));
  CHECK_THAT(message("batches = {sizes = [1, -1]}"), Contains(place + ".batches.sizes.1: "));
  CHECK_THAT(message("batches = {weights = [1]}"), Contains(place + ".batches"));
  CHECK_THAT(message("refault = {probability = 1, delay = {kind = 'constant', value_days = 1}}"),
             Contains(place + ".refault.probability: "));
  CHECK_THAT(message("refault = {probability = 0.5}"), Contains("delay"));
  CHECK_THAT(
      message(
          "refault = {probability = 0.5, delay = {kind = 'constant', value_days = 1}}\n"
          "infant_mortality = {probability = 0.5, delay = {kind = 'constant', value_days = 1}}"),
      Contains(place + ": expected refault and infant_mortality after at most 95 %"));
  CHECK_THAT(message("rate_over_time = [{from_days = 3, factor = 1}, {from_days = 3, factor = 2}]"),
             Contains(place + ".rate_over_time.1: expected a later time"));
  CHECK_THAT(message("rate_over_time = [{from_days = 3, factor = -1}]"),
             Contains(place + ".rate_over_time.0.factor: "));
  CHECK_THAT(message("silence = {kind = 'never'}"), Contains(place + ".silence.kind: "));
  CHECK_THAT(message("slow = {speed = 1.0}"), Contains(place + ".slow.speed: expected a number"));
  CHECK_THAT(message("slow = {speed = 0.5, resource = 'disk'}"),
             Contains(place + ".slow.resource: "));
  CHECK_THAT(message("slow = {speed = 0.5}\nsilence = {kind = 'constant', value_days = 1}"),
             Contains(place + ": expected a slow component without"));
  const std::string work = "[[failures.maintenance]]\nname = 'w'\nblast_radius = 'node'\n";
  CHECK_THAT(message(work + "count = 101\nat_days = 1\nduration_hours = 1"),
             Contains("f.toml: failures.maintenance.0.count: "));
  CHECK_THAT(message(work + "count = 1\nfirst = 100\nat_days = 1\nduration_hours = 1"),
             Contains("f.toml: failures.maintenance.0.first: "));
  CHECK_THAT(message(work + "count = 1\nat_days = 1\nduration_hours = 0"),
             Contains("expected duration above 0"));
  CHECK_THAT(message(work + "count = 1\nat_days = 1\nduration_hours = 5\nevery_hours = 4"),
             Contains("f.toml: failures.maintenance.0: expected a period no shorter"));
  CHECK_THAT(message("[failures]\nnode_rate_shape = 0"), Contains("f.toml"));
}
