// A query at a time, with the scores of its own row only: memory grows with the sequence, not with
// its square, and backward forms the probabilities again from lse.

#include "kernels/attention.hpp"
#include "kernels/host_dispatch.hpp"

#include <Eigen/Dense>

#include <cmath>

namespace runflat::kernels {
namespace {

template <typename A>
using RowMajor = Eigen::Matrix<A, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <typename A>
using Column = Eigen::Matrix<A, Eigen::Dynamic, 1>;

/// Where one head of one sequence lies in a [s, b, heads, head_size] tensor.
struct Panel {
  Panel(const AttentionShape& shape, std::int64_t heads, std::int64_t sequence, std::int64_t head)
      : first((sequence * heads + head) * shape.head_size),
        stride(shape.batch_size * heads * shape.head_size),
        rows(shape.seq_length),
        cols(shape.head_size) {}

  template <typename T>
  [[nodiscard]] RowMajor<Accumulate<T>> read(const void* tensor) const {
    const auto* elements = static_cast<const T*>(tensor) + first;
    RowMajor<Accumulate<T>> out(rows, cols);
    for (std::int64_t row = 0; row < rows; ++row) {
      for (std::int64_t col = 0; col < cols; ++col) {
        out(row, col) = load(elements[row * stride + col]);
      }
    }
    return out;
  }

  template <typename T>
  void write(const RowMajor<Accumulate<T>>& values, void* tensor) const {
    auto* elements = static_cast<T*>(tensor) + first;
    for (std::int64_t row = 0; row < rows; ++row) {
      for (std::int64_t col = 0; col < cols; ++col) {
        elements[row * stride + col] = static_cast<T>(values(row, col));
      }
    }
  }

  std::int64_t first;
  std::int64_t stride;
  std::int64_t rows;
  std::int64_t cols;
};

template <typename T>
void forward_head(const AttentionForwardArgs& args, std::int64_t sequence, std::int64_t head) {
  using A = Accumulate<T>;
  const AttentionShape& shape = args.shape;
  const std::int64_t group = head / (shape.heads / shape.groups);
  const Panel queries(shape, shape.heads, sequence, head);
  const Panel keys(shape, shape.groups, sequence, group);
  const auto q = queries.read<T>(args.q);
  const auto k = keys.read<T>(args.k);
  const auto v = keys.read<T>(args.v);
  A* lse = static_cast<A*>(args.lse) + (sequence * shape.heads + head) * shape.seq_length;
  RowMajor<A> out(shape.seq_length, shape.head_size);
  for (std::int64_t i = 0; i < shape.seq_length; ++i) {
    const Column<A> scores =
        static_cast<A>(shape.scale) * (k.topRows(i + 1) * q.row(i).transpose());
    const A max = scores.maxCoeff();
    const Column<A> weights = (scores.array() - max).exp();
    const A sum = weights.sum();
    out.row(i).noalias() = weights.transpose() * v.topRows(i + 1) / sum;
    lse[i] = max + std::log(sum);
  }
  queries.write<T>(out, args.out);
}

/// dS = P (dP - rowsum(dout out)), of all query heads that share a kv-group.
template <typename T>
void backward_group(const AttentionBackwardArgs& args, std::int64_t sequence, std::int64_t group) {
  using A = Accumulate<T>;
  const AttentionShape& shape = args.shape;
  const auto scale = static_cast<A>(shape.scale);
  const std::int64_t heads_per_group = shape.heads / shape.groups;
  const Panel keys(shape, shape.groups, sequence, group);
  const auto k = keys.read<T>(args.k);
  const auto v = keys.read<T>(args.v);
  RowMajor<A> dk = RowMajor<A>::Zero(k.rows(), k.cols());
  RowMajor<A> dv = dk;
  for (std::int64_t head = group * heads_per_group; head < (group + 1) * heads_per_group; ++head) {
    const Panel queries(shape, shape.heads, sequence, head);
    const auto q = queries.read<T>(args.q);
    const auto out = queries.read<T>(args.out);
    const auto dout = queries.read<T>(args.dout);
    const A* lse =
        static_cast<const A*>(args.lse) + (sequence * shape.heads + head) * shape.seq_length;
    RowMajor<A> dq(shape.seq_length, shape.head_size);
    for (std::int64_t i = 0; i < shape.seq_length; ++i) {
      const Column<A> scores = scale * (k.topRows(i + 1) * q.row(i).transpose());
      const Column<A> weights = (scores.array() - lse[i]).exp();
      const Column<A> dweights = v.topRows(i + 1) * dout.row(i).transpose();
      const A mean = dout.row(i).dot(out.row(i));
      const Column<A> dscores = scale * weights.array() * (dweights.array() - mean);
      dq.row(i).noalias() = dscores.transpose() * k.topRows(i + 1);
      dk.topRows(i + 1).noalias() += dscores * q.row(i);
      dv.topRows(i + 1).noalias() += weights * dout.row(i);
    }
    queries.write<T>(dq, args.dq);
  }
  keys.write<T>(dk, args.dk);
  keys.write<T>(dv, args.dv);
}

}  // namespace

void attention_forward_reference(const AttentionForwardArgs& args) {
  with_host_type(args.shape.type, [&]<typename T>() {
    for (std::int64_t sequence = 0; sequence < args.shape.batch_size; ++sequence) {
      for (std::int64_t head = 0; head < args.shape.heads; ++head) {
        forward_head<T>(args, sequence, head);
      }
    }
  });
}

void attention_backward_reference(const AttentionBackwardArgs& args) {
  with_host_type(args.shape.type, [&]<typename T>() {
    for (std::int64_t sequence = 0; sequence < args.shape.batch_size; ++sequence) {
      for (std::int64_t group = 0; group < args.shape.groups; ++group) {
        backward_group<T>(args, sequence, group);
      }
    }
  });
}

}  // namespace runflat::kernels
