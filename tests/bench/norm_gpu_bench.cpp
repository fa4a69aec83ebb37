// Norms on shapes of the 8B (hidden 4096) and the 1.5B Llama (hidden 2048).

#include "kernels/norm.hpp"
#include "tests/bench/gpu_bench.hpp"

namespace runflat::bench {
namespace {

using kernels::DataType;
using kernels::Stream;
constexpr DataType kBf16 = DataType::bf16;
constexpr DataType kFp32 = DataType::fp32;

Work norm_forward(std::int64_t rows, std::int64_t cols, bool centred, bool residual) {
  Work out;
  out.tensors = {{.num = rows * cols},
                 {.num = rows * cols},
                 {.num = cols},
                 {.num = cols},
                 {.num = rows * cols},
                 {.num = rows * cols},
                 {.num = rows, .type = kFp32},
                 {.num = rows, .type = kFp32}};
  out.written = {4, 5};
  out.bytes = bytes_of(rows * cols, residual ? 8 : 4);
  const auto args = [=](const Pointers& t) {
    return kernels::NormForwardArgs{.x = t.at(0),
                                    .residual = residual ? t.at(1) : nullptr,
                                    .sum = residual ? t.at(5) : nullptr,
                                    .gain = t.at(2),
                                    .bias = centred ? t.at(3) : nullptr,
                                    .y = t.at(4),
                                    .mean = centred ? t.at(6) : nullptr,
                                    .rstd = t.at(7),
                                    .rows = rows,
                                    .cols = cols,
                                    .type = kBf16};
  };
  out.run = [=](const Pointers& t, Stream stream) { kernels::norm_forward(args(t), stream); };
  out.reference = [=](const Pointers& t) { kernels::norm_forward_reference(args(t)); };
  return out;
}

Work norm_backward(std::int64_t rows, std::int64_t cols, bool centred, bool residual) {
  Work out;
  out.tensors = {{.num = rows * cols},
                 {.num = rows * cols},
                 {.num = cols},
                 {.num = rows, .type = kFp32},
                 {.num = rows, .type = kFp32},
                 {.num = rows * cols},
                 {.num = rows * cols},
                 {.num = cols, .type = kFp32},
                 {.num = cols, .type = kFp32},
                 {.num = kernels::norm_backward_workspace(rows, cols, kBf16) / 4, .type = kFp32}};
  out.written = {6, 7, 8};
  out.bytes = bytes_of(rows * cols, residual ? 8 : 6);
  const auto args = [=](const Pointers& t) {
    return kernels::NormBackwardArgs{.dy = t.at(0),
                                     .z = t.at(1),
                                     .gain = t.at(2),
                                     .mean = centred ? t.at(3) : nullptr,
                                     .rstd = t.at(4),
                                     .dresidual = residual ? t.at(5) : nullptr,
                                     .dx = t.at(6),
                                     .dgain = t.at(7),
                                     .dbias = centred ? t.at(8) : nullptr,
                                     .workspace = t.at(9),
                                     .rows = rows,
                                     .cols = cols,
                                     .type = kBf16};
  };
  out.run = [=](const Pointers& t, Stream stream) { kernels::norm_backward(args(t), stream); };
  out.reference = [=](const Pointers& t) { kernels::norm_backward_reference(args(t)); };
  return out;
}

void register_norms(const std::string& shape, std::int64_t rows, std::int64_t cols) {
  for (const bool centred : {false, true}) {
    const std::string kind = centred ? "layer_norm_" : "rms_norm_";
    for (const bool residual : {false, true}) {
      const std::string name = std::string(residual ? "residual/" : "plain/") + shape;
      register_rows(kind + "forward/" + name, rows, [=](std::int64_t num) {
        return norm_forward(num, cols, centred, residual);
      });
      register_rows(kind + "backward/" + name, rows, [=](std::int64_t num) {
        return norm_backward(num, cols, centred, residual);
      });
    }
  }
}

const bool kRegistered = [] {
  register_norms("8192x4096", 8192, 4096);
  register_norms("32768x2048", 32768, 2048);
  return true;
}();

}  // namespace
}  // namespace runflat::bench
