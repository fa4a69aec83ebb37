#include "sim/progress.hpp"

#include "core/error.hpp"
#include "tests/catch.hpp"
#include "tests/dice.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
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

namespace {

/// Snapshots that go on to storage in the background, one millisecond after the other. All GPUs
/// always train.
class SlowCheckpoints {
 public:
  SlowCheckpoints(const CheckpointSchedule& schedule, std::int64_t step)
      : cycle_((schedule.interval + schedule.cost).count()),
        interval_(schedule.interval.count()),
        period_(cycle_ * schedule.snapshots_per_stored),
        background_(schedule.background.count()),
        step_(step) {}

  void run(std::int64_t span) {
    for (std::int64_t i = 0; i < span; ++i, ++now_) {
      if (in_period_ % cycle_ < interval_) {
        ++kept_;
        in_step_ = (in_step_ + 1) % step_;
      }
      ++in_period_;
      if (in_period_ % cycle_ == 0) {
        snapshot_ = kept_;
      }
      if (in_period_ == period_) {
        on_its_way_ = {now_ + 1, kept_};
        is_on_its_way_ = true;
        in_period_ = 0;
      }
      store();
    }
  }
  void wait(std::int64_t span) { now_ += span; }
  [[nodiscard]] std::int64_t now() const { return now_; }
  void roll_back() { return_to(stored_.back().second); }
  void roll_back_before(std::int64_t time) {
    while (stored_.size() > 1 && stored_.back().first > time) {
      stored_.pop_back();
    }
    roll_back();
  }
  void roll_back_to_snapshot() {
    kept_ = snapshot_;
    in_period_ -= in_period_ % cycle_;
    in_step_ = 0;
  }
  void drop_step() {
    kept_ -= std::min(in_step_, kept_ - snapshot_);
    in_step_ = 0;
  }
  [[nodiscard]] std::int64_t kept() const { return kept_; }

 private:
  void store() {
    if (is_on_its_way_ && in_period_ >= background_) {
      stored_.push_back(on_its_way_);
      is_on_its_way_ = false;
    }
  }
  void return_to(std::int64_t kept) {
    kept_ = kept;
    snapshot_ = kept;
    in_period_ = 0;
    in_step_ = 0;
    is_on_its_way_ = false;
  }

  std::int64_t cycle_;
  std::int64_t interval_;
  std::int64_t period_;
  std::int64_t background_;
  std::int64_t step_;
  std::int64_t now_ = 0;
  std::int64_t kept_ = 0;
  std::int64_t snapshot_ = 0;
  std::int64_t in_period_ = 0;
  std::int64_t in_step_ = 0;
  std::vector<std::pair<std::int64_t, std::int64_t>> stored_{{0, 0}};  // when taken, what was kept
  std::pair<std::int64_t, std::int64_t> on_its_way_;
  bool is_on_its_way_ = false;
};

}  // namespace

TEST_CASE("asynchronous and in-memory checkpoints keep what had arrived", "[sim][progress]") {
  tests::Dice dice(24);
  for (int trial = 0; trial < 400; ++trial) {
    CheckpointSchedule schedule{.interval = SimTime{dice.between(1, 60)},
                                .cost = SimTime{dice.between(0, 10)},
                                .snapshots_per_stored = dice.between(1, 4)};
    const SimTime period = (schedule.interval + schedule.cost) * schedule.snapshots_per_stored;
    schedule.background = SimTime{dice.between(0, period.count() - 1)};
    const std::int64_t step = dice.between(1, 12);
    Progress progress(schedule, SimTime{step});
    std::vector<std::int64_t> corruptions;
    SlowCheckpoints slow(schedule, step);
    GpuTimeLedger ledger;
    std::int64_t trained_and_blocked = 0;
    CAPTURE(schedule.interval.count(), schedule.cost.count(), schedule.background.count());
    CAPTURE(schedule.snapshots_per_stored, step);
    for (int i = 0; i < 60; ++i) {
      const std::int64_t span = dice.between(0, dice.one_in(4) ? 500 : 30);
      const std::int64_t active = dice.between(1, kJobGpus);
      progress.run(SimTime{span}, 1.0, active, kJobGpus, ledger);
      slow.run(span);
      trained_and_blocked += span * active;
      slow.wait(dice.between(0, 40));
      switch (dice.between(0, 8)) {
        case 0:
          progress.roll_back(ledger);
          slow.roll_back();
          break;
        case 1:
          progress.roll_back_to_snapshot(ledger);
          slow.roll_back_to_snapshot();
          break;
        case 2:
          progress.drop_step(ledger);
          slow.drop_step();
          break;
        case 3:
        case 4:
          corruptions.push_back(slow.now());
          progress.begin_corruption(SimTime{slow.now()});
          break;
        case 5:
          if (!corruptions.empty()) {
            const auto found =
                corruptions.begin() + static_cast<std::ptrdiff_t>(dice.index(corruptions.size()));
            progress.undo_corruption(SimTime{*found}, ledger);
            progress.end_corruption(SimTime{*found});
            slow.roll_back_before(*found);
            corruptions.erase(found);
          }
          break;
        default:
          break;
      }
      REQUIRE(progress.kept_work() == static_cast<double>(slow.kept()));
      REQUIRE(ledger.total_gpu_ms() == trained_and_blocked);
    }
  }
}

TEST_CASE("checkpoints that cannot be stored in time are taken less often", "[sim][progress]") {
  // 100 ms to storage: every 10 ms would be too often, so every 101 ms; of the two snapshots at
  // 101 and 202 ms the second is on its way at 250 ms.
  Progress progress({.interval = SimTime{10}, .background = SimTime{100}}, SimTime{1});
  GpuTimeLedger ledger;
  progress.run(SimTime{250}, 1.0, kJobGpus, kJobGpus, ledger);
  progress.roll_back(ledger);
  CHECK(progress.kept_work() == 101.0);
  CHECK_THROWS_AS(Progress({.interval = SimTime{1}, .background = SimTime{-1}}, SimTime{7}),
                  InvalidArgument);
  CHECK_THROWS_AS(Progress({.interval = SimTime{1}, .snapshots_per_stored = 0}, SimTime{7}),
                  InvalidArgument);
  CHECK_THROWS_AS(progress.undo_corruption(SimTime{1}, ledger), InvalidArgument);
}
