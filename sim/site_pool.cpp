#include "sim/site_pool.hpp"

#include "core/error.hpp"

#include <algorithm>

namespace runflat::sim {

namespace {

const SiteShape& checked(const SiteShape& shape) {
  require_valid(shape.cluster);
  require(shape.tp >= 1 && shape.tp <= shape.cluster.domain_size,
          "a TP group must fit into one NVLink domain");
  require(shape.cluster.num_gpus() % shape.cluster.domain_size == 0,
          "sites are of whole NVLink domains");
  require(shape.num_job_sites >= 1 && shape.num_job_sites <= shape.num_sites(),
          "the job must fit onto the cluster");
  return shape;
}

}  // namespace

SitePool::SitePool(const SiteShape& shape)
    : shape_(checked(shape)),
      down_(static_cast<std::size_t>(shape.cluster.num_gpus()), 0),
      num_down_(static_cast<std::size_t>(shape.cluster.num_domains()), 0),
      lost_(static_cast<std::size_t>(shape.num_sites()), 0),
      degree_(static_cast<std::size_t>(shape.num_sites()), 0),
      damaged_(static_cast<std::size_t>(shape.tp) + 1),
      counts_(shape.tp, shape.num_sites()),
      job_counts_(shape.tp, shape.num_job_sites),
      full_degree_(shape.tp) {
  for (std::int32_t site = 0; site < shape_.num_sites(); ++site) {
    if (site < shape_.num_job_sites) {
      set_role(site, kFull);
    } else {
      not_full_.push_back(site);
    }
  }
}

std::int32_t SitePool::num_lost_now(std::int32_t site) const {
  const std::int32_t per_domain = shape_.sites_per_domain();
  const std::int32_t beyond = shape_.cluster.domain_size - per_domain * shape_.tp;
  const std::int32_t place_from_last = per_domain - 1 - site % per_domain;
  const std::int32_t lost = num_down_[static_cast<std::size_t>(site / per_domain)] - beyond;
  return std::clamp(lost - place_from_last * shape_.tp, 0, shape_.tp);
}

std::int32_t SitePool::degree_of(std::int32_t site) const {
  const std::int32_t degree = degree_[static_cast<std::size_t>(site)];
  return degree == kFull ? full_degree_ : degree;
}

void SitePool::set_role(std::int32_t site, std::int32_t degree) {
  std::int32_t& current = degree_[static_cast<std::size_t>(site)];
  num_full_ += (degree == kFull ? 1 : 0) - (current == kFull ? 1 : 0);
  num_reduced_gpus_ += std::max(degree, 0) - std::max(current, 0);
  current = degree;
}

bool SitePool::hits_active(ComponentRange gpus) const {
  const std::int32_t per_domain = shape_.sites_per_domain();
  const std::int32_t domain_size = shape_.cluster.domain_size;
  std::int32_t gpu = gpus.first;
  while (gpu < gpus.first + gpus.num) {
    const std::int32_t domain = gpu / domain_size;
    const std::int32_t end = std::min(gpus.first + gpus.num, (domain + 1) * domain_size);
    const auto is_healthy = [](std::uint16_t count) { return count == 0; };
    auto rank =
        std::count_if(down_.begin() + domain * domain_size, down_.begin() + gpu, is_healthy);
    const auto num_hit = std::count_if(down_.begin() + gpu, down_.begin() + end, is_healthy);
    for (std::int32_t site = domain * per_domain; site < (domain + 1) * per_domain; ++site) {
      rank -= degree_of(site);
    }
    if (num_hit > 0 && rank < 0) {  // the first healthy GPU hit is one of the active ones
      return true;
    }
    gpu = end;
  }
  return false;
}

bool SitePool::fail(const Fault& fault) {
  const bool hit_active = hits_active(components_hit(fault, shape_.cluster, BlastRadius::gpu));
  add_down(fault, 1);
  return hit_active;
}

void SitePool::repair(const Fault& fault) {
  add_down(fault, -1);
}

void SitePool::add_down(const Fault& fault, std::int32_t change) {
  const ComponentRange gpus = components_hit(fault, shape_.cluster, BlastRadius::gpu);
  const std::int64_t failed_before = num_failed_gpus_;
  for (std::int32_t gpu = gpus.first; gpu < gpus.first + gpus.num; ++gpu) {
    std::uint16_t& count = down_[static_cast<std::size_t>(gpu)];
    const bool was_down = count > 0;
    count = static_cast<std::uint16_t>(count + change);
    const std::int32_t newly_down = (count > 0 ? 1 : 0) - (was_down ? 1 : 0);
    num_down_[static_cast<std::size_t>(gpu / shape_.cluster.domain_size)] += newly_down;
    num_failed_gpus_ += newly_down;
  }
  if (num_failed_gpus_ == failed_before) {
    return;
  }
  const ComponentRange hit = components_hit(fault, shape_.cluster, BlastRadius::domain);
  for (std::int32_t domain = hit.first; domain < hit.first + hit.num; ++domain) {
    update_sites(domain);
  }
}

void SitePool::update_sites(std::int32_t domain) {
  const std::int32_t per_domain = shape_.sites_per_domain();
  for (std::int32_t site = domain * per_domain; site < (domain + 1) * per_domain; ++site) {
    const std::int32_t lost = num_lost_now(site);
    if (lost != num_lost(site)) {
      set_loss(site, lost);
    }
  }
}

/// Puts a site where it now belongs: among the damaged, or among the healthy ones below the full
/// degree. A site that lost GPUs keeps a role only as far as its GPUs reach.
void SitePool::set_loss(std::int32_t site, std::int32_t lost) {
  const auto erase = [site](std::vector<std::int32_t>& sites) {
    sites.erase(std::lower_bound(sites.begin(), sites.end(), site));
  };
  const auto insert = [site](std::vector<std::int32_t>& sites) {
    sites.insert(std::lower_bound(sites.begin(), sites.end(), site), site);
  };
  const std::int32_t before = num_lost(site);
  if (before > 0) {
    erase(damaged_[static_cast<std::size_t>(before)]);
  } else if (degree_[static_cast<std::size_t>(site)] != kFull) {
    erase(not_full_);
  }
  lost_[static_cast<std::size_t>(site)] = lost;
  counts_.move(before, lost);
  if (site < shape_.num_job_sites) {
    job_counts_.move(before, lost);
  }
  const std::int32_t degree = std::min(degree_of(site), shape_.tp - lost);
  if (lost > 0) {
    set_role(site, degree);
    insert(damaged_[static_cast<std::size_t>(lost)]);
  } else if (degree < full_degree_) {
    insert(not_full_);
  } else {
    set_role(site, kFull);
  }
  if (degree_[static_cast<std::size_t>(site)] > 0) {
    working_.push_back(site);
  }
}

void SitePool::apply(const Operation& operation) {
  require(static_cast<std::int64_t>(operation.damaged_degrees.size()) <= counts_.num_damaged(),
          "an operation uses more damaged sites than there are");
  if (operation.full_degree > 0) {  // 0: the operation uses no full sites
    full_degree_ = operation.full_degree;
  }
  for (const std::int32_t site : working_) {
    if (degree_[static_cast<std::size_t>(site)] != kFull) {
      set_role(site, 0);
    }
  }
  working_.clear();
  if (uses_damaged_ || !operation.damaged_degrees.empty()) {
    assign_damaged(operation.damaged_degrees);
  }
  const std::int64_t wanted = counts_.num_sites(0) - operation.num_full_sites;
  require(wanted >= static_cast<std::int64_t>(operation.filler_degrees.size()),
          "an operation uses more healthy sites than there are");
  const auto present = static_cast<std::int64_t>(not_full_.size());
  if (present < wanted) {
    demote_full_sites(wanted - present);
  }
  const auto promoted = not_full_.begin() + std::max<std::int64_t>(0, present - wanted);
  std::for_each(not_full_.begin(), promoted, [&](std::int32_t site) { set_role(site, kFull); });
  not_full_.erase(not_full_.begin(), promoted);
  for (std::size_t i = 0; i < operation.filler_degrees.size(); ++i) {
    set_role(not_full_[i], operation.filler_degrees[i]);
    working_.push_back(not_full_[i]);
  }
}

void SitePool::assign_damaged(const std::vector<std::int32_t>& degrees) {
  std::size_t place = 0;
  for (std::size_t lost = damaged_.size(); lost-- > 1;) {
    for (const std::int32_t site : damaged_[lost]) {
      const std::int32_t degree = place < degrees.size() ? degrees[place] : 0;
      ++place;
      if (degree_[static_cast<std::size_t>(site)] != degree) {
        set_role(site, degree);
      }
    }
  }
  uses_damaged_ = !degrees.empty();
}

void SitePool::demote_full_sites(std::int64_t num) {
  const auto num_before = static_cast<std::ptrdiff_t>(not_full_.size());
  for (auto site = static_cast<std::int32_t>(degree_.size()); num > 0 && site-- > 0;) {
    if (degree_[static_cast<std::size_t>(site)] == kFull) {
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
