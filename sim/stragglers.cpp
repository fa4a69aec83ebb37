#include "sim/stragglers.hpp"

#include <algorithm>

namespace runflat::sim {
namespace {

bool overlap(ComponentRange a, ComponentRange b) {
  return a.first < b.first + b.num && b.first < a.first + a.num;
}

}  // namespace

void Stragglers::begin(const Slowdown& slowdown) {
  const Fault place{.component = slowdown.component, .blast_radius = slowdown.blast_radius};
  slow_.push_back({&slowdown, components_hit(place, shape_, BlastRadius::gpu)});
}

void Stragglers::end(const Slowdown& slowdown) {
  std::erase_if(slow_, [&](const Slow& slow) { return slow.slowdown == &slowdown; });
}

double Stragglers::pace(const SitePool& pool) const {
  double pace = 1.0;
  for (const Slow& slow : slow_) {
    if (!pool.hits_active(slow.gpus)) {
      continue;
    }
    double speed = 1.0;
    for (const Slow& other : slow_) {
      const bool same = other.slowdown->resource == slow.slowdown->resource;
      speed *= same && overlap(slow.gpus, other.gpus) ? other.slowdown->speed : 1.0;
    }
    const double share =
        slow.slowdown->resource == Resource::compute ? shares_.compute : shares_.network;
    pace = std::min(pace, 1.0 / (1.0 - share + share / speed));
  }
  return pace;
}

}  // namespace runflat::sim
