#include "exec/recovery/rendezvous.hpp"

#include "core/document.hpp"
#include "core/error.hpp"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <limits>

namespace runflat::exec {
namespace {

constexpr std::chrono::milliseconds kPoll{2};
constexpr std::chrono::milliseconds kStandBy{50};  // of newcomers, who may wait for days
constexpr std::chrono::seconds kLookAround{1};
constexpr const char* kLastKey = "agreed/last";
constexpr const char* kBegunKey = "begun";

std::string agreement_key(std::int64_t generation) {
  return fmt::format("agreed/{}", generation);
}

std::string call_key(std::int64_t generation) {
  return fmt::format("called/{}", generation);
}

std::string help_key(std::int64_t generation) {
  return fmt::format("help/{}", generation);
}

std::string arrivals_key(std::int64_t generation) {
  return fmt::format("here/{}/", generation);
}

std::string life_key(std::int64_t process) {
  return fmt::format("life/{}", process);
}

std::string death_key(const Member& member) {
  return fmt::format("dead/{}/{}", member.process, member.life);
}

constexpr const char* kEventsKey = "events";

std::optional<Agreement> find_agreement(Store& store, std::int64_t generation, Deadline deadline) {
  const std::string key = agreement_key(generation);
  const std::optional<std::string> text = store.wait(key, deadline);
  if (!text) {
    return std::nullopt;
  }
  const Value value = parse_json(*text, key);
  return read_agreement(Reader(value, key));
}

}  // namespace

std::int64_t last_generation(Store& store) {
  return std::stoll(store.get(kLastKey).value_or("-1"));
}

std::optional<Agreement> last_agreement(Store& store) {
  const std::int64_t last = last_generation(store);
  return last >= 0 ? find_agreement(store, last, Clock::now()) : std::nullopt;
}

void mark_dead(Store& store,
               const Member& member,
               const std::string& cause,
               std::chrono::milliseconds silence) {
  const auto when = std::chrono::duration_cast<std::chrono::nanoseconds>(
      std::chrono::system_clock::now().time_since_epoch() - silence);
  const Value death = Value::Object{
      {"cause", cause}, {"unix_ns", when.count()}, {"was_silent", silence.count() > 0}};
  static_cast<void>(store.compare_set(death_key(member), std::nullopt, to_json_text(death, -1)));
  store.add(kEventsKey, 1);
}

std::optional<Death> find_death(Store& store, const Member& member) {
  const std::string key = death_key(member);
  const std::optional<std::string> text = store.get(key);
  if (!text) {
    return std::nullopt;
  }
  const Value value = parse_json(*text, key);
  ObjectReader members = Reader(value, key).object();
  const std::chrono::nanoseconds when(
      members.at("unix_ns").integer(0, std::numeric_limits<std::int64_t>::max()));
  return Death{.cause = members.at("cause").text(),
               .when = std::chrono::system_clock::time_point(
                   std::chrono::duration_cast<std::chrono::system_clock::duration>(when)),
               .was_silent = members.at("was_silent").boolean()};
}

bool is_dead(Store& store, const Member& member) {
  return store.get(death_key(member)).has_value();
}

bool has_begun(Store& store) {
  return store.get(kBegunKey).has_value();
}

void begin_job(Store& store) {
  store.set(kBegunKey, "");
}

std::int64_t begin_life(Store& store, std::int64_t process) {
  return store.add(life_key(process), 1);
}

std::int64_t last_life(Store& store, std::int64_t process) {
  return std::stoll(store.get(life_key(process)).value_or("0"));
}

Rendezvous::Rendezvous(Store& store, const Member& self, std::chrono::milliseconds patience)
    : store_(store), self_(self), patience_(patience) {}

Agreement Rendezvous::agreement(std::int64_t generation) {
  auto found = find_agreement(store_, generation, Clock::now());
  require(found.has_value(), "no such agreement");
  return std::move(*found);
}

std::vector<Standing> Rendezvous::standings(std::int64_t generation) {
  std::vector<Standing> standings;
  for (const std::string& key : store_.list(arrivals_key(generation))) {
    if (const auto text = store_.get(key)) {
      const Value value = parse_json(*text, key);
      Standing standing = read_standing(Reader(value, key));
      if (!is_dead(store_, standing.member)) {
        standings.push_back(std::move(standing));
      }
    }
  }
  std::sort(standings.begin(), standings.end(), [](const Standing& a, const Standing& b) {
    return a.member < b.member;
  });
  return standings;
}

/// Agreements are numbered upwards, and a process that noted an old one does not undo a newer one.
void Rendezvous::note_last(std::int64_t generation) {
  std::optional<std::string> last = store_.get(kLastKey);
  while ((!last || std::stoll(*last) < generation) &&
         !store_.compare_set(kLastKey, last, std::to_string(generation))) {
    last = store_.get(kLastKey);
  }
}

std::string Rendezvous::num_events() {
  return store_.get(kEventsKey).value_or("0");
}

std::vector<std::int64_t> Rendezvous::newcomers(std::int64_t generation) {
  std::vector<std::int64_t> processes;
  for (const Standing& standing : standings(generation)) {
    processes.push_back(standing.member.process);
  }
  return processes;
}

bool Rendezvous::is_called(std::int64_t generation, Deadline deadline) {
  return store_.wait(call_key(generation), deadline).has_value();
}

bool Rendezvous::is_needed(std::int64_t generation) {
  return store_.get(help_key(generation)).has_value();
}

void Rendezvous::call_for_help(std::int64_t generation) {
  store_.set(help_key(generation), "");
  store_.add(kEventsKey, 1);
}

bool Rendezvous::has_lost(const std::vector<Member>& members) {
  return std::any_of(members.begin(), members.end(), [this](const Member& member) {
    return is_dead(store_, member);
  });
}

Agreement Rendezvous::meet(std::int64_t generation,
                           const std::vector<Member>& expected,
                           const Standing& standing,
                           Arrival arrival,
                           const Decide& decide) {
  store_.set(fmt::format("{}{}", arrivals_key(generation), self_.process),
             to_json_text(to_value(standing), -1));
  if (arrival != Arrival::newcomer) {
    store_.set(call_key(generation), "");
  }
  store_.add(kEventsKey, 1);
  if (arrival == Arrival::in_need) {
    call_for_help(generation);
  }
  std::optional<Deadline> deadline;
  std::string known;
  Clock::time_point looked;
  while (true) {
    if (auto agreed = find_agreement(store_, generation, deadline_in(kPoll))) {
      note_last(generation);
      return std::move(*agreed);
    }
    if (arrival == Arrival::newcomer && !is_called(generation, deadline_in(kStandBy))) {
      const std::string events = num_events();
      if (events == known && Clock::now() - looked < kLookAround) {
        continue;
      }
      known = events;
      looked = Clock::now();
    }
    const std::vector<Standing> here = standings(generation);
    const bool are_all_here =
        std::all_of(expected.begin(), expected.end(), [&](const Member& member) {
          const bool is_here = std::any_of(here.begin(), here.end(), [&](const Standing& other) {
            return other.member.process == member.process && other.member.life >= member.life;
          });
          return is_here || is_dead(store_, member);
        });
    // Newcomers wait until the others meet, or are all gone.
    if (!are_all_here && !is_called(generation, Clock::now())) {
      continue;
    }
    deadline = deadline ? deadline : deadline_in(patience_);
    const bool is_late = Clock::now() >= *deadline;
    if (Clock::now() + patience_ / 2 >= *deadline && !is_needed(generation)) {
      call_for_help(generation);
    }
    // The first decides; should it be gone, whoever is there, and the store takes one of them.
    const bool is_here = std::any_of(
        here.begin(), here.end(), [this](const Standing& other) { return other.member == self_; });
    const bool is_first = is_here && here.front().member == self_;
    const bool is_very_late = is_here && Clock::now() >= *deadline + patience_;
    if ((is_first && (are_all_here || is_late)) || is_very_late) {
      const Agreement agreed = decide(here);
      static_cast<void>(store_.compare_set(
          agreement_key(generation), std::nullopt, to_json_text(to_value(agreed), -1)));
    }
  }
}

}  // namespace runflat::exec
