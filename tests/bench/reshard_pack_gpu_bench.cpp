// Time of packing and unpacking the units that leave a rank, on shapes of Llama-3 70B at TP8 that
// synchronises at TP7 and TP6. Bytes are those read plus those written; the share is of the copy
// rate that the device reaches on large contiguous buffers.

#include "kernels/reshard_pack.hpp"
#include "tests/bench/gpu_bench.hpp"

#include <string>
#include <utility>

namespace runflat::bench {
namespace {

using kernels::BoxCopy;

struct Shape {
  std::int64_t element_size;
  BoxCopy box;  // src is the tensor, dst the wire
};

Tensor side(const Shape& shape, std::int64_t first, std::int64_t blocks_apart) {
  const std::int64_t elements = first + shape.box.num_blocks * blocks_apart + shape.box.block_size;
  return {.num = elements * shape.element_size / 2};
}

void run(benchmark::State& state, const Shape& shape, bool unpack) {
  const Rotation rotation({side(shape, shape.box.src_first, shape.box.src_stride),
                           side(shape, shape.box.dst_first, shape.box.dst_stride)});
  BoxCopy box = shape.box;
  if (unpack) {
    std::swap(box.src_first, box.dst_first);
    std::swap(box.src_stride, box.dst_stride);
  }
  time_calls(state, rotation.num_parts(), [&](std::int64_t call) {
    const Pointers& sides = rotation.part(call);
    kernels::reshard_pack({.src = sides.at(unpack ? 1 : 0),
                           .dst = sides.at(unpack ? 0 : 1),
                           .element_size = shape.element_size,
                           .boxes = {&box, 1}},
                          nullptr);
  });
  report_bytes(state,
               2.0 * static_cast<double>(box.num_blocks * box.block_size * shape.element_size));
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
        ->Iterations(kNumIterations)
        ->Unit(benchmark::kMicrosecond);
  }
}

const bool kRegistered = [] {
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
  return true;
}();

}  // namespace
}  // namespace runflat::bench
