#pragma once

#include "core/reader.hpp"
#include "sim/hardware.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace runflat::sim {

/// How well the fitted parameters give back one kind of measurement.
struct CalibrationFit {
  std::string kind;
  std::size_t num_points = 0;
  double mean_error_before = 0.0;  ///< absolute, relative to the measurement
  double mean_error = 0.0;
  double max_error = 0.0;
};

struct Calibration {
  HardwareParameters hardware;
  std::vector<CalibrationFit> fits;  ///< kinds that were measured
  std::string measured_with;         ///< versions, for the file's first lines

  /// A parameter file, with the fits as comments.
  [[nodiscard]] std::string to_toml() const;
};

/// Fits parameters to microbenchmarks by least squares on relative errors. The document:
///   {"schema": 1, "gpu": "h100", "release": "nemo-25.04", "name": "my-cluster",
///    "measured_with": {"driver": "580.159", ...},
///    "gemm": [{"m", "n", "k", "seconds"}, ...], "gemm_sustained": [...], "gemm_8bit": [...],
///    "stream": [{"bytes", "kernels", "seconds"}, ...],
///    "attention_forward": [{"heads", "head_size", "queries", "keys", "seconds"}, ...],
///    "attention_backward": [...],
///    "all_reduce": [{"ranks", "bytes", "seconds"}, ...], "reduce_scatter": [...],
///    "all_gather": [...]}
/// `gpu` and `release` name the parameters to start from, `name` the release to write; every list
/// may be missing, and what is not measured keeps its value. `gemm_sustained` is products that went
/// on for seconds: the others are scaled to their rate. Kernels' parameters need enough
/// points: a list of fewer than it has parameters moves only the first of them (an efficiency or a
/// bandwidth). The constant part of a timed kernel call is
/// fitted too, and left out of the file: it is the launch of one call, most of which kernels that
/// follow each other hide. ParseError for anything else.
[[nodiscard]] Calibration calibrate(const Reader& measured);
[[nodiscard]] Calibration calibrate(const std::filesystem::path& file);

}  // namespace runflat::sim
