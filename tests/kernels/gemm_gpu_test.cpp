#include "kernels/gemm.hpp"
#include "tests/catch.hpp"
#include "tests/kernels/device_memory.hpp"

#include <filesystem>

using namespace runflat;
using kernels::BFloat16;
using kernels::DataType;
using tests::DeviceValues;
using Values = std::vector<double>;

namespace {

/// A folder that goes with the object.
class ScratchFolder {
 public:
  ScratchFolder() { std::filesystem::create_directories(path_); }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  ~ScratchFolder() { std::filesystem::remove_all(path_); }
  [[nodiscard]] std::string path() const { return path_; }

 private:
  std::filesystem::path path_ = std::filesystem::temp_directory_path() / "runflat_gemm_gpu_test";
};

struct Multiplier {
  explicit Multiplier(const std::string& folder)
      : gemm(folder), workspace(kernels::Gemm::workspace()) {}
  kernels::Gemm gemm;
  tests::DeviceBytes workspace;
  tests::DeviceStream stream;
};

template <typename T, typename C>
void check_product(Multiplier& with,
                   tests::Dice& dice,
                   kernels::GemmArgs args,
                   std::int64_t shift) {
  const DeviceValues<T> a(tests::random_values(dice, args.m * args.k), shift);
  const DeviceValues<T> b(tests::random_values(dice, args.k * args.n), shift);
  DeviceValues<C> c(tests::random_values(dice, args.m * args.n), shift);
  Values expected = c.host;
  kernels::GemmArgs reference = args;
  reference.a = a.host.data();
  reference.b = b.host.data();
  reference.c = expected.data();
  reference.type = reference.c_type = DataType::fp64;
  kernels::gemm_reference(reference);
  args.a = a.data();
  args.b = b.data();
  args.c = c.data();
  args.type = tests::kTypeOf<T>;
  args.c_type = tests::kTypeOf<C>;
  const Values start = c.host;
  std::int64_t wrong = 0;
  std::vector<double> first;
  for (int round = 0; round < 2; ++round) {
    c.write(start);
    with.gemm.run(args, with.workspace.data(), with.stream.get());
    with.stream.finish();
    CHECK((round == 0 || c.read() == first));
    first = c.read();
  }
  // Sums of k products below 1 in fp32: full fp32, not tf32, whose error is 1e-3. cuBLASLt rounds
  // the product to bf16 before it adds a c in bf16.
  for (std::size_t i = 0; i < first.size(); ++i) {
    const double product = expected.at(i) - args.beta * start.at(i);
    const double allowed = tests::kRounding<C> * (std::abs(expected.at(i)) + std::abs(product)) +
                           1e-6 * std::sqrt(static_cast<double>(args.k)) + 1e-6;
    wrong += std::abs(first.at(i) - expected.at(i)) <= allowed ? 0 : 1;
  }
  CHECK(wrong == 0);
  CHECK(c.margins_intact());
}

void check_all(Multiplier& with) {
  tests::Dice dice(1);
  for (const auto& [m, n, k] : std::vector<std::array<std::int64_t, 3>>{
           {1, 1, 1}, {17, 33, 5}, {128, 256, 64}, {200, 136, 1000}, {300, 7, 77}}) {
    for (int transpose = 0; transpose < 4; ++transpose) {
      for (const double beta : {0.0, 1.0}) {
        const kernels::GemmArgs args = {.m = m,
                                        .n = n,
                                        .k = k,
                                        .transpose_a = (transpose & 1) != 0,
                                        .transpose_b = (transpose & 2) != 0,
                                        .beta = beta};
        const std::int64_t shift = m == 300 ? 1 : 0;
        CAPTURE(m, n, k, transpose, beta);
        check_product<float, float>(with, dice, args, shift);
        check_product<BFloat16, float>(with, dice, args, shift);
        check_product<BFloat16, BFloat16>(with, dice, args, shift);
      }
    }
  }
}

}  // namespace

TEST_CASE("cuBLASLt's products are those in fp64: first choice, tuned, and from the file",
          "[kernels][gemm][gpu]") {
  const ScratchFolder folder;
  Multiplier untuned("");
  check_all(untuned);
  {
    Multiplier tuned(folder.path());
    check_all(tuned);
  }
  CHECK_FALSE(std::filesystem::is_empty(folder.path()));
  Multiplier again(folder.path());
  check_all(again);
}
