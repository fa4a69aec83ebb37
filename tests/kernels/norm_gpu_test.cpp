#include "kernels/norm.hpp"
#include "tests/catch.hpp"
#include "tests/kernels/device_memory.hpp"

using namespace runflat;
using kernels::BFloat16;
using kernels::DataType;
using tests::DeviceValues;
using Values = std::vector<double>;

namespace {

struct Shape {
  std::int64_t rows;
  std::int64_t cols;
  std::int64_t shift;
  bool centred;
  bool residual;
};

template <typename T>
struct Case {
  Shape shape;
  DeviceValues<T> x, skip, gain, bias, sum, y;
  DeviceValues<float> mean, rstd;
  tests::DeviceStream stream;

  Case(tests::Dice& dice, const Shape& of)
      : shape(of),
        x(tests::random_values(dice, of.rows * of.cols, 2.0), of.shift),
        skip(tests::random_values(dice, of.rows * of.cols, 2.0), of.shift),
        gain(tests::random_values(dice, of.cols), of.shift),
        bias(tests::random_values(dice, of.cols), of.shift),
        sum(x.host, of.shift),
        y(x.host, of.shift),
        mean(Values(static_cast<std::size_t>(of.rows)), of.shift),
        rstd(mean.host, of.shift) {}

  [[nodiscard]] const DeviceValues<T>& normalised() const { return shape.residual ? sum : x; }

  void forward() {
    kernels::norm_forward({.x = x.data(),
                           .residual = shape.residual ? skip.data() : nullptr,
                           .sum = shape.residual ? sum.data() : nullptr,
                           .gain = gain.data(),
                           .bias = shape.centred ? bias.data() : nullptr,
                           .y = y.data(),
                           .mean = shape.centred ? mean.data() : nullptr,
                           .rstd = rstd.data(),
                           .rows = shape.rows,
                           .cols = shape.cols,
                           .type = tests::kTypeOf<T>},
                          stream.get());
    stream.finish();
  }

  /// In fp64, from the z that the device rounded.
  void check_forward() {
    forward();
    const Values z = normalised().read();
    if (shape.residual) {
      Values expected = x.host;
      for (std::size_t i = 0; i < expected.size(); ++i) {
        expected.at(i) += skip.host.at(i);
      }
      CHECK(tests::num_wrong(z, expected, tests::kRounding<T>, 0.0) == 0);
    }
    Values expected(z.size());
    Values expected_mean(static_cast<std::size_t>(shape.rows));
    Values expected_rstd(expected_mean);
    kernels::norm_forward_reference({.x = z.data(),
                                     .gain = gain.host.data(),
                                     .bias = shape.centred ? bias.host.data() : nullptr,
                                     .y = expected.data(),
                                     .mean = expected_mean.data(),
                                     .rstd = expected_rstd.data(),
                                     .rows = shape.rows,
                                     .cols = shape.cols,
                                     .type = DataType::fp64});
    CHECK(tests::num_wrong(y.read(), expected, tests::kRounding<T>, 1e-5) == 0);
    CHECK(tests::num_wrong(rstd.read(), expected_rstd, 1e-5, 0.0) == 0);
    CHECK(y.margins_intact());
    CHECK(rstd.margins_intact());
    if (shape.centred) {
      CHECK(tests::num_wrong(mean.read(), expected_mean, 0.0, 1e-5) == 0);
    }
  }
};

template <typename T>
void check_backward(tests::Dice& dice, const Shape& shape) {
  Case<T> norm(dice, shape);
  norm.forward();
  const Values mean = norm.mean.read();
  const Values rstd = norm.rstd.read();
  const Values z = norm.normalised().read();
  const std::int64_t num = shape.rows * shape.cols;
  DeviceValues<T> dy(tests::random_values(dice, num), shape.shift);
  const DeviceValues<T> dresidual(tests::random_values(dice, num), shape.shift);
  const DeviceValues<T> dx(dy.host, shape.shift);
  const Values start = tests::random_values(dice, shape.cols);
  DeviceValues<float> dgain(start, shape.shift);
  DeviceValues<float> dbias(start, shape.shift);
  const tests::DeviceBytes workspace(
      kernels::norm_backward_workspace(shape.rows, shape.cols, tests::kTypeOf<T>));
  const bool in_place = dice.one_in(2);
  T* const out = in_place ? dy.data() : dx.data();
  const auto run = [&] {
    kernels::norm_backward({.dy = dy.data(),
                            .z = norm.normalised().data(),
                            .gain = norm.gain.data(),
                            .mean = shape.centred ? norm.mean.data() : nullptr,
                            .rstd = norm.rstd.data(),
                            .dresidual = shape.residual ? dresidual.data() : nullptr,
                            .dx = out,
                            .dgain = dgain.data(),
                            .dbias = shape.centred ? dbias.data() : nullptr,
                            .workspace = workspace.data(),
                            .rows = shape.rows,
                            .cols = shape.cols,
                            .type = tests::kTypeOf<T>},
                           norm.stream.get());
    norm.stream.finish();
  };
  run();
  Values expected(z.size());
  Values expected_dgain = dgain.host;
  Values expected_dbias = dbias.host;
  kernels::norm_backward_reference({.dy = dy.host.data(),
                                    .z = z.data(),
                                    .gain = norm.gain.host.data(),
                                    .mean = shape.centred ? mean.data() : nullptr,
                                    .rstd = rstd.data(),
                                    .dresidual = shape.residual ? dresidual.host.data() : nullptr,
                                    .dx = expected.data(),
                                    .dgain = expected_dgain.data(),
                                    .dbias = expected_dbias.data(),
                                    .rows = shape.rows,
                                    .cols = shape.cols,
                                    .type = DataType::fp64});
  const Values got = in_place ? dy.read() : dx.read();
  CHECK(tests::num_wrong(got, expected, tests::kRounding<T>, 1e-5) == 0);
  CHECK(tests::num_wrong(dgain.read(), expected_dgain, 1e-4, 1e-4) == 0);
  CHECK((in_place ? dy : dx).margins_intact());
  CHECK(dgain.margins_intact());
  if (shape.centred) {
    CHECK(tests::num_wrong(dbias.read(), expected_dbias, 1e-4, 1e-4) == 0);
  }
  const std::vector<float> first = dgain.read_raw();
  dgain.write(start);
  dy.write(dy.host);
  run();
  CHECK(dgain.read_raw() == first);
}

const std::vector<std::pair<std::int64_t, std::int64_t>> kSizes = {{1, 1},
                                                                   {3, 7},
                                                                   {5, 64},
                                                                   {33, 1000},
                                                                   {7, 2048},
                                                                   {1200, 512},
                                                                   {70, 4096},
                                                                   {9, 8192},
                                                                   {3, 20001},
                                                                   {2, 40000}};

template <typename F>
void for_each_shape(F check) {
  tests::Dice dice(1);
  for (const auto& [rows, cols] : kSizes) {
    for (const std::int64_t shift : {std::int64_t{0}, dice.between(1, 7)}) {
      for (const bool centred : {false, true}) {
        const Shape shape = {rows, cols, shift, centred, dice.one_in(2)};
        CAPTURE(shape.rows, shape.cols, shape.shift, shape.centred, shape.residual);
        check(dice, shape);
      }
    }
  }
}

}  // namespace

TEST_CASE("the device's norms are the fp64 norms of what it read", "[kernels][norm][gpu]") {
  for_each_shape([](tests::Dice& dice, const Shape& shape) {
    Case<float>(dice, shape).check_forward();
    Case<BFloat16>(dice, shape).check_forward();
  });
}

TEST_CASE("the device's norm gradients are those in fp64, the same bits every time",
          "[kernels][norm][gpu]") {
  for_each_shape([](tests::Dice& dice, const Shape& shape) {
    check_backward<float>(dice, shape);
    check_backward<BFloat16>(dice, shape);
  });
}
