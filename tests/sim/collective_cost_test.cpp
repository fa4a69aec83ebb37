#include "sim/collective_cost.hpp"

#include "sim/hardware.hpp"
#include "tests/catch.hpp"
#include "tests/sim/golden_table.hpp"

#include <algorithm>
#include <cmath>
#include <string>

namespace runflat::sim {
namespace {

struct Fit {
  double mean = 0.0;
  double max = 0.0;
  int rows = 0;
};

Fit fit_of(const std::string& gpu) {
  const Fabric fabric = load_hardware(gpu).fabric;
  Fit fit;
  for (const auto& row : read_golden("nccl_all_reduce.txt")) {
    if (row[0] != gpu) {
      continue;
    }
    const GroupShape group = strided_group(fabric, std::stoll(row[1]), 1);
    const Seconds predicted = all_reduce(fabric, group, Bytes{std::stod(row[2])});
    const double error = std::abs(predicted.count() * 1e6 / std::stod(row[3]) - 1.0);
    fit.mean += error;
    fit.max = std::max(fit.max, error);
    ++fit.rows;
  }
  fit.mean /= fit.rows;
  return fit;
}

TEST_CASE("the all-reduce curve holds NCCL's table on 8 H100 from 1 MiB to 16 GiB",
          "[sim][collective][golden]") {
  const Fit fit = fit_of("h100");
  REQUIRE(fit.rows == 15);
  CHECK(fit.mean <= 0.03);
  CHECK(fit.max <= 0.07);
}

TEST_CASE("one curve holds NCCL's tables for 2 to 8 A100 behind NVSwitch, another the V100 mesh",
          "[sim][collective][golden]") {
  const Fit a100 = fit_of("a100");
  REQUIRE(a100.rows == 42);
  CHECK(a100.mean <= 0.07);
  const Fit v100 = fit_of("v100");
  REQUIRE(v100.rows == 42);
  CHECK(v100.mean <= 0.07);
}

TEST_CASE("a hybrid mesh makes 6 ranks pay what a switch does not", "[sim][collective]") {
  const auto ratio = [](const char* gpu) {
    const Fabric fabric = load_hardware(gpu).fabric;
    const Bytes size{1024.0 * 1024.0 * 1024.0};
    return all_reduce(fabric, strided_group(fabric, 6, 1), size) /
           all_reduce(fabric, strided_group(fabric, 8, 1), size);
  };
  // Measured bus bandwidth of 6 and 8 ranks at 1 GiB: 227 and 229, 46 and 135 GB/s.
  CHECK(ratio("a100") == Approx(2.0 * 5 / 6 / 227 / (2.0 * 7 / 8 / 229)).epsilon(0.03));
  CHECK(ratio("v100") == Approx(2.0 * 5 / 6 / 45.7 / (2.0 * 7 / 8 / 134.5)).epsilon(0.03));
}

TEST_CASE("collectives take longer with more bytes, and nothing on one rank", "[sim][collective]") {
  for (const HardwareName& name : known_hardware()) {
    const Fabric fabric = load_hardware(name.gpu, name.release).fabric;
    for (const std::int64_t ranks : {1, 2, 6, 8, 64, 1000}) {
      for (const std::int64_t stride : {1, 2, 8}) {
        const GroupShape group = strided_group(fabric, ranks, stride);
        CAPTURE(name.str(), ranks, stride);
        if (ranks == 1) {
          CHECK(all_reduce(fabric, group, 1_GiB) == Seconds{});
          CHECK(all_to_all(fabric, group, 1_GiB) == Seconds{});
          continue;
        }
        Seconds previous{};
        for (double size = 1.0; size < 1e12; size *= 7.0) {
          const Seconds now = all_reduce(fabric, group, Bytes{size});
          CHECK(now > previous);
          if (fabric.domain.half_bandwidth.value == 0.0 || !group.is_in_one_domain()) {
            CHECK(2.0 * reduce_scatter(fabric, group, Bytes{size}) == now);
          }
          previous = now;
        }
      }
    }
  }
}

TEST_CASE("a reduce-scatter that was measured has a curve of its own", "[sim][collective]") {
  Fabric fabric = load_hardware("h100").fabric;
  fabric.domain.half_latency = Seconds(40e-6);
  fabric.domain.half_bandwidth = 250_GBps;
  // Every rank sends three quarters of 4 GB: 12 ms at 250 GB/s.
  const Seconds time = reduce_scatter(fabric, strided_group(fabric, 4, 1), Bytes{4e9});
  CHECK(time.count() == Approx(40e-6 + 12e-3));
  const GroupShape wide = strided_group(fabric, 64, 1);
  CHECK(2.0 * reduce_scatter(fabric, wide, Bytes{4e9}) == all_reduce(fabric, wide, Bytes{4e9}));
}

TEST_CASE("a group outside one domain uses the NICs of all its ranks there", "[sim][collective]") {
  const Fabric fabric = load_hardware("h100").fabric;
  const double whole = ring_bandwidth(fabric, strided_group(fabric, 64, 1)).value;
  const double one = ring_bandwidth(fabric, strided_group(fabric, 64, 8)).value;
  CHECK(whole / one == Approx(8.0));
  CHECK(strided_group(fabric, 4, 2).is_in_one_domain());
  CHECK_FALSE(strided_group(fabric, 8, 2).is_in_one_domain());
}

}  // namespace
}  // namespace runflat::sim
