// Causal attention of the 1.5B and the 8B Llama at sequences of 4096: FLOPs are those of the causal
// half, the backward pass counts as 2.5 forward passes. #wrong is against our own kernels.

#include "kernels/attention.hpp"
#include "kernels/plain_attention.hpp"
#include "tests/bench/gpu_bench.hpp"

#include <cmath>
#include <memory>

namespace runflat::bench {
namespace {

using kernels::AttentionShape;
using kernels::DataType;

/// Tensors of a forward and a backward pass, in this order.
enum Index : std::size_t { kQ, kK, kV, kOut, kLse, kDout, kDq, kDk, kDv, kWorkspace };

std::vector<Tensor> tensors_of(const AttentionShape& shape, std::int64_t workspace) {
  const std::int64_t unit = shape.seq_length * shape.batch_size;
  const Tensor query = {.num = unit * shape.heads * shape.head_size};
  const Tensor key = {.num = unit * shape.groups * shape.head_size};
  const Tensor lse = {.num = unit * shape.heads, .type = DataType::fp32, .fill = Fill::zero};
  return {query, key, key, query, lse, query, query, key, key, {.num = workspace / 2 + 1}};
}

kernels::AttentionForwardArgs forward_args(const AttentionShape& shape, const Pointers& t) {
  return {.shape = shape,
          .q = t.at(kQ),
          .k = t.at(kK),
          .v = t.at(kV),
          .out = t.at(kOut),
          .lse = t.at(kLse)};
}

kernels::AttentionBackwardArgs backward_args(const AttentionShape& shape, const Pointers& t) {
  return {.shape = shape,
          .q = t.at(kQ),
          .k = t.at(kK),
          .v = t.at(kV),
          .out = t.at(kOut),
          .lse = t.at(kLse),
          .dout = t.at(kDout),
          .dq = t.at(kDq),
          .dk = t.at(kDk),
          .dv = t.at(kDv)};
}

std::vector<kernels::BFloat16> read(const std::byte* data, std::int64_t num) {
  std::vector<kernels::BFloat16> out(static_cast<std::size_t>(num));
  kernels::check_cuda(cudaMemcpy(out.data(), data, out.size() * 2, cudaMemcpyDeviceToHost),
                      "cudaMemcpy");
  return out;
}

/// Elements further than 2 % from, or than 0.02 of, what our own kernels give.
std::int64_t count_wrong(const AttentionShape& shape,
                         kernels::Attention& attention,
                         const Pointers& t,
                         const Pointers& other) {
  const std::vector<Tensor> tensors = tensors_of(shape, 0);
  for (const std::size_t input :
       {std::size_t{kQ}, std::size_t{kK}, std::size_t{kV}, std::size_t{kDout}}) {
    kernels::check_cuda(cudaMemcpy(other.at(input),
                                   t.at(input),
                                   static_cast<std::size_t>(tensors.at(input).bytes()),
                                   cudaMemcpyDeviceToDevice),
                        "cudaMemcpy");
  }
  attention.forward(forward_args(shape, t), t.at(kWorkspace), nullptr);
  attention.backward(backward_args(shape, t), t.at(kWorkspace), nullptr);
  kernels::plain_attention_forward(forward_args(shape, other), nullptr);
  kernels::plain_attention_backward(backward_args(shape, other), nullptr);
  std::int64_t wrong = 0;
  for (const std::size_t output :
       {std::size_t{kOut}, std::size_t{kDq}, std::size_t{kDk}, std::size_t{kDv}}) {
    const std::int64_t num = tensors.at(output).num;
    const auto got = read(t.at(output), num);
    const auto expected = read(other.at(output), num);
    for (std::size_t i = 0; i < got.size(); ++i) {
      const auto want = static_cast<float>(expected[i]);
      const float allowed = 0.02F + 0.02F * std::abs(want);
      wrong += std::abs(static_cast<float>(got[i]) - want) <= allowed ? 0 : 1;
    }
  }
  return wrong;
}

void run(benchmark::State& state, const AttentionShape& shape, bool backward) {
  kernels::Attention attention;
  const Rotation rotation(tensors_of(shape, attention.workspace(shape)));
  const std::int64_t wrong = count_wrong(shape, attention, rotation.part(0), rotation.part(1));
  for (std::int64_t part = 0; part < rotation.num_parts(); ++part) {
    attention.forward(
        forward_args(shape, rotation.part(part)), rotation.part(part).at(kWorkspace), nullptr);
  }
  time_calls(state, rotation.num_parts(), [&](std::int64_t call) {
    const Pointers& t = rotation.part(call);
    backward ? attention.backward(backward_args(shape, t), t.at(kWorkspace), nullptr)
             : attention.forward(forward_args(shape, t), t.at(kWorkspace), nullptr);
  });
  const double forward_flops = 2.0 * static_cast<double>(shape.batch_size * shape.heads) *
                               static_cast<double>(shape.seq_length * shape.seq_length) *
                               static_cast<double>(shape.head_size);
  const double flops = (backward ? 2.5 : 1.0) * forward_flops;
  state.counters["TFLOP/s"] = benchmark::Counter(
      flops * 1e-12 * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
  state.counters["heads"] = static_cast<double>(shape.batch_size * shape.heads);
  state.counters["head_size"] = static_cast<double>(shape.head_size);
  state.counters["queries"] = static_cast<double>(shape.seq_length);
  state.counters["keys"] = static_cast<double>(shape.seq_length);
  state.counters["#wrong"] = static_cast<double>(wrong);
}

/// Scaled as usual, in bf16.
AttentionShape shape_of(AttentionShape shape) {
  shape.scale = 1.0 / std::sqrt(static_cast<double>(shape.head_size));
  shape.type = DataType::bf16;
  return shape;
}

void add(const std::string& name, const AttentionShape& shape, bool backward) {
  benchmark::RegisterBenchmark(name.c_str(),
                               [=](benchmark::State& state) { run(state, shape, backward); })
      ->UseManualTime()
      ->Iterations(kNumIterations)
      ->Unit(benchmark::kMicrosecond);
}

void register_model(const std::string& model, std::int64_t batch_size, std::int64_t head_size) {
  AttentionShape shape = shape_of({.seq_length = 4096,
                                   .batch_size = batch_size,
                                   .heads = 32,
                                   .groups = 8,
                                   .head_size = head_size});
  add("attention_forward/" + model, shape, false);
  add("attention_backward/" + model, shape, true);
  shape.deterministic = true;
  add("attention_backward_deterministic/" + model, shape, true);
}

/// Shapes that a model of attention's time is fitted to.
void register_sweep(std::int64_t batch_size,
                    std::int64_t heads,
                    std::int64_t seq_length,
                    std::int64_t head_size) {
  const AttentionShape shape = shape_of({.seq_length = seq_length,
                                         .batch_size = batch_size,
                                         .heads = heads,
                                         .groups = heads,
                                         .head_size = head_size});
  const std::string name = std::to_string(batch_size) + "x" + std::to_string(heads) + "x" +
                           std::to_string(seq_length) + "x" + std::to_string(head_size);
  add("sweep_attention_forward/" + name, shape, false);
  add("sweep_attention_backward/" + name, shape, true);
}

const bool kRegistered = [] {
  register_model("1.5B", 4, 64);
  register_model("8B", 2, 128);
  register_sweep(1, 8, 2048, 128);
  register_sweep(1, 32, 2048, 128);
  register_sweep(1, 32, 4096, 128);
  register_sweep(2, 32, 4096, 128);
  register_sweep(1, 64, 8192, 128);
  register_sweep(1, 16, 16384, 128);
  register_sweep(1, 32, 2048, 64);
  register_sweep(4, 32, 4096, 64);
  register_sweep(1, 32, 8192, 64);
  return true;
}();

}  // namespace
}  // namespace runflat::bench
