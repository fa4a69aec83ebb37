#include "kernels/activation.hpp"
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
  bool bias;
};

/// SwiGLU (kInputs 2) or GELU (1) on the device and in fp64 on the host.
template <typename T, int kInputs>
void check_activation(tests::Dice& dice, const Shape& shape) {
  using Args = std::conditional_t<kInputs == 2, kernels::SwigluArgs, kernels::GeluArgs>;
  const std::int64_t num = shape.rows * shape.cols;
  const DeviceValues<T> x(tests::random_values(dice, kInputs * num, 9.0), shape.shift);
  const DeviceValues<T> bias(tests::random_values(dice, kInputs * shape.cols), shape.shift);
  const DeviceValues<T> dy(tests::random_values(dice, num), shape.shift);
  const DeviceValues<T> y(Values(dy.host.size(), NAN), shape.shift);
  const DeviceValues<T> dx(Values(x.host.size(), NAN), shape.shift);
  Values expected_y(y.host.size());
  Values expected_dx(x.host.size());
  const Args args = {.x = x.data(),
                     .bias = shape.bias ? bias.data() : nullptr,
                     .dy = dy.data(),
                     .y = y.data(),
                     .dx = dx.data(),
                     .rows = shape.rows,
                     .cols = shape.cols,
                     .type = tests::kTypeOf<T>};
  const Args expected = {.x = x.host.data(),
                         .bias = shape.bias ? bias.host.data() : nullptr,
                         .dy = dy.host.data(),
                         .y = expected_y.data(),
                         .dx = expected_dx.data(),
                         .rows = shape.rows,
                         .cols = shape.cols,
                         .type = DataType::fp64};
  const tests::DeviceStream stream;
  if constexpr (kInputs == 2) {
    kernels::swiglu_forward(args, stream.get());
    kernels::swiglu_backward_reference(expected);
  } else {
    kernels::gelu_forward(args, stream.get());
    kernels::gelu_backward_reference(expected);
  }
  stream.finish();
  const std::vector<double> forward_y = y.read();
  CHECK(tests::num_wrong(forward_y, expected_y, 2 * tests::kRounding<T>, tests::kNoise<T>) == 0);
  if constexpr (kInputs == 2) {
    kernels::swiglu_backward(args, stream.get());
  } else {
    kernels::gelu_backward(args, stream.get());
  }
  stream.finish();
  CHECK(y.read() == forward_y);
  CHECK(tests::num_wrong(dx.read(), expected_dx, 2 * tests::kRounding<T>, tests::kNoise<T>) == 0);
  CHECK(y.margins_intact());
  CHECK(dx.margins_intact());
}

}  // namespace

TEST_CASE("the device's activations and their gradients are those in fp64",
          "[kernels][activation][gpu]") {
  tests::Dice dice(1);
  for (const auto& [rows, cols] : std::vector<std::pair<std::int64_t, std::int64_t>>{
           {1, 1}, {3, 5}, {17, 64}, {5, 1001}, {64, 1024}, {3, 14336}}) {
    for (const std::int64_t shift : {0, 1, 4}) {
      for (const bool bias : {false, true}) {
        CAPTURE(rows, cols, shift, bias);
        const Shape shape = {rows, cols, shift, bias};
        check_activation<float, 2>(dice, shape);
        check_activation<BFloat16, 2>(dice, shape);
        check_activation<float, 1>(dice, shape);
        check_activation<BFloat16, 1>(dice, shape);
      }
    }
  }
}
