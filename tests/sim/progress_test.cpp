#include "sim/progress.hpp"

#include "core/error.hpp"
#include "tests/catch.hpp"
#include "tests/dice.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

using namespace runflat;
using namespace runflat::sim;

namespace {

constexpr std::int64_t kJobGpus = 64;

/// The same clock, one millisecond after the other.
class SlowProgress {
 public:
  SlowProgress(std::int64_t interval, std::int64_t cost, std::int64_t step)
      : interval_(interval), cost_(cost), step_(step) {}

  void run(std::int64_t span, std::int64_t useful, std::int64_t num_active) {
    for (std::int64_t i = 0; i < span; ++i) {
      if (in_cycle_ < interval_) {
        trained_.push_back({useful, num_active - useful});
        ++unsaved_;
        in_step_ = (in_step_ + 1) % step_;
      } else {
        checkpoint_ += num_active;
      }
      if (++in_cycle_ == interval_ + cost_) {
        in_cycle_ = 0;
        unsaved_ = 0;
      }
    }
  }
  void roll_back() {
    lose(unsaved_);
    in_cycle_ = 0;
    in_step_ = 0;
  }
  void drop_step() {
    lose(std::min(in_step_, unsaved_));
    in_step_ = 0;
  }
  [[nodiscard]] GpuTimeLedger ledger() const {
    GpuTimeLedger ledger;
    for (const Spent& ms : trained_) {
      ledger.add_gpu_ms(Cause::useful, ms.useful);
      ledger.add_gpu_ms(Cause::degraded, ms.degraded);
    }
    ledger.add_gpu_ms(Cause::checkpoint, checkpoint_);
    ledger.add_gpu_ms(Cause::lost_work, lost_);
    return ledger;
  }

 private:
  struct Spent {
    std::int64_t useful;
    std::int64_t degraded;
  };
  void lose(std::int64_t num_ms) {
    for (std::int64_t i = 0; i < num_ms; ++i) {
      lost_ += trained_.back().useful + trained_.back().degraded;
      trained_.pop_back();
    }
    unsaved_ -= num_ms;
  }

  std::int64_t interval_;
  std::int64_t cost_;
  std::int64_t step_;
  std::vector<Spent> trained_;
  std::int64_t unsaved_ = 0;
  std::int64_t in_cycle_ = 0;
  std::int64_t in_step_ = 0;
  std::int64_t checkpoint_ = 0;
  std::int64_t lost_ = 0;
};

}  // namespace

TEST_CASE("progress by spans is progress millisecond by millisecond", "[sim][progress]") {
  tests::Dice dice(22);
  for (int trial = 0; trial < 300; ++trial) {
    const std::int64_t interval = dice.between(1, 60);
    const std::int64_t cost = dice.between(0, 10);
    const std::int64_t step = dice.between(1, 12);
    Progress progress({.interval = SimTime{interval}, .cost = SimTime{cost}}, SimTime{step});
    SlowProgress slow(interval, cost, step);
    GpuTimeLedger ledger;
    for (int i = 0; i < 40; ++i) {
      const std::int64_t span = dice.between(0, dice.one_in(4) ? 300 : 20);
      const std::int64_t active = dice.between(1, kJobGpus);
      const std::int64_t useful = dice.between(0, active);
      const double throughput = static_cast<double>(useful) / kJobGpus;  // exact: 64 is 2^6
      progress.run(SimTime{span}, throughput, active, kJobGpus, ledger);
      slow.run(span, useful, active);
      if (dice.one_in(3)) {
        progress.roll_back(ledger);
        slow.roll_back();
      } else if (dice.one_in(3)) {
        progress.drop_step(ledger);
        slow.drop_step();
      }
      REQUIRE(ledger == slow.ledger());
      const auto kept = static_cast<double>(ledger.gpu_ms(Cause::useful)) / kJobGpus;
      REQUIRE(progress.kept_work() == Approx(kept).margin(1e-9));
    }
  }
}

TEST_CASE("work never counts for more than the GPUs that did it", "[sim][progress]") {
  Progress progress({}, SimTime{10});
  GpuTimeLedger ledger;
  progress.run(SimTime{100}, 1.0, 60, kJobGpus, ledger);  // boosted: the whole batch on 60 of 64
  CHECK(ledger.gpu_ms(Cause::useful) == 6000);
  CHECK(ledger.gpu_ms(Cause::degraded) == 0);
  CHECK(progress.kept_work() == 100.0);
}

TEST_CASE("progress without checkpoints rolls back to the start, and steps take time",
          "[sim][progress]") {
  Progress progress({.interval = kNever, .cost = SimTime{5}}, SimTime{7});
  GpuTimeLedger ledger;
  progress.run(to_sim_time(Days{36500}), 1.0, kJobGpus, kJobGpus, ledger);
  CHECK(ledger.gpu_ms(Cause::checkpoint) == 0);
  progress.roll_back(ledger);
  CHECK(ledger.gpu_ms(Cause::useful) == 0);
  CHECK(progress.kept_work() == 0.0);
  CHECK_THROWS_AS(Progress({.interval = SimTime{0}}, SimTime{7}), InvalidArgument);
  CHECK_THROWS_AS(Progress({.interval = SimTime{1}, .cost = SimTime{-1}}, SimTime{7}),
                  InvalidArgument);
  CHECK_THROWS_AS(Progress({}, SimTime{0}), InvalidArgument);
}
