#include "kernels/embedding.hpp"
#include "kernels/host_dispatch.hpp"

#include <algorithm>

namespace runflat::kernels {
namespace {

/// dst[i] += src[i].
template <typename Dst, typename Src>
void add_row(Dst* dst, const Src* src, std::int64_t cols) {
  for (std::int64_t col = 0; col < cols; ++col) {
    dst[col] = static_cast<Dst>(load(dst[col]) + load(src[col]));
  }
}

std::int64_t position(const PositionsArgs& args, std::int64_t token) {
  return args.first_position + token / args.batch_size;
}

}  // namespace

void embedding_forward_reference(const EmbeddingForwardArgs& args) {
  with_host_type(args.type, [&]<typename T>() {
    const auto* table = static_cast<const T*>(args.table);
    for (std::int64_t token = 0; token < args.tokens; ++token) {
      T* y = static_cast<T*>(args.y) + token * args.cols;
      const std::int64_t row = args.local_row[args.ids[token]];
      if (row < 0) {
        std::fill_n(y, args.cols, T{});
      } else {
        std::copy_n(table + row * args.cols, args.cols, y);
      }
    }
  });
}

void embedding_backward_reference(const EmbeddingBackwardArgs& args) {
  with_host_type(args.type, [&]<typename T>() {
    auto* dtable = static_cast<Accumulate<T>*>(args.dtable);
    for (std::int64_t token = 0; token < args.tokens; ++token) {
      const std::int64_t row = args.local_row[args.ids[token]];
      if (row >= 0) {
        const T* dy = static_cast<const T*>(args.dy) + token * args.cols;
        add_row(dtable + row * args.cols, dy, args.cols);
      }
    }
  });
}

void positions_forward_reference(const PositionsArgs& args) {
  with_host_type(args.type, [&]<typename T>() {
    auto* x = static_cast<T*>(args.x);
    const auto* table = static_cast<const T*>(args.table);
    for (std::int64_t token = 0; token < args.tokens; ++token) {
      add_row(x + token * args.cols, table + position(args, token) * args.cols, args.cols);
    }
  });
}

void positions_backward_reference(const PositionsArgs& args) {
  with_host_type(args.type, [&]<typename T>() {
    const auto* dx = static_cast<const T*>(args.x);
    auto* dtable = static_cast<Accumulate<T>*>(args.dtable);
    for (std::int64_t token = 0; token < args.tokens; ++token) {
      add_row(dtable + position(args, token) * args.cols, dx + token * args.cols, args.cols);
    }
  });
}

}  // namespace runflat::kernels
