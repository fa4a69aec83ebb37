#include "exec/job/job_faults.hpp"

#include "exec/recovery/rendezvous.hpp"

#include <chrono>
#include <csignal>
#include <fmt/format.h>
#include <map>
#include <optional>
#include <thread>

namespace runflat::exec {
namespace {

constexpr std::chrono::milliseconds kHangPoll{5};

std::string fault_key(const InjectedFault& fault) {
  return "struck/" + to_text(fault);
}

/// When the first step of the job began, on the clock of whoever came first to it.
std::chrono::system_clock::time_point beginning_of_job(Store& store) {
  using std::chrono::microseconds;
  constexpr const char* kKey = "first_step";
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  store.compare_set(
      kKey, std::nullopt, std::to_string(std::chrono::duration_cast<microseconds>(now).count()));
  return std::chrono::system_clock::time_point(microseconds(std::stoll(store.get(kKey).value())));
}

/// The faults of a process that have not struck yet.
std::vector<InjectedFault> faults_to_come(const std::vector<InjectedFault>& all,
                                          std::int64_t process,
                                          Store& store) {
  std::vector<InjectedFault> faults;
  std::map<std::string, std::int64_t> struck;
  for (const InjectedFault& fault : all) {
    if (fault.rank != process) {
      continue;
    }
    const std::string key = fault_key(fault);
    const auto known = struck.find(key);
    std::int64_t& left = known != struck.end()
                             ? known->second
                             : struck[key] = std::stoll(store.get(key).value_or("0"));
    if (left > 0) {
      --left;
    } else {
      faults.push_back(fault);
    }
  }
  return faults;
}

}  // namespace

std::string repair_key(std::int64_t process) {
  return fmt::format("repair/{}", process);
}

JobFaults::JobFaults(const std::vector<InjectedFault>& all, const Member& self, Store& store)
    : self_(self),
      store_(store),
      has_faults_(!all.empty()),
      injector_(
          faults_to_come(all, self.process, store),
          {.kill = [] { static_cast<void>(std::raise(SIGKILL)); },
           .hang = [this](double seconds) { hang(seconds); },
           .on_fault = [this](const InjectedFault& fault) { note(fault); },
           .elapsed = [this] { return Seconds(std::chrono::system_clock::now() - job_began_); }}) {}

void JobFaults::note_training() {
  if (has_faults_) {
    job_began_ = beginning_of_job(store_);
  }
}

void JobFaults::note(const InjectedFault& fault) {
  store_.add(fault_key(fault), 1);
  const bool ends_it = fault.kind == FaultKind::kill || fault.kind == FaultKind::stop ||
                       fault.kind == FaultKind::hang;
  if (ends_it) {
    store_.set(repair_key(fault.rank),
               fault.repair_steps > 0 ? std::to_string(steps_ + fault.repair_steps) : "never");
  }
}

/// 0: until the others have gone on.
void JobFaults::hang(double seconds) const {
  const Clock::time_point begin = Clock::now();
  const auto has_been_left_out = [this] {
    const std::optional<Agreement> last = last_agreement(store_);
    return last && !last->has_member(self_);
  };
  while (seconds > 0.0 ? Clock::now() - begin < std::chrono::duration<double>(seconds)
                       : !has_been_left_out()) {
    std::this_thread::sleep_for(kHangPoll);
  }
}

}  // namespace runflat::exec
