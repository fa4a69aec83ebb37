#include "sim/recurrence_fit.hpp"

#include "core/error.hpp"
#include "sim/law_fit.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace runflat::sim {
namespace {

constexpr double kLeastSigma = 0.05;

double normal_density(double z) {
  return std::exp(-0.5 * z * z) / std::sqrt(2.0 * std::numbers::pi);
}
double normal_survival(double z) {
  return 0.5 * std::erfc(z / std::numbers::sqrt2);
}

/// Weighted sums of ln D and its square.
struct LogSums {
  double weight = 0.0;
  double first = 0.0;
  double second = 0.0;

  void add(double w, double log, double log_squared) {
    weight += w;
    first += w * log;
    second += w * log_squared;
  }
};

class Fitter {
 public:
  Fitter(const std::vector<RepairSpell>& spells,
         const std::vector<double>& arrivals,
         Days observed,
         Days horizon)
      : spells_(spells), arrivals_(arrivals), observed_(observed), horizon_(horizon) {
    for (const RepairSpell& spell : spells) {
      const double days = std::min(spell.span, horizon).count();
      logs_.push_back(std::log(std::max(days, kShortest)));
    }
    fit_.posterior.assign(spells.size(), 0.0);
  }

  RecurrenceFit run() {
    start();
    constexpr int kMostRounds = 60;
    constexpr int kStepsARound = 8;
    constexpr double kEnough = 1e-5;
    for (int round = 0; round < kMostRounds; ++round) {
      const double before = fit_.probability;
      update_rates();
      for (int step = 0; step < kStepsARound; ++step) {
        improve();
      }
      if (std::abs(fit_.probability - before) < kEnough) {
        break;
      }
    }
    return std::move(fit_);
  }

 private:
  static constexpr double kShortest = 1e-7;  // days: about the trace's resolution

  [[nodiscard]] bool may_recur(std::size_t i) const {
    return spells_[i].may_recur && spells_[i].span <= horizon_;
  }

  /// Half of the possible recurrences are.
  void start() {
    LogSums sums;
    for (std::size_t i = 0; i < spells_.size(); ++i) {
      if (may_recur(i)) {
        sums.add(1.0, logs_[i], logs_[i] * logs_[i]);
        fit_.posterior[i] = 0.5;
      }
    }
    fit_.probability = 0.5 * sums.weight / static_cast<double>(spells_.size());
    take(sums);
  }

  void take(const LogSums& sums) {
    if (sums.weight > 0.0) {
      fit_.log_median = sums.first / sums.weight;
      const double variance = sums.second / sums.weight - fit_.log_median * fit_.log_median;
      fit_.sigma = std::max(std::sqrt(std::max(variance, 0.0)), kLeastSigma);
    }
  }

  /// Of independent faults on every node, given what the spells are believed to be.
  void update_rates() {
    std::vector<double> counts = arrivals_;
    for (std::size_t i = 0; i < spells_.size(); ++i) {
      if (spells_[i].may_recur) {
        counts[spells_[i].node] += 1.0 - fit_.posterior[i];
      }
    }
    fit_.node_size = fit_negative_binomial_size(counts);
    double sum = 0.0;
    for (const double count : counts) {
      sum += count;
    }
    const double average = std::max(sum / static_cast<double>(counts.size()), 1e-12);
    rates_.resize(counts.size());
    for (std::size_t i = 0; i < counts.size(); ++i) {
      const double expected =
          fit_.node_size ? average * (*fit_.node_size + counts[i]) / (*fit_.node_size + average)
                         : average;
      rates_[i] = expected / observed_.count();
    }
  }

  void improve() {
    LogSums sums;
    double recurring = 0.0;
    for (std::size_t i = 0; i < spells_.size(); ++i) {
      const double log = logs_[i];
      const double z = (log - fit_.log_median) / fit_.sigma;
      const double survival = normal_survival(z);
      const double not_yet = 1.0 - fit_.probability * (1.0 - survival);
      double ended = 0.0;
      if (may_recur(i)) {
        const double density = fit_.probability * normal_density(z) / fit_.sigma * std::exp(-log);
        const double rate = rates_[spells_[i].node] * spells_[i].rate_share;
        ended = density / std::max(density + rate * not_yet, 1e-300);
        sums.add(ended, log, log * log);
      }
      fit_.posterior[i] = ended;
      const double pending = (1.0 - ended) * fit_.probability * survival / not_yet;
      // Moments of a normal law above z.
      const double excess = survival > 1e-12 ? normal_density(z) / survival : z;
      const double mean = fit_.log_median + fit_.sigma * excess;
      const double variance = fit_.sigma * fit_.sigma * (1.0 + z * excess - excess * excess);
      sums.add(pending, mean, mean * mean + variance);
      recurring += ended + pending;
    }
    fit_.probability = recurring / static_cast<double>(spells_.size());
    take(sums);
  }

  const std::vector<RepairSpell>& spells_;
  const std::vector<double>& arrivals_;
  Days observed_;
  Days horizon_;
  std::vector<double> logs_;
  std::vector<double> rates_;
  RecurrenceFit fit_;
};

}  // namespace

RecurrenceFit fit_recurrence(const std::vector<RepairSpell>& spells,
                             const std::vector<double>& arrivals,
                             Days observed,
                             Days horizon) {
  require(observed > Days::zero() && horizon > Days::zero(), "a fit needs time");
  require(!arrivals.empty(), "a fit needs nodes");
  for (const RepairSpell& spell : spells) {
    require(spell.node < arrivals.size() && spell.span >= Days::zero(), "a spell is of a node");
  }
  if (spells.empty()) {
    return {.node_size = fit_negative_binomial_size(arrivals), .posterior = {}};
  }
  return Fitter(spells, arrivals, observed, horizon).run();
}

}  // namespace runflat::sim
