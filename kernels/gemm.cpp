#include "kernels/gemm.hpp"

#include "kernels/cuda_error.hpp"
#include "kernels/gemm_algorithms.hpp"

#include <cuda_runtime.h>

#include <algorithm>
#include <cstring>
#include <cublasLt.h>
#include <filesystem>
#include <limits>
#include <map>
#include <stdexcept>
#include <vector>

namespace runflat::kernels {
namespace {

constexpr std::int64_t kWorkspaceBytes = std::int64_t{32} << 20;  // NVIDIA's advice for Hopper
constexpr int kMaxCandidates = 16;
constexpr float kFarBehind = 1.15F;
constexpr float kClearly = 0.99F;
constexpr float kSettleMilliseconds = 20.0F;

void check(cublasStatus_t status, const char* call) {
  if (status != CUBLAS_STATUS_SUCCESS) {
    throw CudaError(std::string(call) + ": " + cublasLtGetStatusString(status));
  }
}

/// Owner of a C handle.
template <typename Handle, auto kDestroy>
struct Destroy {
  using pointer = Handle;
  void operator()(Handle handle) const { kDestroy(handle); }
};
template <typename Handle, auto kDestroy>
using Owner = std::unique_ptr<Handle, Destroy<Handle, kDestroy>>;
using LtHandle = Owner<cublasLtHandle_t, &cublasLtDestroy>;
using Layout = Owner<cublasLtMatrixLayout_t, &cublasLtMatrixLayoutDestroy>;
using Operation = Owner<cublasLtMatmulDesc_t, &cublasLtMatmulDescDestroy>;
using Preference = Owner<cublasLtMatmulPreference_t, &cublasLtMatmulPreferenceDestroy>;
using Event = Owner<cudaEvent_t, &cudaEventDestroy>;
using DeviceMemory = Owner<void*, &cudaFree>;

cudaDataType_t cuda_type(DataType type) {
  switch (type) {
    case DataType::fp32:
      return CUDA_R_32F;
    case DataType::fp64:
      return CUDA_R_64F;
    case DataType::bf16:
      return CUDA_R_16BF;
    case DataType::int32:
    case DataType::int64:
      break;
  }
  throw std::invalid_argument("gemm: matrices must be fp32, fp64 or bf16");
}

GemmShape shape_of(const GemmArgs& args) {
  const std::uintptr_t bits = reinterpret_cast<std::uintptr_t>(args.a) |
                              reinterpret_cast<std::uintptr_t>(args.b) |
                              reinterpret_cast<std::uintptr_t>(args.c) | 16U;
  return {.m = args.m,
          .n = args.n,
          .k = args.k,
          .transpose_a = args.transpose_a,
          .transpose_b = args.transpose_b,
          .accumulate = args.beta != 0.0,
          .type = args.type,
          .c_type = args.c_type,
          .alignment = static_cast<std::int64_t>(bits & (~bits + 1))};
}

std::string text_of(const GemmShape& shape) {
  return "m " + std::to_string(shape.m) + ", n " + std::to_string(shape.n) + ", k " +
         std::to_string(shape.k);
}

/// A row-major matrix without gaps is a column-major one of its transpose.
Layout make_layout(DataType type, std::int64_t rows, std::int64_t cols) {
  cublasLtMatrixLayout_t out = nullptr;
  check(cublasLtMatrixLayoutCreate(&out,
                                   cuda_type(type),
                                   static_cast<std::uint64_t>(cols),
                                   static_cast<std::uint64_t>(rows),
                                   cols),
        "cublasLtMatrixLayoutCreate");
  return Layout(out);
}

/// cuBLASLt is column-major: it works out c^T = op(b)^T op(a)^T.
struct Problem {
  explicit Problem(const GemmShape& shape)
      : a(shape.transpose_a ? make_layout(shape.type, shape.k, shape.m)
                            : make_layout(shape.type, shape.m, shape.k)),
        b(shape.transpose_b ? make_layout(shape.type, shape.n, shape.k)
                            : make_layout(shape.type, shape.k, shape.n)),
        c(make_layout(shape.c_type, shape.m, shape.n)) {
    const bool fp64 = shape.type == DataType::fp64;
    cublasLtMatmulDesc_t created = nullptr;
    check(cublasLtMatmulDescCreate(&created,
                                   fp64 ? CUBLAS_COMPUTE_64F : CUBLAS_COMPUTE_32F,
                                   fp64 ? CUDA_R_64F : CUDA_R_32F),
          "cublasLtMatmulDescCreate");
    operation.reset(created);
    set_transpose(CUBLASLT_MATMUL_DESC_TRANSA, shape.transpose_b);
    set_transpose(CUBLASLT_MATMUL_DESC_TRANSB, shape.transpose_a);
  }

  void set_transpose(cublasLtMatmulDescAttributes_t attribute, bool transpose) const {
    const cublasOperation_t value = transpose ? CUBLAS_OP_T : CUBLAS_OP_N;
    check(cublasLtMatmulDescSetAttribute(operation.get(), attribute, &value, sizeof(value)),
          "cublasLtMatmulDescSetAttribute");
  }

  Layout a;
  Layout b;
  Layout c;
  Operation operation;
  cublasLtMatmulAlgo_t algorithm = {};
};

Preference make_preference(const GemmShape& shape) {
  cublasLtMatmulPreference_t created = nullptr;
  check(cublasLtMatmulPreferenceCreate(&created), "cublasLtMatmulPreferenceCreate");
  Preference out(created);
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
    check(cublasLtMatmulPreferenceSetAttribute(out.get(), attribute, &value, sizeof(value)),
          "cublasLtMatmulPreferenceSetAttribute");
  };
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<std::uint64_t>(kWorkspaceBytes));
  if (shape.c_type != accumulate_type(shape.type)) {
    // Parts of a long sum meet in fp32, not in a bf16 c.
    set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
        static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  }
  for (const auto attribute : {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
                               CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                               CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
                               CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
    set(attribute, static_cast<std::uint32_t>(shape.alignment));
  }
  return out;
}

/// The file of this GPU model and library version.
std::string cache_file(const std::string& folder) {
  if (folder.empty()) {
    return "";
  }
  int device = 0;
  cudaDeviceProp properties = {};
  check_cuda(cudaGetDevice(&device), "cudaGetDevice");
  check_cuda(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties");
  std::string name = properties.name;
  std::replace(name.begin(), name.end(), ' ', '_');
  std::replace(name.begin(), name.end(), '/', '_');
  std::error_code ignored;
  std::filesystem::create_directories(folder, ignored);
  return folder + "/gemm-" + name + "-cublasLt" + std::to_string(cublasLtGetVersion()) + ".txt";
}

GemmAlgorithm words_of(const cublasLtMatmulAlgo_t& algorithm) {
  GemmAlgorithm out;
  static_assert(sizeof(out) == sizeof(algorithm));
  std::memcpy(out.data(), &algorithm, sizeof(out));
  return out;
}

}  // namespace

struct Gemm::State {
  explicit State(const std::string& folder) : tuned(!folder.empty()), kept(cache_file(folder)) {
    cublasLtHandle_t created = nullptr;
    check(cublasLtCreate(&created), "cublasLtCreate");
    handle.reset(created);
  }

  /// The problem of a shape with its algorithm: from the file, timed, or the library's first
  /// choice.
  const Problem& problem_of(const GemmArgs& args, void* workspace, Stream stream) {
    const GemmShape shape = shape_of(args);
    const auto known = problems.find(shape);
    if (known != problems.end()) {
      return known->second;
    }
    Problem problem(shape);
    const std::optional<GemmAlgorithm> found = kept.find(shape);
    if (!found || !restore(*found, problem)) {
      const auto candidates = candidates_of(shape, problem);
      problem.algorithm = candidates.front();
      if (tuned && time_all(args, candidates, workspace, stream, problem)) {
        kept.insert(shape, words_of(problem.algorithm));
      }
    }
    return problems.emplace(shape, std::move(problem)).first->second;
  }

  /// Whether the library takes the kept algorithm for this problem.
  bool restore(const GemmAlgorithm& words, Problem& problem) const {
    std::memcpy(&problem.algorithm, words.data(), sizeof(words));
    cublasLtMatmulHeuristicResult_t result = {};
    return cublasLtMatmulAlgoCheck(handle.get(),
                                   problem.operation.get(),
                                   problem.b.get(),
                                   problem.a.get(),
                                   problem.c.get(),
                                   problem.c.get(),
                                   &problem.algorithm,
                                   &result) == CUBLAS_STATUS_SUCCESS &&
           static_cast<std::int64_t>(result.workspaceSize) <= kWorkspaceBytes;
  }

  [[nodiscard]] std::vector<cublasLtMatmulAlgo_t> candidates_of(const GemmShape& shape,
                                                                const Problem& problem) const {
    const Preference preference = make_preference(shape);
    std::vector<cublasLtMatmulHeuristicResult_t> results(kMaxCandidates);
    int num = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(handle.get(),
                                                                 problem.operation.get(),
                                                                 problem.b.get(),
                                                                 problem.a.get(),
                                                                 problem.c.get(),
                                                                 problem.c.get(),
                                                                 preference.get(),
                                                                 kMaxCandidates,
                                                                 results.data(),
                                                                 &num);
    std::vector<cublasLtMatmulAlgo_t> out;
    for (int i = 0; status == CUBLAS_STATUS_SUCCESS && i < num; ++i) {
      out.push_back(results.at(static_cast<std::size_t>(i)).algo);
    }
    if (out.empty()) {
      throw std::invalid_argument("gemm: cuBLASLt has no algorithm for " + text_of(shape));
    }
    return out;
  }

  /// Leaves the fastest candidate in `problem`. Works into memory of its own, as c may hold sums
  /// already; false where there is no memory for that.
  bool time_all(const GemmArgs& args,
                const std::vector<cublasLtMatmulAlgo_t>& candidates,
                void* workspace,
                Stream stream,
                Problem& problem) const {
    const auto bytes = static_cast<std::size_t>(args.m * args.n * size_of(args.c_type));
    void* allocated = nullptr;
    if (cudaMalloc(&allocated, bytes) != cudaSuccess) {
      static_cast<void>(cudaGetLastError());
      return false;
    }
    const DeviceMemory scratch(allocated);
    check_cuda(cudaMemsetAsync(allocated, 0, bytes, stream), "cudaMemsetAsync");
    GemmArgs trial = args;
    trial.c = allocated;
    problem.algorithm = fastest_of(trial, candidates, workspace, stream, problem);
    return true;
  }

  /// A candidate must win clearly against those before it, which the library thinks better.
  [[nodiscard]] cublasLtMatmulAlgo_t fastest_of(const GemmArgs& args,
                                                const std::vector<cublasLtMatmulAlgo_t>& candidates,
                                                void* workspace,
                                                Stream stream,
                                                Problem& problem) const {
    cublasLtMatmulAlgo_t fastest = candidates.front();
    float best = std::numeric_limits<float>::infinity();
    for (const cublasLtMatmulAlgo_t& candidate : candidates) {
      problem.algorithm = candidate;
      time_of(1, args, problem, workspace, stream);  // may load code
      const float once = time_of(1, args, problem, workspace, stream);
      if (once > kFarBehind * best) {
        continue;
      }
      const float time = time_of(runs_of(once), args, problem, workspace, stream);
      if (time < kClearly * best) {
        best = time;
        fastest = candidate;
      }
    }
    return fastest;
  }

  /// Enough runs in a row for the clock to settle where the candidate's power leaves it.
  static int runs_of(float milliseconds) {
    return static_cast<int>(std::clamp(kSettleMilliseconds / milliseconds, 3.0F, 50.0F));
  }

  /// Milliseconds of a run, on average.
  float time_of(int num_runs,
                const GemmArgs& args,
                const Problem& problem,
                void* workspace,
                Stream stream) const {
    const Event begin = make_event();
    const Event end = make_event();
    check_cuda(cudaEventRecord(begin.get(), stream), "cudaEventRecord");
    for (int i = 0; i < num_runs; ++i) {
      multiply(args, problem, workspace, stream);
    }
    check_cuda(cudaEventRecord(end.get(), stream), "cudaEventRecord");
    check_cuda(cudaEventSynchronize(end.get()), "cudaEventSynchronize");
    float time = 0.0F;
    check_cuda(cudaEventElapsedTime(&time, begin.get(), end.get()), "cudaEventElapsedTime");
    return time / static_cast<float>(num_runs);
  }

  static Event make_event() {
    cudaEvent_t created = nullptr;
    check_cuda(cudaEventCreate(&created), "cudaEventCreate");
    return Event(created);
  }

  void multiply(const GemmArgs& args,
                const Problem& problem,
                void* workspace,
                Stream stream) const {
    const bool fp64 = args.type == DataType::fp64;
    const float one = 1.0F;
    const double one_fp64 = 1.0;
    const auto beta = static_cast<float>(args.beta);
    check(cublasLtMatmul(handle.get(),
                         problem.operation.get(),
                         fp64 ? static_cast<const void*>(&one_fp64) : &one,
                         args.b,
                         problem.b.get(),
                         args.a,
                         problem.a.get(),
                         fp64 ? static_cast<const void*>(&args.beta) : &beta,
                         args.c,
                         problem.c.get(),
                         args.c,
                         problem.c.get(),
                         &problem.algorithm,
                         workspace,
                         static_cast<std::size_t>(kWorkspaceBytes),
                         stream),
          "cublasLtMatmul");
  }

  bool tuned;
  GemmAlgorithms kept;
  LtHandle handle;
  std::map<GemmShape, Problem> problems;
};

Gemm::Gemm(const std::string& cache) : state_(std::make_unique<State>(cache)) {}
Gemm::~Gemm() = default;

std::int64_t Gemm::workspace() {
  return kWorkspaceBytes;
}

void Gemm::run(const GemmArgs& args, void* workspace, Stream stream) {
  if (args.m == 0 || args.n == 0) {
    return;
  }
  const Problem& problem = state_->problem_of(args, workspace, stream);
  state_->multiply(args, problem, workspace, stream);
}

}  // namespace runflat::kernels
