#include "sim/failure_model.hpp"

#include "core/document.hpp"
#include "core/error.hpp"
#include "core/reader.hpp"
#include "core/value.hpp"
#include "tests/catch.hpp"

#include <cmath>
#include <string>

using namespace runflat;
using namespace runflat::sim;

namespace {

const ClusterShape kShape{.num_nodes = 2048, .gpus_per_node = 8, .domain_size = 32};

FailureModel read(const std::string& toml) {
  const Value value = parse_toml(toml, "f.toml");
  return read_failure_model(Reader{*value.find("failures"), "f.toml", "failures"}, kShape);
}

/// A class with the given lines instead of the default rate.
std::string class_with(const std::string& lines) {
  return "[[failures.class]]\nname = 'gpu'\nrepair = {kind = 'constant', value_hours = 3}\n" +
         lines + "\n";
}

std::string message(const std::string& toml) {
  try {
    static_cast<void>(read(toml));
  } catch (const ParseError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("a failure model is read from its table", "[sim][failure_model]") {
  const FailureModel model = read(R"(
[failures]
scale = 3
warm_up_days = 15
[[failures.class]]
name = "hbm"
blast_radius = "gpu"
rate_per_1000_node_days = 2.4
arrival_shape = 0.62
repair = {kind = "constant", value_days = 5}
detection = "hang"
[[failures.class]]
name = "software"
blast_radius = "job"
rate_per_gpu_day = 1e-4
)");
  CHECK(model.scale == 3.0);
  CHECK(model.warm_up == Days{15});
  REQUIRE(model.classes.size() == 2);
  CHECK(model.classes[0] == FailureClass{.name = "hbm",
                                         .blast_radius = BlastRadius::gpu,
                                         .rate_per_node_day = 2.4 / 1000.0,
                                         .arrival_shape = 0.62,
                                         .repair = Distribution::constant(Days{5}),
                                         .detection = Detection::hang});
  CHECK(model.classes[1] == FailureClass{.name = "software",
                                         .blast_radius = BlastRadius::job,
                                         .rate_per_node_day = 8e-4});
  CHECK(model.rate_per_node_day() == Approx(3.0 * (0.0024 + 0.0008)));
  CHECK(read("[failures]\n") == FailureModel{});
}

TEST_CASE("the three ways to state a rate agree", "[sim][failure_model]") {
  // One fault of 16,384 GPUs (2,048 nodes, 512 domains) each 4 days.
  const double expected = 1.0 / 4.0 / 2048.0;
  const auto rate = [](const std::string& lines) {
    return read(class_with(lines)).classes.at(0).rate_per_node_day;
  };
  CHECK(rate("blast_radius = 'node'\nrate_per_1000_node_days = 0.1220703125") == Approx(expected));
  CHECK(rate("blast_radius = 'gpu'\nrate_per_gpu_day = 1.52587890625e-5") == Approx(expected));
  CHECK(rate("blast_radius = 'gpu'\nmtbf_days = 65536") == Approx(expected));
  CHECK(rate("blast_radius = 'node'\nmtbf_days = 8192") == Approx(expected));
  CHECK(rate("blast_radius = 'domain'\nmtbf_days = 2048") == Approx(expected));
  CHECK(rate("blast_radius = 'job'\nmtbf_hours = 96") == Approx(expected));
}

TEST_CASE("a bad failure model is refused with its file and key path", "[sim][failure_model]") {
  using Catch::Matchers::Contains;
  const std::string place = "f.toml: failures.class.0";
  const std::string gpu = "blast_radius = 'gpu'\n";
  CHECK_THAT(message(class_with(gpu + "rate_per_1000_node_days = -1")),
             Contains(place + ".rate_per_1000_node_days: expected a number"));
  CHECK_THAT(message(class_with(gpu + "rate_per_gpu_day = nan")),
             Contains(place + ".rate_per_gpu_day: "));
  CHECK_THAT(message(class_with(gpu)), Contains(place + ": expected exactly one of"));
  CHECK_THAT(message(class_with(gpu + "rate_per_gpu_day = 1\nmtbf_days = 1")),
             Contains(place + ": expected exactly one of"));
  CHECK_THAT(message(class_with(gpu + "mtbf_days = 0")), Contains("expected a longer mtbf"));
  CHECK_THAT(message(class_with(gpu + "rate_per_gpu_day = 1\nshape = 2")), Contains("shape"));
  CHECK_THAT(message(class_with(gpu + "rate_per_gpu_day = 1\narrival_shape = 0")),
             Contains(place + ".arrival_shape: "));
  CHECK_THAT(message(class_with(gpu + "rate_per_gpu_day = 1\ndetection = 'smell'")),
             Contains(place + ".detection: "));
  CHECK_THAT(message(class_with("blast_radius = 'rack'\nrate_per_gpu_day = 1")),
             Contains(place + ".blast_radius: "));
  CHECK_THAT(
      message(class_with(gpu + "rate_per_gpu_day = 1") + class_with(gpu + "rate_per_gpu_day = 1")),
      Contains("failures.class.1: expected a name of its own"));
  CHECK_THAT(message("[failures]\nscale = -1\n"), Contains("f.toml: failures.scale: "));
  CHECK_THAT(message("[failures]\nclass = 3\n"), Contains("f.toml: failures.class: "));
  CHECK_THAT(message("[failures]\nclasses = []\n"), Contains("classes"));
  CHECK_THAT(message("[[failures.class]]\nname = 'n'\nblast_radius = 'node'\nmtbf_days = 9\n"),
             Contains("repair"));
}

TEST_CASE("published rates give the published times between failures",
          "[sim][failure_model][golden]") {
  // shared/reference/fault-tolerance.md section 4. RSC-1: 6.50 per 1000 node-days of 8 GPUs.
  const auto hours = [](double per_1000_node_days, double num_gpus) {
    return mean_time_between_faults(per_1000_node_days / 1000.0, num_gpus / 8.0).count();
  };
  CHECK(hours(6.50, 1024) == Approx(28.8).margin(0.05));
  CHECK(hours(6.50, 16384) == Approx(1.80).margin(0.005));
  CHECK(hours(6.50, 131072) == Approx(0.225).margin(0.0005));
  // Llama-3 405B: 3.788 per 1000 node-days; 3.09 h at 16,384 GPUs, 419 in 54 days.
  CHECK(hours(3.788, 16384) == Approx(3.09).margin(0.005));
  CHECK(54.0 * 24.0 / hours(3.788, 16384) == Approx(419.0).margin(0.5));
  CHECK(std::isinf(hours(0.0, 16384)));
}
