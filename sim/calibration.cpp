#include "sim/calibration.hpp"

#include "core/document.hpp"

#include <Eigen/Dense>

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <functional>
#include <optional>
#include <utility>

namespace runflat::sim {
namespace {

constexpr double kTile = 128.0 * 128.0;
constexpr double kMebibyte = 1048576.0;

/// One microbenchmark: its seconds, what each coefficient is multiplied by, and its prediction.
struct Point {
  std::vector<double> terms;
  double seconds = 0.0;
  std::function<Seconds(const HardwareParameters&)> predict;
};

/// Least squares of sum(terms x) = seconds, each point divided by its seconds, with x >= 0: a
/// coefficient that comes out negative is left out and the others are fitted again.
std::vector<double> fit(const std::vector<Point>& points, std::size_t num_coefficients) {
  std::vector<std::size_t> used;
  for (std::size_t c = 0; c < num_coefficients; ++c) {
    used.push_back(c);
  }
  std::vector<double> result(num_coefficients, 0.0);
  while (!used.empty()) {
    const auto rows = static_cast<Eigen::Index>(points.size());
    Eigen::MatrixXd matrix(rows, static_cast<Eigen::Index>(used.size()));
    for (std::size_t r = 0; r < points.size(); ++r) {
      for (std::size_t c = 0; c < used.size(); ++c) {
        matrix(static_cast<Eigen::Index>(r), static_cast<Eigen::Index>(c)) =
            points[r].terms[used[c]] / points[r].seconds;
      }
    }
    const Eigen::VectorXd x = matrix.colPivHouseholderQr().solve(Eigen::VectorXd::Ones(rows));
    Eigen::Index worst = 0;
    if (x.minCoeff(&worst) >= 0.0 || used.size() == 1) {
      for (std::size_t c = 0; c < used.size(); ++c) {
        result[used[c]] = std::max(0.0, x(static_cast<Eigen::Index>(c)));
      }
      break;
    }
    used.erase(used.begin() + worst);
  }
  return result;
}

/// Scale of the present predictions that fits best, where there are too few points for more.
double fit_scale(const std::vector<Point>& points, const HardwareParameters& on) {
  double xy = 0.0;
  double xx = 0.0;
  for (const Point& point : points) {
    const double x = point.predict(on).count() / point.seconds;
    xy += x;
    xx += x * x;
  }
  return xy / xx;
}

double clamp_share(double value) {
  return std::clamp(value, 0.01, 1.0);
}

/// `call` is the constant part of a timed call, where it was fitted: it stands in for the launch
/// gap in this fit's errors and goes no further.
void add_fit(const std::string& kind,
             const std::vector<Point>& points,
             const HardwareParameters& before,
             std::optional<double> call,
             Calibration& result) {
  CalibrationFit fit{kind, points.size(), 0.0, 0.0, 0.0};
  HardwareParameters timed = result.hardware;
  if (call) {
    timed.compute.streaming.launch = Seconds(*call);
  }
  for (const Point& point : points) {
    const double share = 1.0 / static_cast<double>(points.size());
    const double old = std::abs(point.predict(before).count() / point.seconds - 1.0);
    const double now = std::abs(point.predict(timed).count() / point.seconds - 1.0);
    fit.mean_error_before += share * old;
    fit.mean_error += share * now;
    fit.max_error = std::max(fit.max_error, now);
  }
  result.fits.push_back(fit);
}

/// The points of one list of the document, made by `read` from each entry.
std::vector<Point> read_points(ObjectReader& in,
                               std::string_view kind,
                               const std::function<Point(ObjectReader&)>& read) {
  std::vector<Point> points;
  if (const std::optional<Reader> list = in.find(kind)) {
    for (const Reader& item : list->items()) {
      ObjectReader entry = item.object();
      Point point = read(entry);
      point.seconds = entry.at("seconds").positive_number();
      entry.finish();
      points.push_back(std::move(point));
    }
  }
  return points;
}

Point gemm_point(ObjectReader& entry, bool is_8bit) {
  const GemmShape shape{entry.at("m").positive_number(),
                        entry.at("n").positive_number(),
                        entry.at("k").positive_number()};
  return Point{{shape.m * shape.n * shape.k, shape.m * shape.n, shape.k, 1.0},
               0.0,
               [shape, is_8bit](const HardwareParameters& with) {
                 return gemm(with.compute, shape, is_8bit);
               }};
}

/// t = (2 / rate)(m n + tail)(k + half) + launch, linear in the products' coefficients.
void calibrate_gemm(ObjectReader& in, bool is_8bit, Calibration& result) {
  const char* kind = is_8bit ? "gemm_8bit" : "gemm";
  HardwareParameters& on = result.hardware;
  const std::vector<Point> points =
      read_points(in, kind, [is_8bit](ObjectReader& entry) { return gemm_point(entry, is_8bit); });
  if (points.empty()) {
    return;
  }
  const HardwareParameters before = on;
  const GpuParameters& gpu = on.compute.gpu;
  GemmParameters& gemm = on.compute.gemm;
  double& efficiency = is_8bit ? gemm.efficiency_8bit : gemm.efficiency;
  std::optional<double> call;
  if (points.size() < 4 || is_8bit) {
    efficiency = clamp_share(efficiency / fit_scale(points, on));
  } else {
    const std::vector<double> x = fit(points, 4);
    if (x[0] > 0.0) {
      gemm.efficiency = clamp_share(2.0 / (x[0] * gpu.peak_16bit.value));
      gemm.half_depth = x[1] / x[0];
      gemm.tail_waves = std::min(100.0, x[2] / x[0] / (gpu.num_sms * kTile));
      call = std::max(0.0, x[3] - x[2] * gemm.half_depth);
    }
  }
  add_fit(kind, points, before, call, result);
}

/// Short benchmarks end before the GPU has come to its power limit, at which it trains: products
/// that went on for seconds say by how much all are slower there.
void calibrate_sustained_gemm(ObjectReader& in, Calibration& result) {
  HardwareParameters& on = result.hardware;
  const std::vector<Point> points = read_points(
      in, "gemm_sustained", [](ObjectReader& entry) { return gemm_point(entry, false); });
  if (points.empty()) {
    return;
  }
  const HardwareParameters before = on;
  GemmParameters& gemm = on.compute.gemm;
  gemm.efficiency = clamp_share(gemm.efficiency / fit_scale(points, on));
  add_fit("gemm_sustained", points, before, {}, result);
}

void calibrate_stream(ObjectReader& in, Calibration& result) {
  HardwareParameters& on = result.hardware;
  const std::vector<Point> points = read_points(in, "stream", [](ObjectReader& entry) {
    const Bytes bytes{entry.at("bytes").positive_number()};
    const auto kernels = static_cast<int>(entry.at("kernels").integer(1, 1000));
    return Point{{bytes.value, static_cast<double>(kernels)},
                 0.0,
                 [bytes, kernels](const HardwareParameters& with) {
                   return stream(with.compute, bytes, kernels);
                 }};
  });
  if (points.empty()) {
    return;
  }
  const HardwareParameters before = on;
  StreamingParameters& streaming = on.compute.streaming;
  std::optional<double> call;
  if (points.size() < 2) {
    streaming.efficiency = clamp_share(streaming.efficiency / fit_scale(points, on));
  } else {
    const std::vector<double> x = fit(points, 2);
    streaming.efficiency = clamp_share(1.0 / (x[0] * on.compute.gpu.hbm_bandwidth.value));
    call = x[1];
  }
  add_fit("stream", points, before, call, result);
}

void calibrate_attention(ObjectReader& in, bool is_forward, Calibration& result) {
  const char* kind = is_forward ? "attention_forward" : "attention_backward";
  HardwareParameters& on = result.hardware;
  const std::vector<Point> points = read_points(in, kind, [is_forward](ObjectReader& entry) {
    const AttentionShape shape{entry.at("heads").positive_number(),
                               entry.at("head_size").positive_number(),
                               entry.at("queries").positive_number(),
                               entry.at("keys").positive_number()};
    const double work = shape.num_heads * shape.num_queries * shape.num_keys * shape.head_size;
    return Point{{work, work / shape.num_queries, 1.0, work / shape.head_size},
                 0.0,
                 [shape, is_forward](const HardwareParameters& with) {
                   return is_forward ? attention_forward(with.compute, shape)
                                     : attention_backward(with.compute, shape);
                 }};
  });
  if (points.empty()) {
    return;
  }
  const HardwareParameters before = on;
  AttentionParameters& attention = on.compute.attention;
  if (attention.kernel == AttentionKernel::unfused) {
    const double score = attention.score_efficiency / fit_scale(points, on);
    attention.score_efficiency = std::clamp(score, 0.01, 1.5);
    add_fit(kind, points, before, {}, result);
    return;
  }
  double& efficiency = is_forward ? attention.forward_efficiency : attention.backward_efficiency;
  double& half_length = is_forward ? attention.forward_half_length : attention.backward_half_length;
  double& half_size = is_forward ? attention.forward_half_size : attention.backward_half_size;
  std::optional<double> call;
  if (points.size() < 3) {
    efficiency = clamp_share(efficiency / fit_scale(points, on));
  } else {
    // t = products x heads x queries x keys x size (1 + half_length / queries + half_size / size) /
    // rate + call: two products forward, five backward, half of each masked, two FLOPs a
    // multiply-add. Heads of one size leave nothing to tell half_size by: it stays.
    const double size = points[0].terms[0] / points[0].terms[3];
    const bool one_size = std::all_of(points.begin(), points.end(), [size](const Point& point) {
      return std::abs(point.terms[0] / point.terms[3] - size) < 0.5;
    });
    const std::vector<double> x = fit(points, one_size ? 3 : 4);
    if (x[0] > 0.0) {
      const double products = is_forward ? 2.0 : 5.0;
      const double share = one_size ? 1.0 / (1.0 + half_size / size) : 1.0;  // of x[0] that is work
      efficiency = clamp_share(products / (x[0] * share * on.compute.gpu.peak_16bit.value));
      half_length = x[1] / (x[0] * share);
      half_size = one_size ? half_size : x[3] / x[0];
      call = x[2];
    }
  }
  add_fit(kind, points, before, call, result);
}

void calibrate_all_reduce(ObjectReader& in, Calibration& result) {
  HardwareParameters& on = result.hardware;
  const Fabric fabric = on.fabric;
  const std::vector<Point> points = read_points(in, "all_reduce", [&](ObjectReader& entry) {
    const Reader place = entry.at("ranks");
    const std::int64_t ranks = place.integer(2, fabric.domain_size);
    const double bytes = entry.at("bytes").positive_number();
    const auto n = static_cast<double>(ranks);
    const double bus = 2.0 * (n - 1.0) / n * bytes;
    return Point{{bus, std::cbrt(bus / kMebibyte), 1.0, n - 1.0},
                 0.0,
                 [ranks, bytes](const HardwareParameters& with) {
                   return all_reduce(
                       with.fabric, strided_group(with.fabric, ranks, 1), Bytes{bytes});
                 }};
  });
  if (points.empty()) {
    return;
  }
  const HardwareParameters before = on;
  CollectiveCurve& curve = on.fabric.domain;
  const bool one_size = std::all_of(points.begin(), points.end(), [&](const Point& point) {
    return point.terms[3] == points[0].terms[3];
  });
  const std::size_t num = one_size ? 3 : 4;  // latency per rank needs more than one group size
  if (points.size() < num) {
    curve.bandwidth.value /= fit_scale(points, on);
  } else {
    const std::vector<double> x = fit(points, num);
    if (x[0] > 0.0) {
      curve.bandwidth = {1.0 / x[0]};
    }
    curve.ramp = Seconds(x[1]);
    curve.latency = Seconds(x[2]);
    curve.per_rank = Seconds(one_size ? 0.0 : x[3]);
    curve.mesh_bandwidth = {};
  }
  add_fit("all_reduce", points, before, {}, result);
}

/// t = half_latency + bus / half_bandwidth, of reduce-scatters and all-gathers alike.
void calibrate_halves(ObjectReader& in, Calibration& result) {
  HardwareParameters& on = result.hardware;
  const Fabric fabric = on.fabric;
  const auto read = [&](ObjectReader& entry) {
    const std::int64_t ranks = entry.at("ranks").integer(2, fabric.domain_size);
    const double bytes = entry.at("bytes").positive_number();
    const auto n = static_cast<double>(ranks);
    return Point{{(n - 1.0) / n * bytes, 1.0}, 0.0, [ranks, bytes](const HardwareParameters& with) {
                   return reduce_scatter(
                       with.fabric, strided_group(with.fabric, ranks, 1), Bytes{bytes});
                 }};
  };
  std::vector<Point> points = read_points(in, "reduce_scatter", read);
  for (Point& point : read_points(in, "all_gather", read)) {
    points.push_back(std::move(point));
  }
  if (points.size() < 2) {
    return;
  }
  const HardwareParameters before = on;
  const std::vector<double> x = fit(points, 2);
  if (x[0] > 0.0) {
    on.fabric.domain.half_bandwidth = {1.0 / x[0]};
    on.fabric.domain.half_latency = Seconds(x[1]);
  }
  add_fit("reduce_scatter, all_gather", points, before, {}, result);
}

}  // namespace

std::string Calibration::to_toml() const {
  std::string text = fmt::format("# Fitted by `runflat calibrate`.\n");
  if (!measured_with.empty()) {
    text += fmt::format("# Measured with {}.\n", measured_with);
  }
  for (const CalibrationFit& fit : fits) {
    text += fmt::format("# {}: {} points, mean error {:.1f} % (was {:.1f} %), largest {:.1f} %\n",
                        fit.kind,
                        fit.num_points,
                        100.0 * fit.mean_error,
                        100.0 * fit.mean_error_before,
                        100.0 * fit.max_error);
  }
  return text + sim::to_toml(hardware);
}

Calibration calibrate(const Reader& measured) {
  ObjectReader in = measured.object();
  (void)in.at("schema").integer(1, 1);
  Calibration result;
  const std::string gpu = in.at("gpu").text();
  const std::string release = read_or(in, "release", std::string(), &Reader::text);
  result.hardware = load_hardware(gpu, release);
  result.hardware.release = in.at("name").text();
  if (const std::optional<Reader> versions = in.find("measured_with")) {
    for (const std::string& key : versions->keys()) {
      const std::string version = versions->object().at(key).text();
      result.measured_with +=
          fmt::format("{}{} {}", result.measured_with.empty() ? "" : ", ", key, version);
    }
  }
  calibrate_stream(in, result);
  calibrate_gemm(in, /*is_8bit=*/false, result);
  calibrate_sustained_gemm(in, result);
  calibrate_gemm(in, /*is_8bit=*/true, result);
  calibrate_attention(in, /*is_forward=*/true, result);
  calibrate_attention(in, /*is_forward=*/false, result);
  calibrate_all_reduce(in, result);
  calibrate_halves(in, result);
  in.finish();
  if (result.fits.empty()) {
    measured.reject(
        "nothing was measured: expected a list of gemm, gemm_sustained, gemm_8bit, stream, "
        "attention_forward, attention_backward, all_reduce, reduce_scatter or all_gather");
  }
  return result;
}

Calibration calibrate(const std::filesystem::path& file) {
  const Value document = parse_json(read_text_file(file), file.string());
  return calibrate(Reader(document, file.string()));
}

}  // namespace runflat::sim
