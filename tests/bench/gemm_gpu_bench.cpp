// The matrix products of a training step of the 1.5B (16384 tokens) and the 8B Llama (8192 tokens):
// forward, gradient of the input, and gradient of the weight added to fp32 sums. Algorithms are
// tuned first. Row-parallel weights (proj, fc2) are stored [in, out], the others [out, in].

#include "kernels/gemm.hpp"
#include "tests/bench/gpu_bench.hpp"

#include <array>
#include <cmath>
#include <filesystem>
#include <random>
#include <utility>

namespace runflat::bench {
namespace {

using kernels::BFloat16;
using kernels::check_cuda;
using kernels::DataType;
using kernels::GemmArgs;

struct Layer {
  const char* name;
  std::int64_t out;
  std::int64_t in;
  bool row_parallel;
};

struct Product {
  std::string name;
  GemmArgs args;
};

std::array<Product, 3> products_of(const std::string& model,
                                   const Layer& layer,
                                   std::int64_t tokens) {
  const std::string name = "/" + model + "/" + layer.name;
  GemmArgs forward = {.m = tokens,
                      .n = layer.out,
                      .k = layer.in,
                      .transpose_b = !layer.row_parallel,
                      .type = DataType::bf16,
                      .c_type = DataType::bf16};
  GemmArgs input = {.m = tokens,
                    .n = layer.in,
                    .k = layer.out,
                    .transpose_b = layer.row_parallel,
                    .type = DataType::bf16,
                    .c_type = DataType::bf16};
  GemmArgs weight = {.m = layer.row_parallel ? layer.in : layer.out,
                     .n = layer.row_parallel ? layer.out : layer.in,
                     .k = tokens,
                     .transpose_a = true,
                     .beta = 1.0,
                     .type = DataType::bf16,
                     .c_type = DataType::fp32};
  return {{{"gemm_forward" + name, forward},
           {"gemm_dgrad" + name, input},
           {"gemm_wgrad" + name, weight}}};
}

/// `num` elements of a device array, `stride` apart.
template <typename T>
std::vector<double> strided(const std::byte* data,
                            std::int64_t first,
                            std::int64_t stride,
                            std::int64_t num) {
  std::vector<T> out(static_cast<std::size_t>(num));
  check_cuda(cudaMemcpy2D(out.data(),
                          sizeof(T),
                          data + first * static_cast<std::int64_t>(sizeof(T)),
                          static_cast<std::size_t>(stride) * sizeof(T),
                          sizeof(T),
                          static_cast<std::size_t>(num),
                          cudaMemcpyDeviceToHost),
             "cudaMemcpy2D");
  std::vector<double> numbers;
  for (const T& element : out) {
    numbers.push_back(static_cast<double>(element));
  }
  return numbers;
}

double element_of_c(const GemmArgs& args, const std::byte* c, std::int64_t at) {
  return args.c_type == DataType::bf16 ? strided<BFloat16>(c, at, 1, 1).at(0)
                                       : strided<float>(c, at, 1, 1).at(0);
}

/// How many of 50 random elements of c are off by more than rounding, against dots in fp64.
std::int64_t count_wrong(kernels::Gemm& gemm, GemmArgs args, const Pointers& t) {
  args.a = t.at(0);
  args.b = t.at(1);
  args.c = t.at(2);
  check_cuda(cudaMemset(args.c,
                        0,
                        static_cast<std::size_t>(args.m * args.n) *
                            static_cast<std::size_t>(kernels::size_of(args.c_type))),
             "cudaMemset");
  gemm.run(args, t.at(3), nullptr);
  std::mt19937_64 bits(1);
  std::int64_t wrong = 0;
  for (int sample = 0; sample < 50; ++sample) {
    const auto i = static_cast<std::int64_t>(bits() % static_cast<std::uint64_t>(args.m));
    const auto j = static_cast<std::int64_t>(bits() % static_cast<std::uint64_t>(args.n));
    const auto a = args.transpose_a ? strided<BFloat16>(t.at(0), i, args.m, args.k)
                                    : strided<BFloat16>(t.at(0), i * args.k, 1, args.k);
    const auto b = args.transpose_b ? strided<BFloat16>(t.at(1), j * args.k, 1, args.k)
                                    : strided<BFloat16>(t.at(1), j, args.n, args.k);
    double expected = 0.0;
    for (std::size_t k = 0; k < a.size(); ++k) {
      expected += a.at(k) * b.at(k);
    }
    // One rounding, and a thousandth of a typical sum for what tensor cores cut off.
    const double allowed =
        0x1p-8 * std::abs(expected) + 1e-3 * std::sqrt(static_cast<double>(args.k));
    const double got = element_of_c(args, t.at(2), i * args.n + j);
    wrong += std::abs(got - expected) <= allowed ? 0 : 1;
  }
  return wrong;
}

void run(benchmark::State& state, const GemmArgs& args) {
  static kernels::Gemm gemm(std::filesystem::temp_directory_path() / "runflat_gemm_bench");
  const Rotation rotation({{.num = args.m * args.k},
                           {.num = args.k * args.n},
                           {.num = args.m * args.n, .type = args.c_type},
                           {.num = kernels::Gemm::workspace() / 4, .type = DataType::fp32}});
  const std::int64_t wrong = count_wrong(gemm, args, rotation.part(0));
  time_calls(state, rotation.num_parts(), [&](std::int64_t call) {
    const Pointers& t = rotation.part(call);
    GemmArgs one = args;
    one.a = t.at(0);
    one.b = t.at(1);
    one.c = t.at(2);
    gemm.run(one, t.at(3), nullptr);
  });
  const double flops =
      2.0 * static_cast<double>(args.m) * static_cast<double>(args.n) * static_cast<double>(args.k);
  state.counters["TFLOP/s"] = benchmark::Counter(
      flops * 1e-12 * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
  state.counters["m"] = static_cast<double>(args.m);
  state.counters["n"] = static_cast<double>(args.n);
  state.counters["k"] = static_cast<double>(args.k);
  state.counters["#wrong"] = static_cast<double>(wrong);
}

void register_product(const std::string& name,
                      const GemmArgs& args,
                      std::int64_t num_iterations = kNumIterations) {
  benchmark::RegisterBenchmark(name.c_str(), [args](benchmark::State& state) { run(state, args); })
      ->UseManualTime()
      ->Iterations(num_iterations)
      ->Unit(benchmark::kMicrosecond);
}

/// Projections of models of hidden 2048 to 8192, whole and divided by TP, over many sizes of a
/// microbatch: what a model of the GEMM's time is fitted to.
void register_sweep() {
  constexpr std::array<std::pair<std::int64_t, std::int64_t>, 16> kWeights = {{{3072, 2048},
                                                                               {2048, 2048},
                                                                               {16384, 2048},
                                                                               {2048, 8192},
                                                                               {6144, 4096},
                                                                               {4096, 4096},
                                                                               {28672, 4096},
                                                                               {4096, 14336},
                                                                               {14336, 4096},
                                                                               {4096, 7168},
                                                                               {10240, 8192},
                                                                               {8192, 8192},
                                                                               {57344, 8192},
                                                                               {8192, 28672},
                                                                               {1280, 8192},
                                                                               {8192, 1024}}};
  for (const auto& [out, in] : kWeights) {
    const std::string name = std::to_string(out) + "x" + std::to_string(in);
    const Layer layer{name.c_str(), out, in, in >= out};
    for (std::int64_t tokens = 1024; tokens <= 16384; tokens *= 2) {
      for (const Product& product : products_of(std::to_string(tokens), layer, tokens)) {
        register_product("sweep_" + product.name, product.args);
      }
    }
  }
}

void register_model(const std::string& model,
                    std::int64_t tokens,
                    const std::vector<Layer>& layers) {
  for (const Layer& layer : layers) {
    for (const Product& product : products_of(model, layer, tokens)) {
      register_product(product.name, product.args);
    }
  }
}

const bool kRegistered = [] {
  const GemmArgs large = {.m = 8192,
                          .n = 8192,
                          .k = 8192,
                          .transpose_b = true,
                          .type = DataType::bf16,
                          .c_type = DataType::bf16};
  register_product("gemm_ceiling/8192x8192x8192", large);  // what all others are compared with
  // For seconds, at the GPU's power limit.
  register_product("gemm_sustained/8192x8192x8192", large, 30 * kNumIterations);
  register_model("1.5B",
                 16384,
                 {{"qkv", 3072, 2048, false},
                  {"proj", 2048, 2048, true},
                  {"fc1", 16384, 2048, false},
                  {"fc2", 2048, 8192, true},
                  {"output", 128256, 2048, false}});
  register_model("8B",
                 8192,
                 {{"qkv", 6144, 4096, false},
                  {"proj", 4096, 4096, true},
                  {"fc1", 28672, 4096, false},
                  {"fc2", 4096, 14336, true},
                  {"output", 128256, 4096, false}});
  register_sweep();
  return true;
}();

}  // namespace
}  // namespace runflat::bench
