#include "kernels/embedding.hpp"

#include "tests/catch.hpp"
#include "tests/kernels/host_values.hpp"

#include <numeric>

using namespace runflat;
using kernels::DataType;
using Values = std::vector<double>;
using Ids = std::vector<std::int32_t>;

namespace {

constexpr std::int64_t kCols = 3;

/// A vocabulary of 7 over two ranks: even ids on rank 0, odd ones on rank 1.
Ids local_rows(int rank) {
  Ids out;
  for (int id = 0; id < 7; ++id) {
    out.push_back(id % 2 == rank ? id / 2 : -1);
  }
  return out;
}

}  // namespace

TEST_CASE("the ranks' lookups add up to the lookup in the whole table", "[kernels][embedding]") {
  tests::Dice dice(1);
  const Values table = tests::random_values(dice, 7 * kCols);
  const Ids ids = {6, 0, 3, 3, 1};
  Values sum(ids.size() * kCols);
  for (int rank = 0; rank < 2; ++rank) {
    Values part;
    for (int id = rank; id < 7; id += 2) {
      part.insert(part.end(), table.begin() + id * kCols, table.begin() + (id + 1) * kCols);
    }
    const Ids rows = local_rows(rank);
    Values y(sum.size(), NAN);
    kernels::embedding_forward_reference({.ids = ids.data(),
                                          .local_row = rows.data(),
                                          .table = part.data(),
                                          .y = y.data(),
                                          .tokens = static_cast<std::int64_t>(ids.size()),
                                          .cols = kCols,
                                          .type = DataType::fp64});
    std::transform(sum.begin(), sum.end(), y.begin(), sum.begin(), std::plus<>());
  }
  for (std::size_t i = 0; i < sum.size(); ++i) {
    CHECK(sum.at(i) == table.at(static_cast<std::size_t>(ids.at(i / kCols)) * kCols + i % kCols));
  }
}

TEST_CASE("gradients of an id that comes twice add up, and other ranks' ids leave no trace",
          "[kernels][embedding]") {
  const Ids ids = {3, 0, 3};
  const Ids rows = local_rows(1);
  const Values dy = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  Values dtable(3 * kCols, 100.0);
  kernels::embedding_backward_reference({.ids = ids.data(),
                                         .local_row = rows.data(),
                                         .dy = dy.data(),
                                         .dtable = dtable.data(),
                                         .tokens = 3,
                                         .cols = kCols,
                                         .local_rows = 3,
                                         .type = DataType::fp64});
  CHECK(dtable == Values{100, 100, 100, 108, 110, 112, 100, 100, 100});
}

TEST_CASE("positions count sequence steps from the first", "[kernels][embedding]") {
  tests::Dice dice(2);
  const Values table = tests::random_values(dice, 9 * kCols);
  const Values before = tests::random_values(dice, 6 * kCols);
  Values x = before;
  kernels::PositionsArgs args = {.x = x.data(),
                                 .table = table.data(),
                                 .tokens = 6,
                                 .cols = kCols,
                                 .batch_size = 2,
                                 .first_position = 4,
                                 .type = DataType::fp64};
  kernels::positions_forward_reference(args);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const std::size_t position = 4 + i / kCols / 2;
    CHECK(x.at(i) == before.at(i) + table.at(position * kCols + i % kCols));
  }
  // Backward is the transpose: <forward(table) - x, g> = <table, backward(g)>.
  Values dtable(table.size());
  Values gradient = tests::random_values(dice, 6 * kCols);
  args.x = gradient.data();
  args.dtable = dtable.data();
  kernels::positions_backward_reference(args);
  CHECK(tests::dot(table, dtable) ==
        Approx(tests::dot(x, gradient) - tests::dot(before, gradient)).epsilon(1e-12));
}
