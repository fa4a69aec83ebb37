#include "kernels/gemm.hpp"
#include "kernels/host_dispatch.hpp"

#include <Eigen/Dense>

namespace runflat::kernels {
namespace {

template <typename A>
using RowMajor = Eigen::Matrix<A, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// f(matrix of computing type): the stored one itself, or, for bf16, a copy.
template <typename T, typename F>
void with_matrix(const void* data, std::int64_t rows, std::int64_t cols, F f) {
  const auto* elements = static_cast<const T*>(data);
  if constexpr (std::is_same_v<T, Accumulate<T>>) {
    f(Eigen::Map<const RowMajor<T>>(elements, rows, cols));
  } else {
    RowMajor<Accumulate<T>> copy(rows, cols);
    for (std::int64_t i = 0; i < rows * cols; ++i) {
      copy.data()[i] = load(elements[i]);
    }
    f(Eigen::Map<const RowMajor<Accumulate<T>>>(copy.data(), rows, cols));
  }
}

/// f(op(matrix)) of a matrix whose op is rows x cols.
template <typename T, typename F>
void with_operand(const void* data, std::int64_t rows, std::int64_t cols, bool transpose, F f) {
  if (transpose) {
    with_matrix<T>(data, cols, rows, [&](const auto& matrix) { f(matrix.transpose()); });
  } else {
    with_matrix<T>(data, rows, cols, f);
  }
}

template <typename T>
RowMajor<Accumulate<T>> product(const GemmArgs& args) {
  RowMajor<Accumulate<T>> out(args.m, args.n);
  with_operand<T>(args.a, args.m, args.k, args.transpose_a, [&](const auto& a) {
    with_operand<T>(
        args.b, args.k, args.n, args.transpose_b, [&](const auto& b) { out.noalias() = a * b; });
  });
  return out;
}

/// c = sums + beta c, rounded once; c is not read where beta is 0.
template <typename T, typename A>
void store(const RowMajor<A>& sums, double beta, T* c) {
  for (Eigen::Index i = 0; i < sums.size(); ++i) {
    const A kept = beta == 0.0 ? A{0} : static_cast<A>(beta) * static_cast<A>(load(c[i]));
    c[i] = static_cast<T>(sums.data()[i] + kept);
  }
}

}  // namespace

void gemm_reference(const GemmArgs& args) {
  if (args.c_type != args.type && args.c_type != accumulate_type(args.type)) {
    throw std::invalid_argument("gemm: c must be of the type of a and b or what they sum in");
  }
  with_host_type(args.type, [&]<typename T>() {
    const auto sums = product<T>(args);
    if (args.c_type == args.type) {
      store(sums, args.beta, static_cast<T*>(args.c));
    } else {
      store(sums, args.beta, static_cast<Accumulate<T>*>(args.c));
    }
  });
}

}  // namespace runflat::kernels
