// Time of packing and unpacking the units that leave a rank, on shapes of Llama-3 70B at TP8 that
// synchronises at TP7 and TP6. Bytes are those read plus those written; the share is of the copy
// rate that the device reaches on large contiguous buffers.

#include "kernels/cuda_error.hpp"
#include "kernels/reshard_pack.hpp"

#include <benchmark/benchmark.h>
#include <cuda_runtime.h>

#include <cstdio>
#include <string>
#include <utility>

namespace {

using runflat::kernels::BoxCopy;
using runflat::kernels::check_cuda;

constexpr double kCopyRate = 4.24e12;  // bytes/s read + written, measured on an H200

struct Shape {
  std::int64_t element_size;
  BoxCopy box;  // src is the tensor, dst the wire
};

std::int64_t bytes_of(const Shape& shape, std::int64_t first, std::int64_t blocks_apart) {
  const std::int64_t elements = first + shape.box.num_blocks * blocks_apart + shape.box.block_size;
  return (elements * shape.element_size + 255) / 256 * 256;
}

/// Each iteration works on its own part of memory much larger than the L2 cache, and is timed by
/// events around it.
void run(benchmark::State& state, Shape shape, bool unpack) {
  constexpr std::int64_t kRotation = std::int64_t{1} << 30;
  const std::int64_t src_bytes = bytes_of(shape, shape.box.src_first, shape.box.src_stride);
  const std::int64_t dst_bytes = bytes_of(shape, shape.box.dst_first, shape.box.dst_stride);
  const std::int64_t num_parts = 1 + kRotation / (src_bytes + dst_bytes);
  char* tensor = nullptr;
  char* wire = nullptr;
  check_cuda(cudaMalloc(&tensor, static_cast<std::size_t>(src_bytes * num_parts)), "cudaMalloc");
  check_cuda(cudaMalloc(&wire, static_cast<std::size_t>(dst_bytes * num_parts)), "cudaMalloc");
  check_cuda(cudaMemset(tensor, 1, static_cast<std::size_t>(src_bytes * num_parts)), "cudaMemset");
  check_cuda(cudaMemset(wire, 2, static_cast<std::size_t>(dst_bytes * num_parts)), "cudaMemset");
  cudaEvent_t start = nullptr;
  cudaEvent_t stop = nullptr;
  check_cuda(cudaEventCreate(&start), "cudaEventCreate");
  check_cuda(cudaEventCreate(&stop), "cudaEventCreate");
  BoxCopy box = shape.box;
  if (unpack) {
    std::swap(box.src_first, box.dst_first);
    std::swap(box.src_stride, box.dst_stride);
  }
  std::int64_t part = 0;
  for (auto _ : state) {
    char* const in_tensor = tensor + part * src_bytes;
    char* const in_wire = wire + part * dst_bytes;
    check_cuda(cudaEventRecord(start), "cudaEventRecord");
    runflat::kernels::reshard_pack({.src = unpack ? in_wire : in_tensor,
                                    .dst = unpack ? in_tensor : in_wire,
                                    .element_size = shape.element_size,
                                    .boxes = {&box, 1}},
                                   nullptr);
    check_cuda(cudaEventRecord(stop), "cudaEventRecord");
    check_cuda(cudaEventSynchronize(stop), "cudaEventSynchronize");
    float milliseconds = 0.0F;
    check_cuda(cudaEventElapsedTime(&milliseconds, start, stop), "cudaEventElapsedTime");
    state.SetIterationTime(milliseconds * 1e-3);
    part = (part + 1) % num_parts;
  }
  const double bytes =
      2.0 * static_cast<double>(box.num_blocks * box.block_size * shape.element_size);
  const double moved = bytes * static_cast<double>(state.iterations());
  state.counters["MB"] = bytes * 1e-6;
  state.counters["GB/s"] = benchmark::Counter(moved * 1e-9, benchmark::Counter::kIsRate);
  state.counters["of_copy"] = benchmark::Counter(moved / kCopyRate, benchmark::Counter::kIsRate);
  cudaEventDestroy(start);
  cudaEventDestroy(stop);
  cudaFree(tensor);
  cudaFree(wire);
}

/// Rows of a column-parallel weight are one contiguous run.
Shape rows(std::int64_t element_size, std::int64_t num_elements, std::int64_t first) {
  return {element_size, {.src_first = first, .num_blocks = 1, .block_size = num_elements}};
}

/// Columns of a row-parallel weight: a run in each of `num_rows` rows of `row_size` elements.
Shape columns(std::int64_t element_size,
              std::int64_t num_rows,
              std::int64_t row_size,
              std::int64_t first,
              std::int64_t num) {
  return {element_size,
          {.src_first = first,
           .src_stride = row_size,
           .dst_stride = num,
           .num_blocks = num_rows,
           .block_size = num}};
}

void add(const char* name, const Shape& shape) {
  for (const bool unpack : {false, true}) {
    benchmark::RegisterBenchmark(
        (std::string("reshard_") + (unpack ? "unpack/" : "pack/") + name).c_str(),
        [shape, unpack](benchmark::State& state) { run(state, shape, unpack); })
        ->UseManualTime()
        ->Unit(benchmark::kMicrosecond);
  }
}

}  // namespace

int main(int argc, char** argv) {
  int num_devices = 0;
  if (cudaGetDeviceCount(&num_devices) != cudaSuccess || num_devices == 0) {
    std::puts("skipped: no GPU");
    return 77;
  }
  // Llama-3 70B: hidden 8192, ffn 28672, 8 kv groups of 8 heads of 128; TP8 has 3584
  // columns of fc2 and one group; odd runs come of 28672 columns over 7 or 6 ranks.
  add("copy:512MiB/fp32", rows(4, std::int64_t{1} << 27, 0));
  add("fc1_extra_rank/bf16", rows(2, 3584 * 8192, 0));
  add("fc1_extra_rank/fp32", rows(4, 3584 * 8192, 0));
  add("fc1_one_peer/fp32", rows(4, 512 * 8192, 8192));
  add("fc2_extra_rank/bf16", columns(2, 8192, 3584, 0, 3584));
  add("fc2_one_peer_even/bf16", columns(2, 8192, 3584, 512, 512));
  add("fc2_one_peer_odd/bf16", columns(2, 8192, 3584, 597, 597));
  add("fc2_one_peer_even/fp32", columns(4, 8192, 3584, 512, 512));
  add("fc2_one_peer_odd/fp32", columns(4, 8192, 3584, 597, 597));
  add("fc2_half_odd/fp32", columns(4, 8192, 3585, 1, 1793));
  add("proj_kv_group/fp32", columns(4, 8192, 2048, 1024, 1024));
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
