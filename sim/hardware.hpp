#pragma once

#include "core/cluster.hpp"
#include "core/reader.hpp"
#include "core/units.hpp"
#include "sim/collective_cost.hpp"
#include "sim/op_cost.hpp"

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace runflat::sim {

/// Host time that bounds small models: a layer or a microbatch takes at least this long to launch.
struct HostParameters {
  Seconds forward_layer{};   ///< one layer's forward, on the host
  Seconds backward_layer{};  ///< one layer's backward
  Seconds microbatch{};      ///< once per microbatch: batch, loss, logging; never hidden
};

/// Share of a communication that stays visible where the software overlaps it with compute, 0 to 1.
/// 1: this release does not overlap it.
struct OverlapParameters {
  double tensor_forward = 1.0;
  double tensor_backward = 1.0;
  double sequence_gather = 1.0;  ///< backward's gathers of sequence parallelism
  double context = 0.0;          ///< ring attention beyond what hides behind attention
  double expert = 1.0;
  double data = 1.0;    ///< gradients' reduction
  double gather = 1.0;  ///< parameters' gathering after the update, with ZeRO
  double pipeline = 1.0;
  /// By what share of its time a hidden reduction or gather slows the compute beside it: it takes
  /// multiprocessors away.
  double beside = 0.0;
};

/// What of a layer's forward pass is computed again.
struct RecomputeParameters {
  double attention = 0.0;  ///< share of flash attention, under selective recomputation
  double last_product =
      1.0;  ///< share of the MLP's last GEMM, under full: only its output needs it
};

struct OptimizerParameters {
  double gradient_bytes = 4.0;  ///< of one gradient element in the data-parallel reduction
  double update_bytes = 40.0;   ///< HBM traffic per parameter: norm, check, Adam, cast, zeroing
  Seconds constant{};           ///< once per step
};

/// A number that was fitted to measured steps, by its file's name and its dotted key there. All
/// releases that inherit it share it.
struct FittedParameter {
  std::string file;  ///< `a100`
  std::string key;   ///< `gemm.efficiency`

  friend auto operator<=>(const FittedParameter&, const FittedParameter&) = default;
};

/// Everything the cost model knows about a GPU type under one software release. One TOML file per
/// release in `sim/hardware` says where every number comes from.
struct HardwareParameters {
  std::string gpu;      ///< `h100`
  std::string release;  ///< `nemo-24.11`
  ComputeParameters compute;
  Fabric fabric;
  HostParameters host;
  OverlapParameters overlap;
  RecomputeParameters recompute;
  OptimizerParameters optimizer;
  double embedding_bytes = 12.0;      ///< HBM traffic per element of the embedding, both passes
  double cross_entropy_bytes = 20.0;  ///< per logit, both passes
  double cast_bytes = 4.0;            ///< per element of an 8-bit GEMM operand
  double dropout_bytes = 1.0;         ///< mask bytes per element; 0: trained without dropout
  /// Per element of a linear layer's output, where kernels of their own add its bias (not the MLP's
  /// first layer's, which the activation adds) or sum its gradient.
  double bias_add_bytes = 0.0;
  double bias_gradient_bytes = 0.0;
  /// Per element of the hidden states that a rank holds under sequence parallelism, of a layer,
  /// both passes: copies into gathered tensors, sums of scattered ones.
  double sequence_copy_bytes = 0.0;
  /// Relative spread of a node's step time: a step waits for the slowest of n nodes, which a normal
  /// distribution puts at about straggler_spread sqrt(2 ln n).
  double straggler_spread = 0.0;
  std::vector<FittedParameter> fitted;  ///< which of these numbers were fitted to measured steps
};

/// A file of `sim/hardware`.
struct HardwareName {
  std::string gpu;
  std::string release;

  [[nodiscard]] std::string str() const { return gpu + "_" + release; }
  friend auto operator<=>(const HardwareName&, const HardwareName&) = default;
};

/// Where the shipped parameter files are.
[[nodiscard]] std::filesystem::path hardware_directory();

/// All (GPU, release) pairs with a file, sorted.
[[nodiscard]] std::vector<HardwareName> known_hardware();

/// Parameters of `gpu` (in any case) under `release`, or under the GPU's default release when that
/// is empty. ParseError with the known ones when there is no such file.
[[nodiscard]] HardwareParameters load_hardware(std::string_view gpu, std::string_view release = "");

/// The same for a cluster's GPUs, in domains of the cluster's size.
[[nodiscard]] HardwareParameters load_hardware(const ClusterSpec& cluster,
                                               std::string_view release = "");

/// Reads a parameter file. Its `inherits` names another file of the same folder, whose tables it
/// changes key by key; `fitted` lists the dotted keys of those of its own numbers that were fitted
/// to measured steps. Every key must be known.
[[nodiscard]] HardwareParameters read_hardware(const std::filesystem::path& file);
[[nodiscard]] HardwareParameters read_hardware(const Reader& in);

/// A number of a parameter file by its dotted key, in the unit of the file, and between which
/// values it may lie; nothing for an unknown key, which `set_number` refuses with InvalidArgument.
struct HardwareNumber {
  double value = 0.0;
  double least = 0.0;
  double most = 0.0;
};
[[nodiscard]] std::optional<HardwareNumber> number_of(const HardwareParameters& hardware,
                                                      std::string_view key);
void set_number(HardwareParameters& hardware, std::string_view key, double value);

/// The parameters as a file that `read_hardware` reads back.
[[nodiscard]] std::string to_toml(const HardwareParameters& hardware);

}  // namespace runflat::sim
