#pragma once

#include "kernels/data_type.hpp"

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace runflat::kernels {

/// What the choice of a GEMM's algorithm depends on.
struct GemmShape {
  std::int64_t m = 0;
  std::int64_t n = 0;
  std::int64_t k = 0;
  bool transpose_a = false;
  bool transpose_b = false;
  bool accumulate = false;  ///< beta is not 0
  DataType type = DataType::fp32;
  DataType c_type = DataType::fp32;
  std::int64_t alignment = 16;  ///< bytes, of all matrices

  friend auto operator<=>(const GemmShape&, const GemmShape&) = default;
};

/// The words of a cublasLtMatmulAlgo_t, which hold for one version of cuBLASLt on one GPU model.
using GemmAlgorithm = std::array<std::uint64_t, 8>;

/// Algorithms by shape, kept in a text file: a line each, with a checksum. Lines that cannot be
/// read are as if they were not there, and so is a file that cannot be read or written: what is
/// lost is the time to tune again.
class GemmAlgorithms {
 public:
  /// Reads the file; an empty path keeps nothing.
  explicit GemmAlgorithms(std::string path);

  [[nodiscard]] std::optional<GemmAlgorithm> find(const GemmShape& shape) const;
  /// Adds to the file, with what others have added since, by way of a temporary file and a rename.
  void insert(const GemmShape& shape, const GemmAlgorithm& algorithm);

 private:
  std::string path_;
  std::map<GemmShape, GemmAlgorithm> algorithms_;
};

}  // namespace runflat::kernels
