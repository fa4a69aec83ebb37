#include "exec/device/backend.hpp"

#include "core/error.hpp"
#include "tests/catch.hpp"

using namespace runflat;
using namespace runflat::exec;

TEST_CASE("a backend is chosen by name", "[exec][train]") {
  const Backend cpu = make_backend("cpu", 0, DataType::bf16);
  CHECK(cpu.device != nullptr);
  CHECK_FALSE(cpu.peak_flops.has_value());
  CHECK_THROWS_WITH(make_backend("tpu", 0, DataType::bf16),
                    "--backend: expected cpu or cuda, found tpu");
}

TEST_CASE("MFU refers to the published peak of a GPU", "[exec][train]") {
  CHECK(bf16_peak_flops("NVIDIA H200") == 989e12);
  CHECK(bf16_peak_flops("NVIDIA H100 80GB HBM3") == 989e12);
  CHECK(bf16_peak_flops("NVIDIA H100 PCIe") == 756e12);
  CHECK_FALSE(bf16_peak_flops("NVIDIA GeForce GTX 1080").has_value());
}
