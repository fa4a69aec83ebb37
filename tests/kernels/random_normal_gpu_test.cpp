#include "kernels/random_normal.hpp"
#include "tests/catch.hpp"
#include "tests/kernels/device_memory.hpp"

using namespace runflat;
using kernels::BFloat16;
using tests::DeviceValues;
using Values = std::vector<double>;

namespace {

template <typename T>
Values draw(std::int64_t first, std::int64_t num) {
  const DeviceValues<T> out(Values(static_cast<std::size_t>(num), NAN), 1);
  const tests::DeviceStream stream;
  kernels::random_normal({.dst = out.data(),
                          .num = num,
                          .first = first,
                          .seed = 1234,
                          .stream_id = 5,
                          .std = 0.02,
                          .type = tests::kTypeOf<T>},
                         stream.get());
  stream.finish();
  CHECK(out.margins_intact());
  return out.read();
}

}  // namespace

TEST_CASE("the device draws what the host draws, element by element",
          "[kernels][random_normal][gpu]") {
  constexpr std::int64_t kNum = 10001;
  const std::int64_t start = (std::int64_t{1} << 33) + 2;
  std::vector<double> host(static_cast<std::size_t>(kNum));
  kernels::random_normal_reference({.dst = host.data(),
                                    .num = kNum,
                                    .first = start,
                                    .seed = 1234,
                                    .stream_id = 5,
                                    .std = 0.02,
                                    .type = kernels::DataType::fp64});
  const Values whole = draw<float>(start, kNum);
  CHECK(tests::num_wrong(whole, host, 0x1p-23, 0.0) == 0);
  CHECK(tests::num_wrong(draw<BFloat16>(start, kNum), host, 0x1p-8, 0.0) == 0);
  for (const std::int64_t first : {1, 2, 3, 4, 1001}) {
    const Values part = draw<float>(start + first, kNum - first);
    CHECK(std::equal(part.begin(), part.end(), whole.begin() + first));
  }
}
