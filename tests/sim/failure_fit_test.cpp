#include "sim/failure_fit.hpp"

#include "core/document.hpp"
#include "core/error.hpp"
#include "core/reader.hpp"
#include "core/value.hpp"
#include "sim/down_count.hpp"
#include "sim/fault_file.hpp"
#include "sim/fault_sampler.hpp"
#include "tests/catch.hpp"
#include "tests/sim/sample_statistics.hpp"
#include "tests/sim/shared_data.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

using namespace runflat;
using namespace runflat::sim;

namespace {

const ClusterShape kShape{.num_nodes = 400, .gpus_per_node = 8, .domain_size = 8};
constexpr Days kObserved{348};

/// Every process that a fit looks for, at the size of the InfiniteHBD trace.
FailureModel rich_model() {
  const Recurrence refault{.probability = 0.25, .delay = Distribution::lognormal(Hours{3}, 1.5)};
  return {.classes = {{.name = "gpu",
                       .blast_radius = BlastRadius::node,
                       .rate_per_node_day = 0.003,
                       .arrival_shape = 0.8,
                       .repair = Distribution::weibull(0.6, Hours{30}),
                       .batches = {.weights = {20, 3, 1}},
                       .refault = refault},
                      {.name = "cable",
                       .blast_radius = BlastRadius::node,
                       .rate_per_node_day = 0.001,
                       .arrival_shape = 1.2,
                       .repair = Distribution::lognormal(Hours{20}, 1.0),
                       .refault = refault}},
          .node_rate_shape = 1.5};
}

FaultTrace sample_trace(const FailureModel& model, std::uint64_t seed, std::uint32_t trial) {
  return {.faults = sample_faults(model, kShape, to_sim_time(kObserved), seed, trial).faults,
          .class_names = model.class_names()};
}

std::map<std::string, FittedNumber> by_name(const FailureFit& fit) {
  std::map<std::string, FittedNumber> result;
  for (const FittedNumber& parameter : fit.parameters) {
    result.emplace(parameter.name, parameter);
  }
  return result;
}

}  // namespace

TEST_CASE("fitting a sampled model recovers its parameters within their intervals",
          "[sim][failure_fit]") {
  const std::map<std::string, double> truth{{"node_rate_shape", 1.5},
                                            {"refault.probability", 0.25},
                                            {"refault.median_hours", 3.0},
                                            {"refault.sigma", 1.5},
                                            {"gpu: rate_per_1000_node_days", 3.0},
                                            {"gpu: arrival_shape", 0.8},
                                            {"gpu: mean_batch", 29.0 / 24.0},
                                            {"gpu: repair.shape", 0.6},
                                            {"gpu: repair.scale_hours", 30.0},
                                            {"cable: rate_per_1000_node_days", 1.0},
                                            {"cable: arrival_shape", 1.2},
                                            {"cable: repair.median_hours", 20.0},
                                            {"cable: repair.sigma", 1.0}};
  std::map<std::string, int> num_covered;
  std::map<std::string, int> num_fitted;
  std::map<std::string, std::vector<double>> ratios;
  constexpr int kTrials = 40;
  for (int trial = 0; trial < kTrials; ++trial) {
    const auto fit =
        by_name(fit_failures(sample_trace(rich_model(), 5, static_cast<std::uint32_t>(trial)),
                             kShape,
                             {.observed = kObserved, .num_replicas = 60}));
    for (const auto& [name, value] : truth) {
      const auto found = fit.find(name);
      if (found == fit.end()) {
        continue;
      }
      ++num_fitted[name];
      num_covered[name] += found->second.low <= value && value <= found->second.high ? 1 : 0;
      ratios[name].push_back(found->second.value / value);
    }
  }
  int all_covered = 0;
  int all_fitted = 0;
  for (const auto& [name, value] : truth) {
    INFO(name);
    // Binomial(n, 0.95): fewer than 85 % of 32 or more are covered with probability below 2 %; the
    // mean over trials is within 6 % of the truth, or the scatter.
    CHECK(num_fitted[name] >= 32);
    CHECK(num_covered[name] >= 0.85 * num_fitted[name]);
    CHECK(estimate(ratios[name]).agrees_with(1.0, 0.02));
    all_covered += num_covered[name];
    all_fitted += num_fitted[name];
  }
  // About 500 intervals at 95 %: one standard deviation is 1 %.
  CHECK(all_covered > 0.91 * all_fitted);
  CHECK(all_covered < 0.985 * all_fitted);
}

TEST_CASE("a Poisson process with exponential repairs is fitted as one", "[sim][failure_fit]") {
  const FailureModel model{.classes = {{.name = "node",
                                        .blast_radius = BlastRadius::node,
                                        .rate_per_node_day = 0.004,
                                        .repair = Distribution::exponential(Hours{30})}}};
  int num_exponential = 0;
  for (std::uint32_t trial = 0; trial < 10; ++trial) {
    const FailureFit fit = fit_failures(
        sample_trace(model, 6, trial), kShape, {.observed = kObserved, .num_replicas = 0});
    // By chance 2.8 % of the repairs are followed by a fault within 7 days at 0.004 a day. Nothing
    // tells a refault from these but the law of the delay, so a fit may take them, and the tail of
    // their law, for refaults, but no more.
    CHECK(fit.model.classes[0].refault.probability < 2 * 0.028);
    CHECK(fit.model.node_rate_shape.value_or(1000.0) > 4.0);
    CHECK(fit.model.classes[0].arrival_shape == Approx(1.0).margin(5 * 0.78 / std::sqrt(500.0)));
    CHECK(fit.model.classes[0].batches.mean_size() < 1.02);
    num_exponential += fit.repairs[0].front().kind == LawKind::exponential ? 1 : 0;
    CHECK(std::isnan(fit.parameters[0].low));
  }
  CHECK(num_exponential >= 5);  // AIC keeps the smaller model in about 5 of 6
}

TEST_CASE("a wrong law of repair is found out by its p-value", "[sim][failure_fit]") {
  // Half of the repairs take exactly 1 h and half 10 h; no continuous law has such steps.
  FaultTrace trace = sample_trace(rich_model(), 7, 0);
  for (std::size_t i = 0; i < trace.faults.size(); ++i) {
    trace.faults[i].end = trace.faults[i].begin + to_sim_time(Hours{i % 2 == 0 ? 1.0 : 10.0});
  }
  const FailureFit fit = fit_failures(trace, kShape, {.observed = kObserved, .num_replicas = 100});
  for (const FitQuality& quality : fit.quality) {
    INFO(quality.name);
    if (quality.name.find("repair") != std::string::npos) {
      CHECK(quality.p_value < 0.02);
    } else {
      CHECK(quality.p_value > 0.001);
    }
  }
}

TEST_CASE("a fit is a function of trace, options and seed", "[sim][failure_fit]") {
  const FaultTrace trace = sample_trace(rich_model(), 8, 0);
  const auto limits = [&](std::uint64_t seed) {
    std::vector<double> result;
    const FailureFit fit =
        fit_failures(trace, kShape, {.observed = kObserved, .num_replicas = 30, .seed = seed});
    for (const FittedNumber& parameter : fit.parameters) {
      result.insert(result.end(), {parameter.value, parameter.low, parameter.high});
    }
    return result;
  };
  CHECK(limits(1) == limits(1));
  CHECK(limits(1) != limits(2));
}

TEST_CASE("rare classes are pooled, radii are kept apart", "[sim][failure_fit]") {
  FailureModel model = rich_model();
  model.classes[1].rate_per_node_day = 1e-4;
  model.classes.push_back(model.classes[1]);
  model.classes[2].name = "fan";
  model.classes.push_back(model.classes[0]);
  model.classes[3].blast_radius = BlastRadius::gpu;
  FaultTrace trace = sample_trace(model, 9, 0);
  trace.class_names[3] = "gpu";
  const FailureFit fit = fit_failures(trace, kShape, {.observed = kObserved, .num_replicas = 0});
  std::vector<std::string> names = fit.model.class_names();
  std::sort(names.begin(), names.end());
  CHECK(names == std::vector<std::string>{"gpu", "gpu (node)", "other"});
  double num_faults = 0.0;
  for (const FailureClass& failure_class : fit.model.classes) {
    num_faults += failure_class.rate_per_node_day * 400 * 348;
  }
  CHECK(num_faults == Approx(static_cast<double>(trace.faults.size())));
}

TEST_CASE("a trace without repairs can be fitted, one without faults cannot",
          "[sim][failure_fit]") {
  FaultTrace trace = sample_trace(rich_model(), 10, 0);
  for (Fault& fault : trace.faults) {
    fault.end = kNever;
  }
  const FailureFit fit = fit_failures(trace, kShape, {.observed = kObserved, .num_replicas = 20});
  CHECK(fit.model.classes[0].repair == Distribution{});
  CHECK(fit.repairs[0].empty());
  CHECK_THROWS_AS(fit_failures({}, kShape), InvalidArgument);
}

TEST_CASE("odd traces are fitted to models that can be sampled and read back",
          "[sim][failure_fit][fuzz]") {
  std::mt19937 generator{15};
  const auto one_of = [&](int num) {
    return static_cast<int>(generator() % static_cast<unsigned>(num));
  };
  for (int round = 0; round < 300; ++round) {
    const ClusterShape shape{.num_nodes = 1 + one_of(20), .gpus_per_node = 2, .domain_size = 4};
    FaultTrace trace{.faults = {}, .class_names = {"a", "b"}};
    const int period_ms = one_of(3) * 1000000;   // all at once, or at even gaps
    const int repair_ms = one_of(3) * 10000000;  // none, or all the same, but for the last digits
    const int noise = one_of(2) == 0 ? 1 : 1000000;
    const int num_faults = 10 + one_of(60);
    for (int i = 0; i < num_faults; ++i) {
      Fault fault;
      fault.begin = SimTime{std::int64_t{i} * period_ms + one_of(noise)};
      fault.end = one_of(10) == 0 ? kNever : fault.begin + SimTime{repair_ms + one_of(noise)};
      fault.blast_radius = static_cast<BlastRadius>(one_of(4));
      fault.component = one_of(std::min(3, shape.num_components(fault.blast_radius)));
      fault.class_index = one_of(2);
      trace.faults.push_back(fault);
    }
    std::sort(trace.faults.begin(), trace.faults.end());
    const FailureFit fit =
        fit_failures(trace,
                     shape,
                     {.least_faults = static_cast<std::size_t>(2 + one_of(30)), .num_replicas = 3});
    const std::string toml = fault_file_toml(fit, shape);
    INFO(toml);
    const Value document = parse_toml(toml, "faults.toml");
    const FaultFile file = read_fault_file(Reader{document, "faults.toml"});
    REQUIRE(file.model.classes.size() == fit.model.classes.size());
    static_cast<void>(sample_faults(file.model, file.shape, to_sim_time(fit.observed), 1, 0));
  }
}

namespace {

/// Share of the time with more than n nodes down, by n.
std::vector<double> time_above(const FaultTimeline& timeline) {
  const DownCount down{timeline, BlastRadius::node};
  std::vector<double> shares;
  for (std::int32_t n = 0; n < down.max(); ++n) {
    shares.push_back(down.fraction_above(n));
  }
  shares.resize(static_cast<std::size_t>(kShape.num_nodes), 0.0);
  return shares;
}

/// Probability, under `model`, of a record of 348 days whose law of nodes down is as far from that
/// of the others as the trace's.
///
/// The numbers down at different times of one record depend on each other for as long as the
/// longest repairs, so times are no sample. Whole records are: the trace and R records sampled from
/// the model are R + 1 exchangeable blocks if the model is right, hence the rank of any statistic
/// that treats them alike is uniform. The statistic is the Kolmogorov-Smirnov distance of a
/// record's law (weighted by time) from that of all other records together.
double rank_test(const FailureModel& model, const FaultTimeline& trace) {
  constexpr std::uint32_t kRecords = 199;
  std::vector<std::vector<double>> laws{time_above(trace)};
  for (std::uint32_t i = 0; i < kRecords; ++i) {
    laws.push_back(time_above(sample_faults(model, kShape, trace.duration, 31, i)));
  }
  std::vector<double> total(laws[0].size());
  for (const std::vector<double>& law : laws) {
    for (std::size_t n = 0; n < total.size(); ++n) {
      total[n] += law[n];
    }
  }
  std::vector<double> distances;
  for (const std::vector<double>& law : laws) {
    double distance = 0.0;
    for (std::size_t n = 0; n < total.size(); ++n) {
      distance = std::max(distance, std::abs(law[n] - (total[n] - law[n]) / kRecords));
    }
    distances.push_back(distance);
  }
  const auto as_far = std::count_if(
      distances.begin(), distances.end(), [&](double d) { return d >= distances.front(); });
  return static_cast<double>(as_far) / static_cast<double>(distances.size());
}

}  // namespace

TEST_CASE("replaying the InfiniteHBD trace and sampling its fit agree on the nodes down",
          "[sim][failure_fit][golden]") {
  const auto path = find_shared("data/traces/infinitehbd_faults.csv");
  if (!path) {
    WARN("skipped: no shared/data/traces/infinitehbd_faults.csv");
    return;
  }
  const FaultTrace trace = read_fault_trace(*path, kShape);
  const FaultTimeline real = replay(trace, kShape, to_sim_time(kObserved));
  const FailureFit fit = fit_failures(trace, kShape, {.observed = kObserved, .num_replicas = 0});
  CHECK(rank_test(fit.model, real) > 0.05);

  // The test can tell: independent exponential failures and repairs of the same rate and mean,
  // which reliability simulators assume, are refuted.
  Seconds mean{};
  for (const Fault& fault : trace.faults) {
    mean += to_seconds(fault.end - fault.begin) / static_cast<double>(trace.faults.size());
  }
  const FailureModel poisson{.classes = {{.name = "node",
                                          .blast_radius = BlastRadius::node,
                                          .rate_per_node_day = fit.model.rate_per_node_day(),
                                          .repair = Distribution::exponential(mean)}}};
  CHECK(rank_test(poisson, real) < 0.01);
}

TEST_CASE("the InfiniteHBD trace has the published parameters", "[sim][failure_fit][golden]") {
  // shared/reference/fault-tolerance.md section 3b and data/traces/defaults.json.
  const auto path = find_shared("data/traces/infinitehbd_faults.csv");
  if (!path) {
    WARN("skipped: no shared/data/traces/infinitehbd_faults.csv");
    return;
  }
  const FaultTrace trace = read_fault_trace(*path, kShape);
  const TraceStatistics found = trace_statistics(trace, kShape, kObserved);
  CHECK(found.num_faults == 584);
  CHECK(found.rate_per_1000_node_days == Approx(4.195).margin(0.0005));
  CHECK(found.gap_variation == Approx(1.76).margin(0.005));
  CHECK(found.gap_weibull_shape == Approx(0.624).margin(0.0005));
  CHECK(found.node_count_mean == Approx(1.46));
  CHECK(found.node_count_variance == Approx(3.753).margin(0.0005));
  CHECK(found.node_size_by_moments.value() == Approx(0.93).margin(0.005));
  CHECK(found.refault_share == Approx(0.312).margin(0.0005));
  CHECK(found.batches == std::vector<std::size_t>{467, 24, 6, 3, 2, 1, 0, 0, 1, 0, 0, 0, 0, 1});

  // Of the 570 repairs that took time: lognormal(2.71, 2.52) of hours at a distance of 0.087,
  // Weibull(0.451, 50.7 h) at 0.064, exponential at 0.358.
  std::vector<Seconds> repairs;
  std::vector<Seconds> all_repairs;  // none shorter than 0.01 h
  for (const Fault& fault : trace.faults) {
    const Seconds repair = to_seconds(fault.end - fault.begin);
    all_repairs.push_back(std::max<Seconds>(repair, Hours{0.01}));
    if (repair > Seconds::zero()) {
      repairs.push_back(repair);
    }
  }
  const LawFit lognormal = fit_law(LawKind::lognormal, repairs);
  CHECK(std::log(lognormal.parameters.at(0).value) == Approx(2.71).margin(0.005));
  CHECK(lognormal.parameters.at(1).value == Approx(2.52).margin(0.005));
  CHECK(lognormal.kolmogorov_smirnov == Approx(0.087).margin(0.0005));
  const LawFit weibull = fit_law(LawKind::weibull, repairs);
  CHECK(weibull.parameters.at(0).value == Approx(0.451).margin(0.0005));
  CHECK(weibull.parameters.at(1).value == Approx(50.7).margin(0.05));
  CHECK(weibull.kolmogorov_smirnov == Approx(0.064).margin(0.0005));
  CHECK(fit_law(LawKind::exponential, repairs).kolmogorov_smirnov == Approx(0.358).margin(0.0005));
  // 35 % fast, median 0.76 h, sigma 2.07; 65 % slow, median 57 h, sigma 1.61.
  const LawFit mixture = fit_law(LawKind::lognormal_mixture, all_repairs);
  CHECK(mixture.parameters.at(0).value == Approx(0.35).margin(0.005));
  CHECK(mixture.parameters.at(1).value == Approx(0.76).margin(0.005));
  CHECK(mixture.parameters.at(2).value == Approx(2.07).margin(0.005));
  CHECK(mixture.parameters.at(3).value == Approx(57.1).margin(0.05));
  CHECK(mixture.parameters.at(4).value == Approx(1.61).margin(0.005));
  CHECK(fit_laws(all_repairs).front().kind == LawKind::lognormal_mixture);
}
