#include "sim/job_life.hpp"

#include "core/error.hpp"
#include "sim/census_cache.hpp"
#include "sim/checkpoint_interval.hpp"
#include "sim/event_queue.hpp"
#include "sim/goodput_buckets.hpp"
#include "sim/portable_math.hpp"
#include "sim/progress.hpp"

#include <algorithm>
#include <utility>

namespace runflat::sim {
namespace {

enum class Mode : std::uint8_t { running, detecting, recovering, waiting };

enum class Ending : std::uint8_t { phase, repair, slowdown };

/// What ends at a moment: a phase of a recovery (`number` is its generation), the repair of a
/// component, or a straggler's slow time.
struct Event {
  std::int32_t number = 0;
  Ending ending = Ending::phase;
  BlastRadius blast_radius = BlastRadius::gpu;
};

/// What the time up to the next event needs to know of an operation.
struct Standing {
  double throughput = 0.0;
  std::int64_t num_spare_sites = 0;
  std::int32_t variant = 0;
};

}  // namespace

class JobLife::Life {
 public:
  Life(const JobSpec& job, SimTime duration)
      : job_(job),
        duration_(duration),
        num_job_gpus_(static_cast<std::int64_t>(job.sites.num_job_sites) * job.sites.tp),
        pool_(job.sites),
        progress_(job.checkpoint, job.step_time),
        buckets_(duration, job.num_buckets),
        stragglers_(job.sites.cluster, job.step_shares),
        mean_gap_(job.checkpoint.first_mean_gap) {}

  /// Of events at one moment, what begins comes first.
  void live_through(const FaultWindow& window) {
    Beginnings beginnings(window);
    for (SimTime time = beginnings.next(); time < duration_; time = beginnings.next()) {
      if (time >= SimTime::zero()) {
        start();
      }
      beginnings.take([&](const auto& item) {
        if (is_owned(item)) {
          begin(item);
        }
      });
    }
  }

  JobOutcome finish() {
    start();
    take_events(duration_);
    advance(duration_);
    outcome_.goodput = progress_.kept_work() / static_cast<double>(duration_.count());
    outcome_.goodput_by_bucket = std::move(buckets_).take();
    outcome_.availability =
        static_cast<double>(up_.count()) / static_cast<double>(duration_.count());
    return std::move(outcome_);
  }

 private:
  template <typename Item>
  [[nodiscard]] bool is_owned(const Item& item) const {
    return item.blast_radius == BlastRadius::job ||
           item.component < job_.sites.cluster.num_components(item.blast_radius);
  }

  /// The warm-up is over.
  void start() {
    if (has_started_) {
      return;
    }
    has_started_ = true;
    adopt(replan());
    mode_ = standing_.throughput > 0.0 ? Mode::running : Mode::waiting;
    measure_spares();
  }

  void begin(const Fault& fault) {
    if (has_started_) {
      move_to(fault.begin);
      fault_begins(fault);
    } else if (fault.end > SimTime::zero() && fault.blast_radius != BlastRadius::job) {
      pool_.fail(fault);
      schedule_repair(fault);
    }
    if (fault.silent_for.count() > 0) {
      progress_.end_corruption(fault.begin - fault.silent_for);
    }
  }

  void begin(const Slowdown& slowdown) {
    move_to(slowdown.begin);
    if (slowdown.end > now_) {
      events_.push(slowdown.end,
                   {.number = stragglers_.begin(slowdown), .ending = Ending::slowdown});
    }
  }

  void begin(const Corruption& corruption) {
    move_to(corruption.begin);
    progress_.begin_corruption(corruption.begin);
  }

  void take_events(SimTime end) {
    run_events(events_, end, [&](SimTime time, const Event& event, EventQueue<Event>&) {
      advance(time);
      handle(event);
    });
  }

  void move_to(SimTime time) {
    if (has_started_) {
      take_events(time - SimTime{1});
      advance(time);
    }
  }

  void schedule_repair(const Fault& fault) {
    if (fault.end < duration_) {
      events_.push(fault.end,
                   {.number = fault.component,
                    .ending = Ending::repair,
                    .blast_radius = fault.blast_radius});
    }
  }

  void handle(const Event& event) {
    switch (event.ending) {
      case Ending::phase:
        if (event.number == generation_) {
          next_phase();
        }
        break;
      case Ending::slowdown:
        stragglers_.end(event.number);
        break;
      case Ending::repair:
        pool_.repair({.component = event.number, .blast_radius = event.blast_radius});
        is_up_to_date_ = false;
        repaired();
        measure_spares();
        break;
    }
  }

  void fault_begins(const Fault& fault) {
    if (fault.blast_radius == BlastRadius::job) {
      if (mode_ != Mode::waiting) {
        adopt(replan());  // every process starts anew
        interrupt(fault, Change::software_fault);
      }
      return;
    }
    const bool hit_active = pool_.fail(fault);
    schedule_repair(fault);
    measure_spares();
    if (hit_active && mode_ != Mode::waiting) {
      adopt(replan());
      interrupt(fault, Change::hardware_fault);
    } else {
      lose_reserve();
    }
  }

  /// Hardware was lost that played no role.
  void lose_reserve() {
    const Operation& next = replan();
    const bool is_another = next.variant != standing_.variant || is_faster(next);
    if (mode_ == Mode::running && is_another && next.throughput > 0.0) {
      is_up_to_date_ = false;
      improve();
      return;
    }
    adopt(next);
    if (standing_.throughput <= 0.0 && mode_ != Mode::waiting) {
      enter(Mode::waiting);
    }
  }

  void interrupt(const Fault& fault, Change change) {
    ++outcome_.num_interruptions;
    pause_ = lose_work(fault, job_.cost_of(change, standing_.variant));
    if (standing_.throughput <= 0.0) {
      enter(Mode::waiting);
      return;
    }
    enter(Mode::detecting);
    end_phase_after(detection_time(fault.detection));
  }

  /// Returns the pause that follows.
  [[nodiscard]] SimTime lose_work(const Fault& fault, const ChangeCost& cost) {
    if (fault.detection == Detection::planned) {
      return cost.pause + (cost.rolls_back ? job_.checkpoint.cost : SimTime::zero());
    }
    if (fault.silent_for.count() > 0) {
      progress_.undo_corruption(fault.begin - fault.silent_for, outcome_.ledger);
      return std::max(cost.pause, job_.cost_of(Change::software_fault).pause);
    }
    if (!cost.rolls_back) {
      progress_.drop_step(outcome_.ledger);
      return cost.pause;
    }
    if (job_.checkpoint.survives_in_memory(fault.blast_radius)) {
      progress_.roll_back_to_snapshot(outcome_.ledger);
      return cost.pause_from_memory;
    }
    progress_.roll_back(outcome_.ledger);
    adapt_interval();
    return cost.pause;
  }

  /// Follows the mean time between roll-backs.
  void adapt_interval() {
    if (mean_gap_.count() == 0) {
      return;
    }
    mean_gap_ = std::max(mean_gap_ + (now_ - last_roll_back_ - mean_gap_) / 8, SimTime{1});
    last_roll_back_ = now_;
    const Seconds cost = std::max(to_seconds(job_.checkpoint.cost), Seconds{1e-3});
    const SimTime young = to_sim_time(young_interval(cost, to_seconds(mean_gap_)));
    progress_.set_interval(std::clamp(young, SimTime{1}, job_.checkpoint.interval));
  }

  [[nodiscard]] SimTime detection_time(Detection detection) const {
    switch (detection) {
      case Detection::crash:
        return job_.detect_crash;
      case Detection::hang:
        return job_.detect_hang;
      case Detection::timeout:
        return job_.detect_timeout;
      case Detection::planned:
        return SimTime::zero();
    }
    return SimTime::zero();
  }

  void repaired() {
    if (mode_ == Mode::waiting) {
      adopt(replan());
      if (standing_.throughput > 0.0) {
        recover(Change::resume);
      }
    } else if (mode_ == Mode::running) {
      improve();
    }
  }

  [[nodiscard]] bool is_faster(const Operation& next) const {
    constexpr double kNoise = 1e-9;
    return next.throughput > standing_.throughput + kNoise;
  }

  /// Whether a faster operation makes up for its pause. The next interruption takes the job into it
  /// anyway, so what counts is the work up to then, at rate r, or up to the end in L: that of the
  /// standing operation is worth w (1 - exp(-r L)) / r, and a pause p, which must be survived,
  /// leaves w exp(-r p) (1 - exp(-r (L - p))) / r of the next one. w is the throughput in the time
  /// that faults leave.
  [[nodiscard]] bool pays(const Operation& next) const {
    const Interruptions& stops = job_.interruptions;
    const std::int64_t active = pool_.num_active_gpus();
    const double rate = stops.per_second(active);
    if (rate <= 0.0) {
      return true;
    }
    const auto expected = [&](double throughput, std::int64_t num_active, SimTime pause) {
      const SimTime left = std::max(duration_ - now_ - pause, SimTime::zero());
      return throughput * stops.time_left(num_active) *
             portable_exp(-rate * to_seconds(pause).count()) *
             (1.0 - portable_exp(-rate * to_seconds(left).count()));
    };
    const SimTime pause = job_.cost_of(Change::rejoin, next.variant).pause;
    return expected(next.throughput, next.num_active_gpus(), pause) >
           expected(standing_.throughput, active, SimTime::zero());
  }

  /// Takes an operation that is no worse than the present one; a faster one costs a rejoin.
  void improve() {
    if (is_up_to_date_) {
      return;
    }
    const Operation& next = replan();
    if (is_faster(next)) {
      if (pays(next)) {
        adopt(next);
        ++outcome_.num_rejoins;
        recover(Change::rejoin);
      }
    } else if (next.throughput >= standing_.throughput && next.variant == standing_.variant) {
      adopt(next);
    }
  }

  void recover(Change change) {
    pause_ = job_.cost_of(change, standing_.variant).pause;
    pause();
  }

  void pause() {
    enter(Mode::recovering);
    end_phase_after(pause_);
  }

  void next_phase() {
    if (mode_ == Mode::detecting) {
      pause();
    } else if (mode_ == Mode::recovering) {
      enter(Mode::running);
      improve();
    }
  }

  void enter(Mode mode) {
    mode_ = mode;
    ++generation_;
  }

  void end_phase_after(SimTime span) { events_.push(now_ + span, {.number = generation_}); }

  [[nodiscard]] const Operation& replan() { return operations_.find(pool_.counts(), job_.replan); }

  void adopt(const Operation& operation) {
    standing_ = {.throughput = operation.throughput,
                 .num_spare_sites = operation.num_spare_sites,
                 .variant = operation.variant};
    pool_.apply(operation);
    is_up_to_date_ = true;
  }

  void measure_spares() { spares_needed_ = needs_.find(pool_.job_counts(), job_.spares_needed); }

  /// Charges the time up to `to`, bucket by bucket.
  void advance(SimTime to) {
    while (now_ < to) {
      const SimTime next = std::min(to, buckets_.end());
      charge(next - now_);
      now_ = next;
      if (now_ == buckets_.end()) {
        buckets_.close(progress_.kept_work());
      }
    }
  }

  void charge(SimTime span) {
    const std::int64_t failed = pool_.num_failed_gpus();
    const std::int64_t active = pool_.num_active_gpus();
    const std::int64_t spare =
        std::min(standing_.num_spare_sites * job_.sites.tp, pool_.num_gpus() - failed - active);
    GpuTimeLedger& ledger = outcome_.ledger;
    ledger.add(Cause::failed, failed, span);
    ledger.add(Cause::spare, spare, span);
    const std::int64_t rest = pool_.num_gpus() - failed - spare;
    switch (mode_) {
      case Mode::running:
        ledger.add(Cause::idle, rest - active, span);
        progress_.run(
            span, standing_.throughput * stragglers_.pace(pool_), active, num_job_gpus_, ledger);
        up_ += span;
        break;
      case Mode::detecting:
        ledger.add(Cause::detection, rest, span);
        break;
      case Mode::recovering:
        ledger.add(Cause::recovery, rest, span);
        break;
      case Mode::waiting:
        ledger.add(Cause::waiting, rest, span);
        break;
    }
    auto& time = outcome_.time_by_spares_needed;
    if (time.size() <= static_cast<std::size_t>(spares_needed_)) {
      time.resize(static_cast<std::size_t>(spares_needed_) + 1);
    }
    time[static_cast<std::size_t>(spares_needed_)] += span;
  }

  const JobSpec& job_;
  SimTime duration_;
  std::int64_t num_job_gpus_;
  SitePool pool_;
  Progress progress_;
  GoodputBuckets buckets_;
  Stragglers stragglers_;
  EventQueue<Event> events_;
  CensusCache<Operation> operations_;
  CensusCache<std::int64_t> needs_;
  Standing standing_;
  bool is_up_to_date_ = false;  // the present operation was made for the present census
  bool has_started_ = false;
  Mode mode_ = Mode::running;
  SimTime pause_{};  // after the detection that is under way
  SimTime mean_gap_{};
  SimTime last_roll_back_{};
  std::int32_t generation_ = 0;
  std::int64_t spares_needed_ = 0;
  SimTime now_{};
  SimTime up_{};
  JobOutcome outcome_;
};

JobLife::JobLife(const JobSpec& job, const ClusterShape& shape, SimTime duration)
    : life_(std::make_unique<Life>(job, duration)) {
  require(job.sites.cluster.gpus_per_node == shape.gpus_per_node &&
              job.sites.cluster.domain_size == shape.domain_size &&
              job.sites.cluster.num_nodes <= shape.num_nodes,
          "the faults must be of a cluster that contains the job's");
}

JobLife::~JobLife() = default;
JobLife::JobLife(JobLife&&) noexcept = default;
JobLife& JobLife::operator=(JobLife&&) noexcept = default;

void JobLife::live_through(const FaultWindow& window) {
  life_->live_through(window);
}

JobOutcome JobLife::finish() && {
  return life_->finish();
}

JobOutcome simulate_job(const JobSpec& job, const FaultTimeline& faults) {
  JobLife life(job, faults.shape, faults.duration);
  life.live_through(whole_window(faults, corruptions_of(faults.faults)));
  return std::move(life).finish();
}

}  // namespace runflat::sim
