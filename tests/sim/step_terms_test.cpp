#include "sim/step_terms.hpp"

#include "tests/catch.hpp"

namespace runflat::sim {
namespace {

/// Four layers of 10 ms each, 100 ms of reduction, 60 ms of gathering.
StepTerms terms_of(double reduce_exposed, double gather_exposed, double beside) {
  StepTerms terms;
  terms.share.layers = 4.0;
  terms.layer.forward.gemm = Seconds(4e-3);
  terms.layer.backward.gemm = Seconds(6e-3);
  terms.sync.reduce = Seconds(0.1);
  terms.sync.gather = Seconds(0.06);
  terms.reduce_exposed = reduce_exposed;
  terms.gather_exposed = gather_exposed;
  terms.beside = beside;
  return terms;
}

TEST_CASE("what is overlapped hides behind one microbatch, the rest stays visible", "[sim][step]") {
  const SyncCost none = terms_of(1.0, 1.0, 0.5).visible_sync();
  CHECK(none.reduce.count() == Approx(0.1));
  CHECK(none.gather.count() == Approx(0.06));

  // 30 ms of the reduction may hide, and there is room for 40.
  const SyncCost reduction = terms_of(0.7, 1.0, 0.0).visible_sync();
  CHECK(reduction.reduce.count() == Approx(0.07));
  CHECK(reduction.gather.count() == Approx(0.06));

  // 80 ms of 160 may hide, and there is room for 40.
  const SyncCost both = terms_of(0.5, 0.5, 0.0).visible_sync();
  CHECK(both.total().count() == Approx(0.16 - 0.04));
  CHECK(both.reduce.count() / both.gather.count() == Approx(100.0 / 60.0));
}

TEST_CASE("what is hidden takes its share of the compute beside it", "[sim][step]") {
  // 30 ms hide, and cost a fifth of that.
  const SyncCost sync = terms_of(0.7, 1.0, 0.2).visible_sync();
  CHECK(sync.reduce.count() == Approx(0.07 + 0.2 * 0.03));
  CHECK(sync.gather.count() == Approx(0.06));
}

}  // namespace
}  // namespace runflat::sim
