#include "sim/stragglers.hpp"

#include <algorithm>

namespace runflat::sim {
namespace {

bool overlap(ComponentRange a, ComponentRange b) {
  return a.first < b.first + b.num && b.first < a.first + a.num;
}

}  // namespace

std::int32_t Stragglers::begin(const Slowdown& slowdown) {
  const Fault place{.component = slowdown.component, .blast_radius = slowdown.blast_radius};
  slow_.push_back({.number = next_number_,
                   .resource = slowdown.resource,
                   .speed = slowdown.speed,
                   .gpus = components_hit(place, shape_, BlastRadius::gpu)});
  return next_number_++;
}

void Stragglers::end(std::int32_t number) {
  std::erase_if(slow_, [&](const Slow& slow) { return slow.number == number; });
}

double Stragglers::pace(const SitePool& pool) const {
  double pace = 1.0;
  for (const Slow& slow : slow_) {
    if (!pool.hits_active(slow.gpus)) {
      continue;
    }
    double speed = 1.0;
    for (const Slow& other : slow_) {
      const bool same = other.resource == slow.resource;
      speed *= same && overlap(slow.gpus, other.gpus) ? other.speed : 1.0;
    }
    const double share = slow.resource == Resource::compute ? shares_.compute : shares_.network;
    pace = std::min(pace, 1.0 / (1.0 - share + share / speed));
  }
  return pace;
}

}  // namespace runflat::sim
