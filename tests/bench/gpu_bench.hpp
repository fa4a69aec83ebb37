#pragma once

#include "kernels/cuda_error.hpp"
#include "kernels/data_type.hpp"

#include <benchmark/benchmark.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace runflat::bench {

enum class Fill : std::uint8_t { normal, zero, ids, identity };

/// Memory that a kernel works on: standard normals, zeros, int32 numbers below `limit`, or 0, 1,
/// ...
struct Tensor {
  std::int64_t num = 0;
  kernels::DataType type = kernels::DataType::bf16;
  Fill fill = Fill::normal;
  std::int64_t limit = 0;

  [[nodiscard]] std::int64_t bytes() const { return num * kernels::size_of(type); }
};

using Pointers = std::vector<std::byte*>;

/// One call of a kernel, on device memory or, by its reference, on host memory.
struct Work {
  std::vector<Tensor> tensors;
  std::vector<std::size_t> written;  ///< tensors whose elements count as wrong where they differ
  double bytes = 0.0;                ///< read and written
  double flops = 0.0;
  std::function<void(const Pointers&, kernels::Stream)> run;
  std::function<void(const Pointers&)> reference;
};

/// Copies of all tensors of a Work in device memory, together larger than the L2 cache, so that
/// going through them in turn finds nothing in it.
class Rotation {
 public:
  explicit Rotation(const std::vector<Tensor>& tensors);
  Rotation(const Rotation&) = delete;
  Rotation& operator=(const Rotation&) = delete;
  ~Rotation();

  [[nodiscard]] std::int64_t num_parts() const { return static_cast<std::int64_t>(parts_.size()); }
  [[nodiscard]] const Pointers& part(std::int64_t index) const {
    return parts_.at(static_cast<std::size_t>(index));
  }

 private:
  std::byte* memory_ = nullptr;
  std::vector<Pointers> parts_;
};

/// Bytes per second, read and written, of large copies by the device: measured once per process.
[[nodiscard]] double copy_rate();

/// Iterations of every benchmark. Their number is fixed because Google Benchmark would repeat all
/// preparations to find it, and because an iteration takes as long as num_calls times it counts.
inline constexpr std::int64_t kNumIterations = 20;

/// Time of one call: an iteration is num_calls calls in a row between two events.
void time_calls(benchmark::State& state,
                std::int64_t num_calls,
                const std::function<void(std::int64_t call)>& run);

/// A benchmark of a memory-bound kernel: GB/s, share of the copy rate, and #wrong of `small` (the
/// same kernel on few rows) against its reference.
void register_memory_bound(const std::string& name, const Work& work, const Work& small);

/// Rows of the small work that register_rows() checks.
inline constexpr std::int64_t kSmallRows = 37;

/// make(rows) at its size and, for #wrong, with few rows.
template <typename F>
void register_rows(const std::string& name, std::int64_t rows, F make) {
  register_memory_bound(name, make(rows), make(kSmallRows));
}

[[nodiscard]] inline double bytes_of(std::int64_t elements, double bytes_each) {
  return static_cast<double>(elements) * bytes_each;
}

/// Adds GB/s and of_copy to a benchmark that moved so many bytes per call.
void report_bytes(benchmark::State& state, double bytes);

}  // namespace runflat::bench
