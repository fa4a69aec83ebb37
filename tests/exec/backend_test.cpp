#include "exec/backend.hpp"

#include "core/error.hpp"
#include "tests/catch.hpp"

using namespace runflat;
using namespace runflat::exec;

TEST_CASE("a backend is chosen by name", "[exec][train]") {
  const Backend cpu = make_backend("cpu", 0);
  CHECK(cpu.device != nullptr);
  CHECK_FALSE(cpu.peak_flops.has_value());
  CHECK_THROWS_WITH(make_backend("tpu", 0), "--backend: expected cpu or cuda, found tpu");
}
