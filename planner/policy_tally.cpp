#include "planner/policy_tally.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <numeric>

namespace runflat::planner {

void PolicyTally::add(const sim::JobOutcome& outcome) {
  goodputs_.push_back(outcome.goodput);
  availabilities_.push_back(outcome.availability);
  peak_spares_.push_back(static_cast<double>(add_spares_needed(outcome)));
  for (std::size_t cause = 0; cause < sim::kNumCauses; ++cause) {
    gpu_hours_[cause] += outcome.ledger.gpu_hours(static_cast<sim::Cause>(cause));
  }
  owned_gpu_hours_ += static_cast<double>(outcome.ledger.total_gpu_ms()) / 3.6e6;
  num_interruptions_ += outcome.num_interruptions;
  num_rejoins_ += outcome.num_rejoins;
  goodput_by_bucket_.resize(outcome.goodput_by_bucket.size(), 0.0);
  for (std::size_t bucket = 0; bucket < goodput_by_bucket_.size(); ++bucket) {
    goodput_by_bucket_[bucket] += outcome.goodput_by_bucket[bucket];
  }
}

std::int64_t PolicyTally::add_spares_needed(const sim::JobOutcome& outcome) {
  const auto per_domain = static_cast<std::size_t>(sites_per_domain_);
  std::size_t peak = 0;
  for (std::size_t sites = 0; sites < outcome.time_by_spares_needed.size(); ++sites) {
    const std::int64_t span = outcome.time_by_spares_needed[sites].count();
    if (span > 0) {
      peak = (sites + per_domain - 1) / per_domain;
      time_by_domains_.resize(std::max(time_by_domains_.size(), peak + 1), 0);
      time_by_domains_[peak] += span;
    }
  }
  return static_cast<std::int64_t>(peak);
}

std::vector<double> PolicyTally::full_batch_share() const {
  std::vector<std::int64_t> covered(time_by_domains_.size());
  std::partial_sum(time_by_domains_.begin(), time_by_domains_.end(), covered.begin());
  std::vector<double> share;
  for (const std::int64_t time : covered) {
    share.push_back(static_cast<double>(time) / static_cast<double>(covered.back()));
  }
  return share;
}

void PolicyTally::summarise(PolicyResult& result) const {
  require(!goodputs_.empty(), "a summary of no trials");
  const auto num_trials = static_cast<double>(goodputs_.size());
  result.goodput = Summary::of(goodputs_);
  result.goodput_interval = MeanInterval::of(goodputs_);
  result.availability = Summary::of(availabilities_);
  result.peak_spares = Summary::of(peak_spares_);
  result.gpu_hours = gpu_hours_;
  for (double& hours : result.gpu_hours) {
    hours /= num_trials;
  }
  result.owned_gpu_hours = owned_gpu_hours_ / num_trials;
  result.num_interruptions = static_cast<double>(num_interruptions_) / num_trials;
  result.num_rejoins = static_cast<double>(num_rejoins_) / num_trials;
  result.goodput_by_bucket = goodput_by_bucket_;
  for (double& goodput : result.goodput_by_bucket) {
    goodput /= num_trials;
  }
  result.full_batch_share = full_batch_share();
  result.spares_for_99pct =
      std::lower_bound(result.full_batch_share.begin(), result.full_batch_share.end(), 0.99) -
      result.full_batch_share.begin();
}

}  // namespace runflat::planner
