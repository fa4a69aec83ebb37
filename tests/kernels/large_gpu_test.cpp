// Tensors of more than 2^31 elements. Rows do not depend on each other, so that the last rows of a
// large tensor must come out as these rows alone do, bit by bit.

#include "kernels/activation.hpp"
#include "kernels/cross_entropy.hpp"
#include "kernels/elementwise.hpp"
#include "kernels/embedding.hpp"
#include "kernels/norm.hpp"
#include "kernels/optimizer.hpp"
#include "kernels/qkv_split.hpp"
#include "kernels/random_normal.hpp"
#include "tests/catch.hpp"
#include "tests/kernels/device_memory.hpp"

using namespace runflat;
using kernels::DataType;
using tests::DeviceBytes;

namespace {

constexpr std::int64_t kBeyond = (std::int64_t{1} << 31) + 4096;  // elements
constexpr std::int64_t kTail = 4;                                 // rows that are compared

/// A bf16 or fp32 tensor of random numbers, only reachable by 64-bit indexes at its end.
class Large {
 public:
  Large(std::int64_t rows, std::int64_t cols, DataType type = DataType::bf16)
      : rows_(rows), row_bytes_(cols * kernels::size_of(type)), memory_(rows * row_bytes_) {
    kernels::random_normal({.dst = memory_.data(), .num = rows * cols, .seed = 1, .type = type},
                           nullptr);
  }
  [[nodiscard]] std::byte* data() const { return memory_.data(); }
  [[nodiscard]] std::byte* tail() const { return data() + (rows_ - kTail) * row_bytes_; }
  [[nodiscard]] std::vector<std::byte> read_tail() const {
    kernels::check_cuda(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    return memory_.read((rows_ - kTail) * row_bytes_, kTail * row_bytes_);
  }

 private:
  std::int64_t rows_;
  std::int64_t row_bytes_;
  DeviceBytes memory_;
};

/// run(rows, data of each tensor) on all rows and on a copy of the last ones: all tensors that are
/// written (the last `num_written`) must end alike.
template <typename F>
void check_tail(std::int64_t rows,
                const std::vector<std::int64_t>& cols,
                std::size_t num_written,
                F run) {
  std::vector<Large> whole;
  std::vector<Large> alone;
  std::vector<std::byte*> whole_data;
  std::vector<std::byte*> alone_data;
  for (const std::int64_t num : cols) {
    whole.emplace_back(rows, num);
    alone.emplace_back(kTail, num);
    kernels::check_cuda(cudaMemcpy(alone.back().data(),
                                   whole.back().tail(),
                                   static_cast<std::size_t>(kTail * num * 2),
                                   cudaMemcpyDeviceToDevice),
                        "cudaMemcpy");
    whole_data.push_back(whole.back().data());
    alone_data.push_back(alone.back().data());
  }
  run(rows, whole_data);
  run(kTail, alone_data);
  for (std::size_t i = cols.size() - num_written; i < cols.size(); ++i) {
    CHECK(whole.at(i).read_tail() == alone.at(i).read_tail());
  }
}

}  // namespace

TEST_CASE("random numbers do not depend on how many are drawn", "[kernels][large][gpu]") {
  const Large whole(kBeyond, 1);
  const DeviceBytes last(kTail * 2);
  kernels::random_normal({.dst = last.data(),
                          .num = kTail,
                          .first = kBeyond - kTail,
                          .seed = 1,
                          .type = DataType::bf16},
                         nullptr);
  CHECK(whole.read_tail() == last.read(0, kTail * 2));
}

TEST_CASE("elementwise kernels reach beyond 2^31 elements", "[kernels][large][gpu]") {
  constexpr std::int64_t kCols = 4096;
  constexpr std::int64_t kRows = kBeyond / kCols;
  const Large bias(kTail, 2 * kCols);
  using Data = std::vector<std::byte*>;
  check_tail(kRows, {kCols, kCols, kCols}, 1, [](std::int64_t rows, const Data& t) {
    kernels::add(
        {.a = t.at(0), .b = t.at(1), .y = t.at(2), .num = rows * kCols, .type = DataType::bf16},
        nullptr);
  });
  check_tail(kRows, {kCols}, 1, [&](std::int64_t rows, const Data& t) {
    kernels::add_bias(
        {.y = t.at(0), .bias = bias.data(), .rows = rows, .cols = kCols, .type = DataType::bf16},
        nullptr);
  });
  check_tail(kRows, {2 * kCols, kCols, 2 * kCols, kCols}, 2, [&](std::int64_t rows, const Data& t) {
    const kernels::SwigluArgs args = {.x = t.at(0),
                                      .bias = bias.data(),
                                      .dy = t.at(1),
                                      .y = t.at(3),
                                      .dx = t.at(2),
                                      .rows = rows,
                                      .cols = kCols,
                                      .type = DataType::bf16};
    kernels::swiglu_forward(args, nullptr);
    kernels::swiglu_backward(args, nullptr);
  });
  check_tail(kRows, {kCols, kCols, kCols, kCols}, 2, [&](std::int64_t rows, const Data& t) {
    const kernels::GeluArgs args = {.x = t.at(0),
                                    .bias = bias.data(),
                                    .dy = t.at(1),
                                    .y = t.at(3),
                                    .dx = t.at(2),
                                    .rows = rows,
                                    .cols = kCols,
                                    .type = DataType::bf16};
    kernels::gelu_forward(args, nullptr);
    kernels::gelu_backward(args, nullptr);
  });
  check_tail(kRows, {2 * kCols, kCols}, 1, [](std::int64_t rows, const Data& t) {
    kernels::cast({.src = t.at(0),
                   .dst = t.at(1),
                   .num = rows * kCols,
                   .src_type = DataType::fp32,
                   .dst_type = DataType::bf16},
                  nullptr);
  });
}

TEST_CASE("norms reach beyond 2^31 elements", "[kernels][large][gpu]") {
  constexpr std::int64_t kCols = 4096;
  constexpr std::int64_t kRows = kBeyond / kCols;
  const Large gain(kTail, kCols);
  const Large sums(kTail, 2 * kCols);
  const DeviceBytes statistics(2 * kRows * 4);
  const DeviceBytes workspace(kernels::norm_backward_workspace(kRows, kCols, DataType::bf16));
  std::byte* const rstd = statistics.data();
  check_tail(kRows,
             {kCols, kCols, kCols, kCols, kCols},
             3,
             [&](std::int64_t rows, const std::vector<std::byte*>& t) {
               kernels::norm_forward({.x = t.at(0),
                                      .residual = t.at(1),
                                      .sum = t.at(2),
                                      .gain = gain.data(),
                                      .bias = gain.data(),
                                      .y = t.at(3),
                                      .mean = rstd + kRows * 4,
                                      .rstd = rstd,
                                      .rows = rows,
                                      .cols = kCols,
                                      .type = DataType::bf16},
                                     nullptr);
               kernels::norm_backward({.dy = t.at(0),
                                       .z = t.at(2),
                                       .gain = gain.data(),
                                       .mean = rstd + kRows * 4,
                                       .rstd = rstd,
                                       .dresidual = t.at(1),
                                       .dx = t.at(4),
                                       .dgain = sums.data(),
                                       .dbias = sums.data() + 4 * kCols,
                                       .workspace = workspace.data(),
                                       .rows = rows,
                                       .cols = kCols,
                                       .type = DataType::bf16},
                                      nullptr);
             });
}

TEST_CASE("qkv is split and merged beyond 2^31 elements", "[kernels][large][gpu]") {
  constexpr std::int64_t kSize = 128;
  constexpr std::int64_t kCols = 8 * (4 + 2) * kSize;
  constexpr std::int64_t kRows = kBeyond / kCols + 2;
  check_tail(kRows,
             {kCols, 8 * 4 * kSize, 8 * kSize, 8 * kSize},
             3,
             [](std::int64_t rows, const std::vector<std::byte*>& t) {
               const kernels::QkvSplitArgs args = {.qkv = t.at(0),
                                                   .q = t.at(1),
                                                   .k = t.at(2),
                                                   .v = t.at(3),
                                                   .tokens = rows,
                                                   .groups = 8,
                                                   .heads_per_group = 4,
                                                   .num_heads = 4,
                                                   .head_size = kSize,
                                                   .type = DataType::bf16};
               kernels::qkv_merge(args, nullptr);
               kernels::qkv_split(args, nullptr);
             });
}

TEST_CASE("cross entropy reaches beyond 2^31 logits", "[kernels][large][gpu]") {
  constexpr std::int64_t kCols = 128255;  // rows of every alignment
  constexpr std::int64_t kRows = kBeyond / kCols + kTail;
  const tests::DeviceIds targets(std::vector<std::int32_t>(kRows, 1));
  const tests::DeviceIds local_row({0, kCols - 1});
  const DeviceBytes stats(kRows * 12);
  const DeviceBytes losses(kRows * 4);
  const tests::DeviceValues<float> mask(std::vector<double>(kRows, 1.0), 0);
  // The last rows alone start at another alignment, so that their bits may differ, little.
  const Large whole(kRows, kCols);
  const Large alone(kTail, kCols);
  kernels::check_cuda(cudaMemcpy(alone.data(),
                                 whole.tail(),
                                 static_cast<std::size_t>(kTail * kCols * 2),
                                 cudaMemcpyDeviceToDevice),
                      "cudaMemcpy");
  const auto run = [&](std::int64_t rows, std::byte* logits) {
    kernels::cross_entropy_stats({.logits = logits,
                                  .targets = targets.data(),
                                  .local_row = local_row.data(),
                                  .stats = stats.data(),
                                  .rows = rows,
                                  .cols = kCols,
                                  .type = DataType::bf16},
                                 nullptr);
    kernels::cross_entropy_backward({.logits = logits,
                                     .targets = targets.data(),
                                     .local_row = local_row.data(),
                                     .stats = stats.data(),
                                     .loss_mask = mask.data(),
                                     .losses = losses.data(),
                                     .rows = rows,
                                     .cols = kCols,
                                     .type = DataType::bf16},
                                    nullptr);
  };
  const auto numbers = [](const std::vector<std::byte>& bytes) {
    const auto* first = reinterpret_cast<const kernels::BFloat16*>(bytes.data());
    return tests::converted<double>(
        std::vector<kernels::BFloat16>(first, first + bytes.size() / 2));
  };
  run(kRows, whole.data());
  const auto of_whole = numbers(whole.read_tail());
  run(kTail, alone.data());
  CHECK(tests::num_wrong(of_whole, numbers(alone.read_tail()), 0x1p-6, 1e-9) == 0);
}

TEST_CASE("sums over rows reach beyond 2^31 elements", "[kernels][large][gpu]") {
  constexpr std::int64_t kCols = 4096;
  constexpr std::int64_t kRows = kBeyond / kCols;
  const DeviceBytes dy(kRows * kCols * 2);
  dy.fill(0);
  const std::vector<std::byte> ones(kCols * 2, std::byte{0x3c});  // bf16 0x3c3c
  dy.write((kRows - 1) * kCols * 2, ones);
  const DeviceBytes dbias(kCols * 4);
  dbias.fill(0);
  const DeviceBytes workspace(kernels::bias_grad_workspace(kRows, kCols, DataType::bf16));
  kernels::bias_grad({.dy = dy.data(),
                      .dbias = dbias.data(),
                      .workspace = workspace.data(),
                      .rows = kRows,
                      .cols = kCols,
                      .type = DataType::bf16},
                     nullptr);
  kernels::check_cuda(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  std::vector<std::byte> expected(kCols * 4);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    expected.at(i) = i % 4 < 2 ? std::byte{0} : std::byte{0x3c};  // the same number in fp32
  }
  CHECK(dbias.read(0, kCols * 4) == expected);
}

TEST_CASE("tables and outputs of embeddings reach beyond 2^31 elements", "[kernels][large][gpu]") {
  constexpr std::int64_t kCols = 8192;
  constexpr std::int64_t kRows = kBeyond / kCols + 1;
  const Large table(kRows, kCols);
  const Large y(kRows, kCols);
  std::vector<std::int32_t> rows(kRows);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    rows.at(i) = static_cast<std::int32_t>(i);
  }
  const tests::DeviceIds identity(rows);
  kernels::embedding_forward({.ids = identity.data(),
                              .local_row = identity.data(),
                              .table = table.data(),
                              .y = y.data(),
                              .tokens = kRows,
                              .cols = kCols,
                              .type = DataType::bf16},
                             nullptr);
  CHECK(y.read_tail() == table.read_tail());
  const DeviceBytes dtable(kRows * kCols * 4);
  dtable.fill(0);
  const DeviceBytes workspace(kernels::embedding_backward_workspace(kRows, kRows));
  kernels::embedding_backward({.ids = identity.data(),
                               .local_row = identity.data(),
                               .dy = y.data(),
                               .dtable = dtable.data(),
                               .workspace = workspace.data(),
                               .tokens = kRows,
                               .cols = kCols,
                               .local_rows = kRows,
                               .type = DataType::bf16},
                              nullptr);
  const DeviceBytes back(kTail * kCols * 2);
  kernels::cast({.src = dtable.data() + (kRows - kTail) * kCols * 4,
                 .dst = back.data(),
                 .num = kTail * kCols,
                 .src_type = DataType::fp32,
                 .dst_type = DataType::bf16},
                nullptr);
  kernels::check_cuda(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  CHECK(back.read(0, kTail * kCols * 2) == y.read_tail());
}

TEST_CASE("one optimizer tensor may have more than 2^31 elements", "[kernels][large][gpu]") {
  const Large grad(kBeyond, 1, DataType::fp32);
  const Large master(kBeyond, 1, DataType::fp32);
  const Large exp_avg(kBeyond, 1, DataType::fp32);
  const Large weight(kBeyond, 1);
  const DeviceBytes exp_avg_sq(kBeyond * 4);
  exp_avg_sq.fill(0);
  const DeviceBytes numbers(16);  // scale, squared sum
  tests::upload(numbers.data(), std::vector<double>{1.0, 0.0}.data(), 16);
  const kernels::AdamwTensor tensor = {.grad = grad.data(),
                                       .master = master.data(),
                                       .exp_avg = exp_avg.data(),
                                       .exp_avg_sq = exp_avg_sq.data(),
                                       .weight = weight.data(),
                                       .num = kBeyond};
  kernels::adamw({.tensors = {&tensor, 1},
                  .scale = reinterpret_cast<const double*>(numbers.data()),
                  .lr = 0.5,
                  .beta1 = 0.0,
                  .beta2 = 0.0,
                  .epsilon = 0.0,
                  .weight_type = DataType::bf16},
                 nullptr);
  // With beta 0 the direction is the gradient's sign; grad and master were the same numbers.
  const auto numbers_of = [](const std::vector<std::byte>& bytes) {
    const auto* first = reinterpret_cast<const float*>(bytes.data());
    return tests::converted<double>(std::vector<float>(first, first + bytes.size() / 4));
  };
  const std::vector<double> got = numbers_of(master.read_tail());
  const std::vector<double> gradient = numbers_of(grad.read_tail());
  for (std::size_t i = 0; i < got.size(); ++i) {
    CHECK(got.at(i) == Approx(gradient.at(i) - std::copysign(0.5, gradient.at(i))).margin(1e-5));
  }
  // The mean square of standard normals is 1, within five standard errors.
  const DeviceBytes workspace(kernels::squared_sum_workspace());
  const kernels::GradRun run = {.grad = grad.data(), .num = kBeyond};
  auto* const sum = reinterpret_cast<double*>(numbers.data()) + 1;
  kernels::squared_sum({.runs = {&run, 1}, .sum = sum, .workspace = workspace.data()}, nullptr);
  double host_sum = 0.0;
  kernels::check_cuda(cudaMemcpy(&host_sum, sum, 8, cudaMemcpyDeviceToHost), "cudaMemcpy");
  const auto num = static_cast<double>(kBeyond);
  CHECK(std::abs(host_sum / num - 1.0) < 5.0 * std::sqrt(2.0 / num));
}
