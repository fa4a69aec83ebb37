#include "exec/device/xid.hpp"

#include "tests/catch.hpp"

using namespace runflat::exec;

// Immediate actions of the catalog: https://docs.nvidia.com/deploy/xid-errors/
TEST_CASE("what an Xid needs is what NVIDIA's catalog says", "[exec][xid]") {
  for (const int app : {13, 31, 43, 45}) {  // the application ends by them, or because of another
    CHECK(remedy_of(app) == XidRemedy::none);
  }
  for (const int ignored : {63, 92, 137, 154}) {
    CHECK(remedy_of(ignored) == XidRemedy::none);
  }
  CHECK(remedy_of(94) == XidRemedy::new_process);                                     // RESTART_APP
  for (const int reset : {46, 62, 64, 95, 109, 110, 119, 120, 136, 140, 143, 158}) {  // RESET_GPU
    CHECK(remedy_of(reset) == XidRemedy::reset);
  }
  for (const int more : {48, 74, 79}) {  // a workflow that resets it; the host is started again
    CHECK(remedy_of(more) == XidRemedy::reset);
  }
}

TEST_CASE("an Xid is described in words where the catalog has them", "[exec][xid]") {
  CHECK(describe_xid(79) == "Xid 79: GPU has fallen off the bus");
  CHECK(describe_xid(9999) == "Xid 9999");
}
