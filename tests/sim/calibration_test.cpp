#include "sim/calibration.hpp"

#include "core/document.hpp"
#include "core/error.hpp"
#include "tests/catch.hpp"

#include <string>

namespace runflat::sim {
namespace {

Value entry(std::initializer_list<std::pair<const char*, double>> fields) {
  Value value;
  for (const auto& [name, field] : fields) {
    value.set(name, field);
  }
  return value;
}

/// Microbenchmarks as a machine with these parameters would measure them.
Value measured_on(const HardwareParameters& truth,
                  const std::vector<double>& head_sizes = {64.0, 128.0}) {
  Value::Array gemms;
  for (const double m : {512.0, 4096.0, 8192.0, 32768.0}) {
    for (const double n : {1024.0, 8192.0}) {
      for (const double k : {512.0, 2048.0, 8192.0}) {
        const Seconds time = gemm(truth.compute, {m, n, k}, false);
        gemms.push_back(entry({{"m", m}, {"n", n}, {"k", k}, {"seconds", time.count()}}));
      }
    }
  }
  Value::Array streams;
  Value::Array reductions;
  Value::Array scatters;
  for (double bytes = 1e6; bytes < 2e10; bytes *= 10.0) {
    Value stream_entry =
        entry({{"bytes", bytes}, {"seconds", stream(truth.compute, Bytes{bytes}, 2).count()}});
    stream_entry.set("kernels", 2);
    streams.push_back(stream_entry);
    for (const std::int64_t ranks : {2, 4, 8}) {
      const GroupShape group = strided_group(truth.fabric, ranks, 1);
      Value reduction = entry(
          {{"bytes", bytes}, {"seconds", all_reduce(truth.fabric, group, Bytes{bytes}).count()}});
      reduction.set("ranks", ranks);
      reductions.push_back(reduction);
      Value scatter =
          entry({{"bytes", bytes},
                 {"seconds", reduce_scatter(truth.fabric, group, Bytes{bytes}).count()}});
      scatter.set("ranks", ranks);
      scatters.push_back(scatter);
    }
  }
  Value::Array attentions;
  for (const double length : {1024.0, 4096.0, 16384.0}) {
    for (const double size : head_sizes) {
      const Seconds time = attention_forward(truth.compute, {8.0, size, length, length});
      attentions.push_back(entry({{"heads", 8.0},
                                  {"head_size", size},
                                  {"queries", length},
                                  {"keys", length},
                                  {"seconds", time.count()}}));
    }
  }
  Value document;
  document.set("schema", 1);
  document.set("gpu", "h100");
  document.set("name", "measured");
  document.set("gemm", Value(std::move(gemms)));
  document.set("stream", Value(std::move(streams)));
  document.set("attention_forward", Value(std::move(attentions)));
  document.set("all_reduce", Value(std::move(reductions)));
  document.set("reduce_scatter", Value(scatters));
  document.set("all_gather", Value(std::move(scatters)));
  return document;
}

HardwareParameters other_machine() {
  HardwareParameters truth = load_hardware("h100");
  truth.compute.gemm.efficiency = 0.81;
  truth.compute.gemm.half_depth = 333.0;
  truth.compute.gemm.tail_waves = 0.5;
  truth.compute.streaming.efficiency = 0.77;
  truth.compute.streaming.launch = Seconds(5e-6);
  truth.compute.attention.forward_efficiency = 0.4;
  truth.compute.attention.forward_half_length = 1234.0;
  truth.compute.attention.forward_half_size = 40.0;
  truth.fabric.domain.latency = Seconds(12e-6);
  truth.fabric.domain.per_rank = Seconds(2e-6);
  truth.fabric.domain.ramp = Seconds(9e-6);
  truth.fabric.domain.bandwidth = 346_GBps;
  truth.fabric.domain.half_latency = Seconds(33e-6);
  truth.fabric.domain.half_bandwidth = 288_GBps;
  return truth;
}

TEST_CASE("calibration finds the parameters that made the measurements", "[sim][calibration]") {
  const HardwareParameters truth = other_machine();
  const Value document = measured_on(truth);
  const Calibration found = calibrate(Reader(document, "m.json"));
  const ComputeParameters& compute = found.hardware.compute;
  CHECK(compute.streaming.efficiency == Approx(0.77));
  CHECK(compute.streaming.launch == load_hardware("h100").compute.streaming.launch);
  CHECK(compute.attention.forward_efficiency == Approx(0.4));
  CHECK(compute.attention.forward_half_length == Approx(1234.0));
  CHECK(compute.attention.forward_half_size == Approx(40.0));
  CHECK(compute.gemm.efficiency == Approx(0.81).epsilon(0.02));
  CHECK(compute.gemm.half_depth == Approx(333.0).epsilon(0.1));
  CHECK(found.hardware.fabric.domain.bandwidth.value == Approx(346e9).epsilon(1e-6));
  CHECK(found.hardware.fabric.domain.latency.count() == Approx(12e-6).epsilon(1e-6));
  CHECK(found.hardware.fabric.domain.per_rank.count() == Approx(2e-6).epsilon(1e-6));
  CHECK(found.hardware.fabric.domain.half_latency.count() == Approx(33e-6).epsilon(1e-6));
  CHECK(found.hardware.fabric.domain.half_bandwidth.value == Approx(288e9).epsilon(1e-6));
  for (const CalibrationFit& fit : found.fits) {
    CAPTURE(fit.kind);
    CHECK(fit.mean_error < 0.03);
    CHECK(fit.mean_error < fit.mean_error_before);
  }
}

TEST_CASE("products that went on for long set the rate of all", "[sim][calibration]") {
  const HardwareParameters truth = other_machine();
  Value document = measured_on(truth);
  const double quick = calibrate(Reader(document, "m.json")).hardware.compute.gemm.efficiency;
  const Seconds time = gemm(truth.compute, {8192.0, 8192.0, 8192.0}, false);
  document.set(
      "gemm_sustained",
      Value::Array{
          entry({{"m", 8192.0}, {"n", 8192.0}, {"k", 8192.0}, {"seconds", 1.25 * time.count()}})});
  const Calibration found = calibrate(Reader(document, "m.json"));
  CHECK(found.hardware.compute.gemm.efficiency == Approx(quick / 1.25).epsilon(0.02));
  CHECK(gemm(found.hardware.compute, {8192.0, 8192.0, 8192.0}, false).count() ==
        Approx(1.25 * time.count()).epsilon(0.005));
}

TEST_CASE("heads of one size leave the cost of exponentials as it is", "[sim][calibration]") {
  HardwareParameters truth = other_machine();
  truth.compute.attention.forward_half_size = 0.0;  // as the parameters that it starts from
  const Calibration found = calibrate(Reader(measured_on(truth, {128.0}), "m.json"));
  CHECK(found.hardware.compute.attention.forward_efficiency == Approx(0.4));
  CHECK(found.hardware.compute.attention.forward_half_length == Approx(1234.0));
  CHECK(found.hardware.compute.attention.forward_half_size == 0.0);
}

TEST_CASE("a calibrated file reads back and carries its name", "[sim][calibration]") {
  const Value document = measured_on(other_machine());
  const std::string text = calibrate(Reader(document, "m.json")).to_toml();
  const Value again = parse_toml(text, "params.toml");
  const HardwareParameters hardware = read_hardware(Reader(again, "params.toml"));
  CHECK(hardware.gpu == "h100");
  CHECK(hardware.release == "measured");
  CHECK(hardware.compute.streaming.efficiency == Approx(0.77));
}

TEST_CASE("measurements that say nothing, or something unknown, are refused",
          "[sim][calibration]") {
  const auto fault_of = [](const std::string& text) -> std::string {
    const Value document = parse_json(text, "m.json");
    try {
      (void)calibrate(Reader(document, "m.json"));
    } catch (const ParseError& error) {
      return error.what();
    }
    return "no error";
  };
  const std::string head = R"({"schema": 1, "gpu": "h100", "name": "x")";
  CHECK(fault_of(head + "}").find("nothing was measured") != std::string::npos);
  CHECK(fault_of(head + R"(, "gem": []})").find("gem") != std::string::npos);
  CHECK(fault_of(head + R"(, "stream": [{"bytes": 1, "kernels": 1, "seconds": 0}]})")
            .find("stream") != std::string::npos);
  CHECK(fault_of(head + R"(, "all_reduce": [{"ranks": 9, "bytes": 1, "seconds": 1}]})")
            .find("ranks") != std::string::npos);
  CHECK(fault_of(R"({"schema": 2})").find("schema") != std::string::npos);
}

}  // namespace
}  // namespace runflat::sim
