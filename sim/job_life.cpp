#include "sim/job_life.hpp"

#include "core/error.hpp"
#include "sim/census_cache.hpp"
#include "sim/event_queue.hpp"
#include "sim/progress.hpp"

#include <algorithm>

namespace runflat::sim {
namespace {

enum class Mode : std::uint8_t { running, detecting, recovering, waiting };

/// A fault is repaired (`fault` set), or a phase of a recovery ends.
struct Event {
  const Fault* fault = nullptr;
  std::int32_t generation = 0;
};

/// What the time up to the next event needs to know of an operation.
struct Standing {
  double throughput = 0.0;
  std::int64_t num_spare_sites = 0;
  std::int32_t variant = 0;
};

class JobLife {
 public:
  JobLife(const JobSpec& job, const FaultTimeline& faults)
      : job_(job),
        duration_(faults.duration),
        num_job_gpus_(static_cast<std::int64_t>(job.sites.num_job_sites) * job.sites.tp),
        pool_(job.sites),
        progress_(job.checkpoint, job.step_time),
        faults_(faults.faults) {
    while (next_fault_ < faults_.size() && faults_[next_fault_].begin < SimTime::zero()) {
      warm_up(faults_[next_fault_++]);
    }
    adopt(replan());
    mode_ = standing_.throughput > 0.0 ? Mode::running : Mode::waiting;
    measure_spares();
  }

  /// Of events at one moment, faults come first.
  JobOutcome run() {
    for (; next_fault_ < faults_.size() && faults_[next_fault_].begin < duration_; ++next_fault_) {
      const Fault& fault = faults_[next_fault_];
      if (is_owned(fault)) {
        take_events(fault.begin - SimTime{1});
        advance(fault.begin);
        fault_begins(fault);
      }
    }
    take_events(duration_);
    advance(duration_);
    outcome_.goodput = progress_.kept_work() / static_cast<double>(duration_.count());
    outcome_.availability =
        static_cast<double>(up_.count()) / static_cast<double>(duration_.count());
    return std::move(outcome_);
  }

 private:
  [[nodiscard]] bool is_owned(const Fault& fault) const {
    return fault.blast_radius == BlastRadius::job ||
           fault.component < job_.sites.cluster.num_components(fault.blast_radius);
  }

  /// Down from the start.
  void warm_up(const Fault& fault) {
    if (is_owned(fault) && fault.end > SimTime::zero() && fault.blast_radius != BlastRadius::job) {
      pool_.fail(fault);
      schedule_repair(fault);
    }
  }

  void take_events(SimTime end) {
    run_events(events_, end, [&](SimTime time, const Event& event, EventQueue<Event>&) {
      advance(time);
      handle(event);
    });
  }

  void schedule_repair(const Fault& fault) {
    if (fault.end < duration_) {
      events_.push(fault.end, {.fault = &fault});
    }
  }

  void handle(const Event& event) {
    if (event.fault == nullptr) {
      if (event.generation == generation_) {
        next_phase();
      }
    } else {
      pool_.repair(*event.fault);
      is_up_to_date_ = false;
      repaired();
      measure_spares();
    }
  }

  void fault_begins(const Fault& fault) {
    if (fault.blast_radius == BlastRadius::job) {
      if (mode_ != Mode::waiting) {
        interrupt(fault, Change::software_fault);
      }
      return;
    }
    const bool hit_active = pool_.fail(fault);
    schedule_repair(fault);
    measure_spares();
    adopt(replan());
    if (hit_active && mode_ != Mode::waiting) {
      interrupt(fault, Change::hardware_fault);
    } else if (standing_.throughput <= 0.0 && mode_ != Mode::waiting) {
      enter(Mode::waiting);
    }
  }

  void interrupt(const Fault& fault, Change change) {
    ++outcome_.num_interruptions;
    if (job_.cost_of(change, standing_.variant).rolls_back) {
      progress_.roll_back(outcome_.ledger);
    } else {
      progress_.drop_step(outcome_.ledger);
    }
    if (standing_.throughput <= 0.0) {
      enter(Mode::waiting);
      return;
    }
    change_ = change;
    enter(Mode::detecting);
    end_phase_after(fault.detection == Detection::crash ? job_.detect_crash : job_.detect_hang);
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

  /// Takes an operation that is no worse than the present one; a faster one costs a rejoin.
  void improve() {
    if (is_up_to_date_) {
      return;
    }
    const Operation& next = replan();
    constexpr double kNoise = 1e-9;
    const bool faster = next.throughput > standing_.throughput + kNoise;
    if (next.throughput >= standing_.throughput) {
      adopt(next);
    }
    if (faster) {
      ++outcome_.num_rejoins;
      recover(Change::rejoin);
    }
  }

  void recover(Change change) {
    change_ = change;
    enter(Mode::recovering);
    end_phase_after(job_.cost_of(change, standing_.variant).pause);
  }

  void next_phase() {
    if (mode_ == Mode::detecting) {
      recover(change_);
    } else if (mode_ == Mode::recovering) {
      enter(Mode::running);
      improve();
    }
  }

  void enter(Mode mode) {
    mode_ = mode;
    ++generation_;
  }

  void end_phase_after(SimTime span) { events_.push(now_ + span, {.generation = generation_}); }

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
      const SimTime bucket_end = end_of_bucket();
      const SimTime next = std::min(to, bucket_end);
      charge(next - now_);
      now_ = next;
      if (now_ == bucket_end) {
        close_bucket();
      }
    }
  }

  void charge(SimTime span) {
    const std::int64_t failed = pool_.num_failed_gpus();
    const std::int64_t spare = standing_.num_spare_sites * job_.sites.tp;
    const std::int64_t active = pool_.num_active_gpus();
    GpuTimeLedger& ledger = outcome_.ledger;
    ledger.add(Cause::failed, failed, span);
    ledger.add(Cause::spare, spare, span);
    const std::int64_t rest = pool_.num_gpus() - failed - spare;
    switch (mode_) {
      case Mode::running:
        ledger.add(Cause::idle, rest - active, span);
        progress_.run(span, standing_.throughput, active, num_job_gpus_, ledger);
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

  /// Buckets differ by a millisecond at most.
  [[nodiscard]] SimTime end_of_bucket() const {
    const auto number = static_cast<std::int64_t>(outcome_.goodput_by_bucket.size()) + 1;
    return duration_ / job_.num_buckets * number +
           duration_ % SimTime{job_.num_buckets} * number / job_.num_buckets;
  }

  void close_bucket() {
    const SimTime span = now_ - bucket_begin_;
    outcome_.goodput_by_bucket.push_back((progress_.kept_work() - kept_at_bucket_begin_) /
                                         static_cast<double>(span.count()));
    bucket_begin_ = now_;
    kept_at_bucket_begin_ = progress_.kept_work();
  }

  const JobSpec& job_;
  SimTime duration_;
  std::int64_t num_job_gpus_;
  SitePool pool_;
  Progress progress_;
  const std::vector<Fault>& faults_;
  std::size_t next_fault_ = 0;
  EventQueue<Event> events_;
  CensusCache<Operation> operations_;
  CensusCache<std::int64_t> needs_;
  Standing standing_;
  bool is_up_to_date_ = false;  // the present operation was made for the present census
  Mode mode_ = Mode::running;
  Change change_ = Change::resume;
  std::int32_t generation_ = 0;
  std::int64_t spares_needed_ = 0;
  SimTime now_{};
  SimTime up_{};
  SimTime bucket_begin_{};
  double kept_at_bucket_begin_ = 0.0;
  JobOutcome outcome_;
};

}  // namespace

JobOutcome simulate_job(const JobSpec& job, const FaultTimeline& faults) {
  require(job.num_buckets >= 1 && faults.duration.count() >= job.num_buckets,
          "a simulation takes at least a millisecond for each bucket");
  require(job.sites.cluster.gpus_per_node == faults.shape.gpus_per_node &&
              job.sites.cluster.domain_size == faults.shape.domain_size &&
              job.sites.cluster.num_nodes <= faults.shape.num_nodes,
          "the faults must be of a cluster that contains the job's");
  return JobLife(job, faults).run();
}

}  // namespace runflat::sim
