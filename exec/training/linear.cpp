#include "exec/training/linear.hpp"

namespace runflat::exec {

void Linear::from_hidden(const void* x, const void* weight, void* y, std::int64_t cols) const {
  device.gemm({.a = x,
               .b = weight,
               .c = y,
               .m = rows,
               .n = cols,
               .k = hidden,
               .transpose_b = true,
               .type = type,
               .c_type = type});
}

void Linear::to_hidden(const void* x, const void* weight, void* y, std::int64_t cols) const {
  device.gemm({.a = x,
               .b = weight,
               .c = y,
               .m = rows,
               .n = hidden,
               .k = cols,
               .type = type,
               .c_type = type});
}

void Linear::weight_grad(
    const void* a, const void* b, void* dweight, std::int64_t cols, bool is_first) const {
  device.gemm({.a = a,
               .b = b,
               .c = dweight,
               .m = cols,
               .n = hidden,
               .k = rows,
               .transpose_a = true,
               .beta = is_first ? 0.0 : 1.0,
               .type = type,
               .c_type = kernels::accumulate_type(type)});
}

}  // namespace runflat::exec
