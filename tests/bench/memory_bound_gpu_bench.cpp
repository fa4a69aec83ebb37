// Kernels that move memory, on shapes of the 1.5B (hidden 2048, 16384 tokens) and the 8B Llama
// (hidden 4096, ffn 14336, 8192 tokens). Bytes are those that any version must move.

#include "kernels/activation.hpp"
#include "kernels/cross_entropy.hpp"
#include "kernels/elementwise.hpp"
#include "kernels/embedding.hpp"
#include "kernels/optimizer.hpp"
#include "kernels/qkv_split.hpp"
#include "tests/bench/gpu_bench.hpp"

#include <algorithm>

namespace runflat::bench {
namespace {

using kernels::DataType;
using kernels::Stream;
constexpr DataType kBf16 = DataType::bf16;
constexpr DataType kFp32 = DataType::fp32;
constexpr DataType kInt32 = DataType::int32;
constexpr std::int64_t kVocabulary = 128256;

/// 32 query heads in 8 groups.
Work qkv(std::int64_t tokens, std::int64_t head_size, bool merge) {
  Work out;
  const std::int64_t unit = tokens * head_size;
  out.tensors = {{.num = unit * 48},
                 {.num = unit * 32},
                 {.num = unit * 8},
                 {.num = unit * 8},
                 {.num = unit / 2, .type = kFp32},
                 {.num = unit / 2, .type = kFp32}};
  out.written = merge ? std::vector<std::size_t>{0} : std::vector<std::size_t>{1, 2, 3};
  out.bytes = bytes_of(unit * 48, 4);
  const auto args = [=](const Pointers& t) {
    return kernels::QkvSplitArgs{.qkv = t.at(0),
                                 .q = t.at(1),
                                 .k = t.at(2),
                                 .v = t.at(3),
                                 .cos = t.at(4),
                                 .sin = t.at(5),
                                 .tokens = tokens,
                                 .batch_size = 2,
                                 .groups = 8,
                                 .heads_per_group = 4,
                                 .num_heads = 4,
                                 .head_size = head_size,
                                 .type = kBf16};
  };
  out.run = [=](const Pointers& t, Stream stream) {
    merge ? kernels::qkv_merge(args(t), stream) : kernels::qkv_split(args(t), stream);
  };
  out.reference = [=](const Pointers& t) {
    merge ? kernels::qkv_merge_reference(args(t)) : kernels::qkv_split_reference(args(t));
  };
  return out;
}

enum class Pass : std::uint8_t { forward, backward, backward_with_y };

Work swiglu(std::int64_t rows, std::int64_t cols, Pass pass) {
  Work out;
  const std::int64_t num = rows * cols;
  out.tensors = {{.num = 2 * num}, {.num = num}, {.num = num}, {.num = 2 * num}};
  out.written = {2, 3};
  out.bytes = bytes_of(num, pass == Pass::forward ? 6 : pass == Pass::backward ? 10 : 12);
  const auto args = [=](const Pointers& t) {
    return kernels::SwigluArgs{.x = t.at(0),
                               .dy = t.at(1),
                               .y = pass == Pass::backward ? nullptr : t.at(2),
                               .dx = t.at(3),
                               .rows = rows,
                               .cols = cols,
                               .type = kBf16};
  };
  out.run = [=](const Pointers& t, Stream stream) {
    pass == Pass::forward ? kernels::swiglu_forward(args(t), stream)
                          : kernels::swiglu_backward(args(t), stream);
  };
  out.reference = [=](const Pointers& t) {
    pass == Pass::forward ? kernels::swiglu_forward_reference(args(t))
                          : kernels::swiglu_backward_reference(args(t));
  };
  return out;
}

Work gelu(std::int64_t rows, std::int64_t cols, Pass pass) {
  Work out;
  const std::int64_t num = rows * cols;
  out.tensors = {{.num = num}, {.num = cols}, {.num = num}, {.num = num}, {.num = num}};
  out.written = {3, 4};
  out.bytes = bytes_of(num, pass == Pass::forward ? 4 : 6);
  const auto args = [=](const Pointers& t) {
    return kernels::GeluArgs{.x = t.at(0),
                             .bias = t.at(1),
                             .dy = t.at(2),
                             .y = pass == Pass::backward ? nullptr : t.at(3),
                             .dx = t.at(4),
                             .rows = rows,
                             .cols = cols,
                             .type = kBf16};
  };
  out.run = [=](const Pointers& t, Stream stream) {
    pass == Pass::forward ? kernels::gelu_forward(args(t), stream)
                          : kernels::gelu_backward(args(t), stream);
  };
  out.reference = [=](const Pointers& t) {
    pass == Pass::forward ? kernels::gelu_forward_reference(args(t))
                          : kernels::gelu_backward_reference(args(t));
  };
  return out;
}

/// Logits of one rank with all columns; `stats` alone reads them once, backward reads and writes.
Work cross_entropy(std::int64_t rows, std::int64_t cols, bool backward) {
  Work out;
  out.tensors = {{.num = rows * cols},
                 {.num = rows, .type = kInt32, .fill = Fill::ids, .limit = cols},
                 {.num = cols, .type = kInt32, .fill = Fill::identity},
                 {.num = rows * 3, .type = kFp32},
                 {.num = rows, .type = kFp32},
                 {.num = rows, .type = kFp32}};
  out.written = backward ? std::vector<std::size_t>{0, 5} : std::vector<std::size_t>{3};
  out.bytes = bytes_of(rows * cols, backward ? 4 : 2);
  const auto stats = [=](const Pointers& t) {
    return kernels::CrossEntropyStatsArgs{
        .logits = t.at(0),
        .targets = reinterpret_cast<const std::int32_t*>(t.at(1)),
        .local_row = reinterpret_cast<const std::int32_t*>(t.at(2)),
        .stats = t.at(3),
        .rows = rows,
        .cols = cols,
        .type = kBf16};
  };
  const auto grads = [=](const Pointers& t) {
    return kernels::CrossEntropyBackwardArgs{
        .logits = t.at(0),
        .targets = reinterpret_cast<const std::int32_t*>(t.at(1)),
        .local_row = reinterpret_cast<const std::int32_t*>(t.at(2)),
        .stats = t.at(3),
        .loss_mask = reinterpret_cast<const float*>(t.at(4)),
        .losses = t.at(5),
        .rows = rows,
        .cols = cols,
        .type = kBf16};
  };
  // Timed alone, backward takes any statistics for granted.
  const bool check = rows == kSmallRows;
  out.run = [=](const Pointers& t, Stream stream) {
    if (!backward || check) {
      kernels::cross_entropy_stats(stats(t), stream);
    }
    if (backward) {
      kernels::cross_entropy_backward(grads(t), stream);
    }
  };
  out.reference = [=](const Pointers& t) {
    kernels::cross_entropy_stats_reference(stats(t));
    if (backward) {
      kernels::cross_entropy_backward_reference(grads(t));
    }
  };
  return out;
}

Work embedding_forward(std::int64_t tokens, std::int64_t cols) {
  Work out;
  out.tensors = {{.num = tokens, .type = kInt32, .fill = Fill::ids, .limit = kVocabulary},
                 {.num = kVocabulary, .type = kInt32, .fill = Fill::identity},
                 {.num = kVocabulary * cols},
                 {.num = tokens * cols}};
  out.written = {3};
  out.bytes = bytes_of(tokens * cols, 4);
  const auto args = [=](const Pointers& t) {
    return kernels::EmbeddingForwardArgs{
        .ids = reinterpret_cast<const std::int32_t*>(t.at(0)),
        .local_row = reinterpret_cast<const std::int32_t*>(t.at(1)),
        .table = t.at(2),
        .y = t.at(3),
        .tokens = tokens,
        .cols = cols,
        .type = kBf16};
  };
  out.run = [=](const Pointers& t, Stream stream) { kernels::embedding_forward(args(t), stream); };
  out.reference = [=](const Pointers& t) { kernels::embedding_forward_reference(args(t)); };
  return out;
}

/// Random ids: nearly all tokens have a row of their own, read and written in fp32.
Work embedding_backward(std::int64_t tokens, std::int64_t cols, std::int64_t vocabulary) {
  Work out;
  out.tensors = {{.num = tokens, .type = kInt32, .fill = Fill::ids, .limit = vocabulary},
                 {.num = vocabulary, .type = kInt32, .fill = Fill::identity},
                 {.num = tokens * cols},
                 {.num = vocabulary * cols, .type = kFp32},
                 {.num = kernels::embedding_backward_workspace(tokens, vocabulary) / 4,
                  .type = kFp32,
                  .fill = Fill::zero}};
  out.written = {3};
  out.bytes = bytes_of(tokens * cols, 2 + 8);
  const auto args = [=](const Pointers& t) {
    return kernels::EmbeddingBackwardArgs{
        .ids = reinterpret_cast<const std::int32_t*>(t.at(0)),
        .local_row = reinterpret_cast<const std::int32_t*>(t.at(1)),
        .dy = t.at(2),
        .dtable = t.at(3),
        .workspace = t.at(4),
        .tokens = tokens,
        .cols = cols,
        .local_rows = vocabulary,
        .type = kBf16};
  };
  out.run = [=](const Pointers& t, Stream stream) { kernels::embedding_backward(args(t), stream); };
  out.reference = [=](const Pointers& t) { kernels::embedding_backward_reference(args(t)); };
  return out;
}

Work adamw(std::int64_t num) {
  Work out;
  out.tensors = {{.num = num, .type = kFp32},
                 {.num = num, .type = kFp32},
                 {.num = num, .type = kFp32},
                 {.num = num, .type = kFp32, .fill = Fill::zero},
                 {.num = num},
                 {.num = 1, .type = DataType::fp64, .fill = Fill::zero}};
  out.written = {1, 2, 3, 4};
  out.bytes = bytes_of(num, 30);
  const auto tensor = [=](const Pointers& t) {
    return kernels::AdamwTensor{.grad = t.at(0),
                                .master = t.at(1),
                                .exp_avg = t.at(2),
                                .exp_avg_sq = t.at(3),
                                .weight = t.at(4),
                                .num = num,
                                .weight_decay = 0.1};
  };
  const auto args = [=](const kernels::AdamwTensor& one, const Pointers& t) {
    return kernels::AdamwArgs{.tensors = {&one, 1},
                              .scale = reinterpret_cast<const double*>(t.at(5)),
                              .lr = 1e-3,
                              .weight_type = kBf16};
  };
  out.run = [=](const Pointers& t, Stream stream) {
    const auto one = tensor(t);
    kernels::adamw(args(one, t), stream);
  };
  out.reference = [=](const Pointers& t) {
    const auto one = tensor(t);
    kernels::adamw_reference(args(one, t));
  };
  return out;
}

Work squared_sum(std::int64_t num) {
  Work out;
  out.tensors = {{.num = num, .type = kFp32},
                 {.num = 1, .type = DataType::fp64, .fill = Fill::zero},
                 {.num = kernels::squared_sum_workspace() / 4, .type = kFp32}};
  out.written = {1};
  out.bytes = bytes_of(num, 4);
  const auto call = [=](const Pointers& t, auto function) {
    const kernels::GradRun run = {.grad = t.at(0), .num = num};
    function(kernels::SquaredSumArgs{
        .runs = {&run, 1}, .sum = reinterpret_cast<double*>(t.at(1)), .workspace = t.at(2)});
  };
  out.run = [=](const Pointers& t, Stream stream) {
    call(t, [&](const auto& args) { kernels::squared_sum(args, stream); });
  };
  out.reference = [=](const Pointers& t) {
    call(t, [](const auto& args) { kernels::squared_sum_reference(args); });
  };
  return out;
}

Work cast(std::int64_t num) {
  Work out;
  out.tensors = {{.num = num, .type = kFp32}, {.num = num}};
  out.written = {1};
  out.bytes = bytes_of(num, 6);
  const auto args = [=](const Pointers& t) {
    return kernels::CastArgs{.src = t.at(0), .dst = t.at(1), .num = num};
  };
  out.run = [=](const Pointers& t, Stream stream) { kernels::cast(args(t), stream); };
  out.reference = [=](const Pointers& t) { kernels::cast_reference(args(t)); };
  return out;
}

Work add(std::int64_t num) {
  Work out;
  out.tensors = {{.num = num}, {.num = num}, {.num = num}};
  out.written = {2};
  out.bytes = bytes_of(num, 6);
  const auto args = [=](const Pointers& t) {
    return kernels::AddArgs{.a = t.at(0), .b = t.at(1), .y = t.at(2), .num = num, .type = kBf16};
  };
  out.run = [=](const Pointers& t, Stream stream) { kernels::add(args(t), stream); };
  out.reference = [=](const Pointers& t) { kernels::add_reference(args(t)); };
  return out;
}

Work add_bias(std::int64_t rows, std::int64_t cols) {
  Work out;
  out.tensors = {{.num = rows * cols}, {.num = cols}};
  out.written = {0};
  out.bytes = bytes_of(rows * cols, 4);
  const auto args = [=](const Pointers& t) {
    return kernels::AddBiasArgs{
        .y = t.at(0), .bias = t.at(1), .rows = rows, .cols = cols, .type = kBf16};
  };
  out.run = [=](const Pointers& t, Stream stream) { kernels::add_bias(args(t), stream); };
  out.reference = [=](const Pointers& t) { kernels::add_bias_reference(args(t)); };
  return out;
}

Work bias_grad(std::int64_t rows, std::int64_t cols) {
  Work out;
  out.tensors = {{.num = rows * cols},
                 {.num = cols, .type = kFp32},
                 {.num = kernels::bias_grad_workspace(rows, cols, kBf16) / 4, .type = kFp32}};
  out.written = {1};
  out.bytes = bytes_of(rows * cols, 2);
  const auto args = [=](const Pointers& t) {
    return kernels::BiasGradArgs{.dy = t.at(0),
                                 .dbias = t.at(1),
                                 .workspace = t.at(2),
                                 .rows = rows,
                                 .cols = cols,
                                 .type = kBf16};
  };
  out.run = [=](const Pointers& t, Stream stream) { kernels::bias_grad(args(t), stream); };
  out.reference = [=](const Pointers& t) { kernels::bias_grad_reference(args(t)); };
  return out;
}

const bool kRegistered = [] {
  for (const bool merge : {false, true}) {
    const std::string name = merge ? "qkv_merge/" : "qkv_split/";
    register_rows(name + "8192x48x128", 8192, [=](auto rows) { return qkv(rows, 128, merge); });
    register_rows(name + "16384x48x64", 16384, [=](auto rows) { return qkv(rows, 64, merge); });
  }
  register_rows("swiglu_forward/8192x14336", 8192, [](auto rows) {
    return swiglu(rows, 14336, Pass::forward);
  });
  register_rows("swiglu_backward/8192x14336", 8192, [](auto rows) {
    return swiglu(rows, 14336, Pass::backward);
  });
  register_rows("swiglu_backward_with_y/8192x14336", 8192, [](auto rows) {
    return swiglu(rows, 14336, Pass::backward_with_y);
  });
  register_rows(
      "gelu_forward/8192x16384", 8192, [](auto rows) { return gelu(rows, 16384, Pass::forward); });
  register_rows("gelu_backward/8192x16384", 8192, [](auto rows) {
    return gelu(rows, 16384, Pass::backward);
  });
  for (const std::int64_t cols : {kVocabulary, kVocabulary / 7}) {
    const std::string shape = "8192x" + std::to_string(cols);
    register_rows("cross_entropy_stats/" + shape, 8192, [=](auto rows) {
      return cross_entropy(rows, cols, false);
    });
    register_rows("cross_entropy_backward/" + shape, 8192, [=](auto rows) {
      return cross_entropy(rows, cols, true);
    });
  }
  register_rows("embedding_forward/16384x4096", 16384, [](auto tokens) {
    return embedding_forward(tokens, 4096);
  });
  register_rows("embedding_backward/8192x4096", 8192, [](auto tokens) {
    return embedding_backward(tokens, 4096, tokens == kSmallRows ? 100 : kVocabulary);
  });
  register_memory_bound("adamw/200M", adamw(200'000'000), adamw(100'003));
  register_memory_bound("squared_sum/200M", squared_sum(200'000'000), squared_sum(100'003));
  register_memory_bound("cast_fp32_bf16/200M", cast(200'000'000), cast(100'003));
  register_memory_bound("add/8192x8192", add(8192 * 8192), add(100'003));
  for (std::int64_t mib = 1; mib <= 1024; mib *= 4) {  // bytes of the sum
    register_memory_bound("sweep_add/" + std::to_string(mib) + "MiB", add(mib << 19), add(100'003));
  }
  register_rows("add_bias/8192x16384", 8192, [](auto rows) { return add_bias(rows, 16384); });
  register_rows("bias_grad/8192x16384", 8192, [](auto rows) { return bias_grad(rows, 16384); });
  return true;
}();

}  // namespace
}  // namespace runflat::bench
