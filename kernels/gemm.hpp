#pragma once

#include "kernels/data_type.hpp"

#include <cstdint>
#include <memory>
#include <string>

namespace runflat::kernels {

/// c = op(a) op(b) + beta c, row-major and without gaps: op(a) is [m, k], op(b) is [k, n], c is
/// [m, n]; a transposed a is stored [k, m], a transposed b [n, k]. Sums in the accumulate type.
struct GemmArgs {
  const void* a = nullptr;
  const void* b = nullptr;
  void* c = nullptr;
  std::int64_t m = 0;
  std::int64_t n = 0;
  std::int64_t k = 0;
  bool transpose_a = false;
  bool transpose_b = false;
  double beta = 0.0;
  DataType type = DataType::fp32;    ///< of a and b
  DataType c_type = DataType::fp32;  ///< `type`, or its accumulate type: main gradients
};

/// cuBLASLt with algorithms that were timed once per shape and kept in a file per GPU and library
/// version.
class Gemm {
 public:
  /// `cache` is the folder of tuned algorithms; empty: cuBLASLt's first choice, nothing is tuned.
  explicit Gemm(const std::string& cache = "");
  Gemm(const Gemm&) = delete;
  Gemm& operator=(const Gemm&) = delete;
  ~Gemm();

  /// Bytes of workspace for any shape. The first run() of a shape that is not in the file tunes it:
  /// it waits for the stream and holds memory for another c meanwhile.
  [[nodiscard]] static std::int64_t workspace();
  void run(const GemmArgs& args, void* workspace, Stream stream);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

void gemm_reference(const GemmArgs& args);

}  // namespace runflat::kernels
