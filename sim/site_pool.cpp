#include "sim/site_pool.hpp"

#include "core/error.hpp"

#include <algorithm>

namespace runflat::sim {

SitePool::SitePool(const SiteShape& shape)
    : shape_(shape),
      down_(static_cast<std::size_t>(shape.cluster.num_gpus()), 0),
      domains_(static_cast<std::size_t>(shape.cluster.num_domains())),
      degree_(static_cast<std::size_t>(shape.num_sites()), 0),
      full_degree_(shape.tp) {
  require_valid(shape.cluster);
  require(shape.tp >= 1 && shape.tp <= shape.cluster.domain_size,
          "a TP group must fit into one NVLink domain");
  require(shape.cluster.num_gpus() % shape.cluster.domain_size == 0,
          "sites are of whole NVLink domains");
  require(shape.num_job_sites >= 1 && shape.num_job_sites <= shape.num_sites(),
          "the job must fit onto the cluster");
  for (std::int32_t site = 0; site < shape_.num_sites(); ++site) {
    if (site < shape_.num_job_sites) {
      set_role(site, shape_.tp);
    } else {
      not_full_.push_back(site);
    }
  }
}

std::int32_t SitePool::num_lost(std::int32_t site) const {
  const std::int32_t per_domain = shape_.sites_per_domain();
  const std::int32_t beyond = shape_.cluster.domain_size - per_domain * shape_.tp;
  const std::int32_t place_from_last = per_domain - 1 - site % per_domain;
  const std::int32_t lost = domains_[static_cast<std::size_t>(site / per_domain)].num_down - beyond;
  return std::clamp(lost - place_from_last * shape_.tp, 0, shape_.tp);
}

bool SitePool::is_active(std::int32_t gpu) const {
  const std::int32_t domain = gpu / shape_.cluster.domain_size;
  std::int32_t healthy_before = 0;
  for (std::int32_t other = domain * shape_.cluster.domain_size; other < gpu; ++other) {
    healthy_before += down_[static_cast<std::size_t>(other)] == 0 ? 1 : 0;
  }
  return down_[static_cast<std::size_t>(gpu)] == 0 &&
         healthy_before < domains_[static_cast<std::size_t>(domain)].num_active;
}

void SitePool::set_role(std::int32_t site, std::int32_t degree) {
  std::int32_t& current = degree_[static_cast<std::size_t>(site)];
  domains_[static_cast<std::size_t>(site / shape_.sites_per_domain())].num_active +=
      degree - current;
  num_active_gpus_ += degree - current;
  current = degree;
}

bool SitePool::fail(const Fault& fault) {
  const ComponentRange gpus = components_hit(fault, shape_.cluster, BlastRadius::gpu);
  bool hit_active = false;
  for (std::int32_t gpu = gpus.first; gpu < gpus.first + gpus.num && !hit_active; ++gpu) {
    hit_active = is_active(gpu);
  }
  add_down(fault, 1);
  return hit_active;
}

void SitePool::repair(const Fault& fault) {
  add_down(fault, -1);
}

void SitePool::add_down(const Fault& fault, std::int32_t change) {
  const ComponentRange gpus = components_hit(fault, shape_.cluster, BlastRadius::gpu);
  for (std::int32_t gpu = gpus.first; gpu < gpus.first + gpus.num; ++gpu) {
    std::uint16_t& count = down_[static_cast<std::size_t>(gpu)];
    const bool was_down = count > 0;
    count = static_cast<std::uint16_t>(count + change);
    const std::int32_t newly_down = (count > 0 ? 1 : 0) - (was_down ? 1 : 0);
    domains_[static_cast<std::size_t>(gpu / shape_.cluster.domain_size)].num_down += newly_down;
    num_failed_gpus_ += newly_down;
  }
  const ComponentRange hit = components_hit(fault, shape_.cluster, BlastRadius::domain);
  for (std::int32_t domain = hit.first; domain < hit.first + hit.num; ++domain) {
    update_sites(domain);
  }
}

/// Puts the sites of a domain where they now belong: among the damaged, or among the healthy ones
/// below the full degree. A site that lost GPUs keeps a role only as far as its GPUs reach.
void SitePool::update_sites(std::int32_t domain) {
  const std::int32_t per_domain = shape_.sites_per_domain();
  const std::int32_t first = domain * per_domain;
  const auto in_domain = [&](std::int32_t site) {
    return site >= first && site < first + per_domain;
  };
  std::erase_if(damaged_, in_domain);
  std::erase_if(not_full_, in_domain);
  for (std::int32_t site = first; site < first + per_domain; ++site) {
    const std::int32_t lost = num_lost(site);
    const std::int32_t degree = degree_[static_cast<std::size_t>(site)];
    set_role(site, std::min(degree, shape_.tp - lost));
    if (lost > 0) {
      const auto place = std::find_if(damaged_.begin(), damaged_.end(), [&](std::int32_t other) {
        return num_lost(other) < lost || (num_lost(other) == lost && other > site);
      });
      damaged_.insert(place, site);
    } else if (degree < full_degree_) {
      not_full_.insert(std::lower_bound(not_full_.begin(), not_full_.end(), site), site);
    }
  }
}

SiteCensus SitePool::census_of(std::int32_t num_sites, std::int64_t num_damaged) const {
  SiteCensus census;
  census.num_healthy = num_sites - num_damaged;
  census.num_lost.reserve(static_cast<std::size_t>(num_damaged));
  for (const std::int32_t site : damaged_) {
    if (site < num_sites) {
      census.num_lost.push_back(num_lost(site));
    }
  }
  return census;
}

SiteCensus SitePool::census() const {
  return census_of(shape_.num_sites(), static_cast<std::int64_t>(damaged_.size()));
}

SiteCensus SitePool::job_census() const {
  const auto in_job = std::count_if(damaged_.begin(), damaged_.end(), [&](std::int32_t site) {
    return site < shape_.num_job_sites;
  });
  return census_of(shape_.num_job_sites, in_job);
}

void SitePool::apply(const Operation& operation) {
  require(operation.damaged_degrees.size() <= damaged_.size(),
          "an operation uses more damaged sites than there are");
  set_full_degree(operation.full_degree);
  for (std::size_t i = 0; i < damaged_.size(); ++i) {
    set_role(damaged_[i], i < operation.damaged_degrees.size() ? operation.damaged_degrees[i] : 0);
  }
  const auto num_healthy = static_cast<std::int64_t>(degree_.size() - damaged_.size());
  const std::int64_t wanted = num_healthy - operation.num_full_sites;
  require(wanted >= static_cast<std::int64_t>(operation.filler_degrees.size()),
          "an operation uses more healthy sites than there are");
  const auto present = static_cast<std::int64_t>(not_full_.size());
  if (present < wanted) {
    demote_full_sites(wanted - present);
  }
  const auto promoted = not_full_.begin() + std::max<std::int64_t>(0, present - wanted);
  std::for_each(
      not_full_.begin(), promoted, [&](std::int32_t site) { set_role(site, full_degree_); });
  not_full_.erase(not_full_.begin(), promoted);
  for (std::size_t i = 0; i < not_full_.size(); ++i) {
    set_role(not_full_[i], i < operation.filler_degrees.size() ? operation.filler_degrees[i] : 0);
  }
}

void SitePool::set_full_degree(std::int32_t degree) {
  if (degree == full_degree_ || degree == 0) {  // 0: the operation uses no full sites
    return;
  }
  for (const std::int32_t site : not_full_) {
    set_role(site, 0);  // its old degree may be the new full one
  }
  for (std::int32_t site = 0; site < shape_.num_sites(); ++site) {
    if (degree_[static_cast<std::size_t>(site)] == full_degree_ && num_lost(site) == 0) {
      set_role(site, degree);
    }
  }
  full_degree_ = degree;
}

void SitePool::demote_full_sites(std::int64_t num) {
  const auto num_before = static_cast<std::ptrdiff_t>(not_full_.size());
  for (auto site = static_cast<std::int32_t>(degree_.size()); num > 0 && site-- > 0;) {
    if (degree_[static_cast<std::size_t>(site)] == full_degree_ && num_lost(site) == 0) {
      set_role(site, 0);
      not_full_.push_back(site);
      --num;
    }
  }
  const auto demoted = not_full_.begin() + num_before;
  std::reverse(demoted, not_full_.end());
  std::inplace_merge(not_full_.begin(), demoted, not_full_.end());
}

}  // namespace runflat::sim
