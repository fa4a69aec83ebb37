#include "exec/job/leases.hpp"

#include "core/document.hpp"
#include "core/reader.hpp"
#include "core/value.hpp"
#include "exec/recovery/rendezvous.hpp"

#include <fmt/format.h>
#include <limits>
#include <string>

namespace runflat::exec {
namespace {

std::string lease_key(std::int64_t place) {
  return fmt::format("lease/{}", place);
}

std::string workers_key(std::int64_t place) {
  return fmt::format("place/{}", place);
}

std::string lost_key(std::int64_t place) {
  return fmt::format("lost/{}", place);
}

std::string gone_key(std::int64_t process) {
  return fmt::format("gone/{}", process);
}

}  // namespace

void set_gone(Store& store, std::int64_t process, bool is_gone) {
  if (is_gone) {
    store.set(gone_key(process), "");
  } else {
    store.remove(gone_key(process));
  }
}

bool is_gone(Store& store, std::int64_t process) {
  return store.get(gone_key(process)).has_value();
}

Leases::Leases(Store& store,
               std::int64_t place,
               std::int64_t num_places,
               const std::vector<std::int64_t>& processes,
               std::chrono::milliseconds timeout)
    : store_(store),
      place_(place),
      timeout_(timeout),
      leases_(static_cast<std::size_t>(num_places)) {
  store_.set(workers_key(place_), to_json_text(Value::array_of(processes), -1));
}

void Leases::beat() {
  store_.add(lease_key(place_), 1);
  std::int64_t num_before = 0;  // that live
  for (std::int64_t place = 0; place < std::ssize(leases_) && num_before < kNumWatchers; ++place) {
    if (place == place_) {
      continue;
    }
    const bool is_away = is_lost(place);
    const Lease& lease = leases_[static_cast<std::size_t>(place)];
    if (is_away && lease.num_still == kPatience) {
      mark_lost(place);
    }
    num_before += place < place_ && !is_away && lease.count > 0 ? 1 : 0;
  }
}

bool Leases::is_lost(std::int64_t place) {
  Lease& lease = leases_[static_cast<std::size_t>(place)];
  const std::int64_t count = std::stoll(store_.get(lease_key(place)).value_or("0"));
  lease = {.count = count, .num_still = count == lease.count ? lease.num_still + 1 : 0};
  return count > 0 && lease.num_still >= kPatience;
}

void Leases::mark_lost(std::int64_t place) {
  const std::string key = workers_key(place);
  const Value workers = parse_json(store_.get(key).value_or("[]"), key);
  for (const std::int64_t process :
       Reader(workers, key).integers(0, std::numeric_limits<std::int64_t>::max())) {
    const Member member{.process = process, .life = last_life(store_, process)};
    if (!is_dead(store_, member)) {
      mark_dead(store_,
                member,
                fmt::format("host lost: no sign of its agent for {:g} s",
                            std::chrono::duration<double>(timeout_).count()),
                timeout_);
      set_gone(store_, process, true);
    }
  }
  store_.set(lost_key(place), "");
}

bool Leases::was_lost() {
  const std::string key = lost_key(place_);
  const bool was = store_.get(key).has_value();
  if (was) {
    store_.remove(key);
  }
  return was;
}

}  // namespace runflat::exec
