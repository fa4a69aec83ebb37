#include "exec/communication/loopback_communicator.hpp"

#include "core/error.hpp"
#include "exec/communication/loopback_group.hpp"
#include "exec/communication/queued_communicator.hpp"

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace runflat::exec {
namespace {

/// The processes of spawn(), which are threads, and the groups between them.
class LoopbackWorld {
 public:
  /// The group's hub once all its members are there; null when that will not be.
  std::shared_ptr<LoopbackHub> gather(const GroupSpec& group, Deadline deadline) {
    std::unique_lock lock(mutex_);
    const auto found = gathering_.try_emplace(group.name, std::make_shared<Gathering>()).first;
    const std::shared_ptr<Gathering> mine = found->second;
    mine->members = mine->members.empty() ? group.members : mine->members;
    require(mine->members == group.members, group.name + ": members that do not agree");
    const auto size = std::ssize(group.members);
    if (++mine->num_arrived == size && !mine->is_given_up) {
      mine->hub = std::make_shared<LoopbackHub>(size);
      live_.push_back({mine->hub, group.members});
      gathering_.erase(found);
      changed_.notify_all();
    }
    changed_.wait_until(
        lock, deadline, [&] { return mine->hub || mine->is_given_up || has_lost(group.members); });
    if (!mine->hub) {
      mine->is_given_up = true;
      changed_.notify_all();
    }
    return mine->hub;
  }

  /// The process takes part in nothing any more.
  void leave(std::int64_t process) {
    const std::lock_guard lock(mutex_);
    lost_.insert(process);
    for (const Live& group : live_) {
      const std::shared_ptr<LoopbackHub> hub = group.hub.lock();
      const auto place = std::find(group.members.begin(), group.members.end(), process);
      if (hub && place != group.members.end()) {
        hub->leave(place - group.members.begin());
      }
    }
    std::erase_if(live_, [](const Live& group) { return group.hub.expired(); });
    changed_.notify_all();
  }

  /// A new process has this number.
  void enter(std::int64_t process) {
    const std::lock_guard lock(mutex_);
    lost_.erase(process);
  }

 private:
  struct Gathering {
    std::vector<std::int64_t> members;
    std::int64_t num_arrived = 0;
    bool is_given_up = false;
    std::shared_ptr<LoopbackHub> hub;
  };
  struct Live {
    std::weak_ptr<LoopbackHub> hub;
    std::vector<std::int64_t> members;
  };

  [[nodiscard]] bool has_lost(const std::vector<std::int64_t>& members) const {
    return std::any_of(members.begin(), members.end(), [&](std::int64_t member) {
      return lost_.contains(member);
    });
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, std::shared_ptr<Gathering>> gathering_;
  std::vector<Live> live_;
  std::set<std::int64_t> lost_;
};

class LoopbackMaker : public GroupMaker {
 public:
  LoopbackMaker(LoopbackWorld& world, std::int64_t process) : world_(world), process_(process) {}

  [[nodiscard]] std::unique_ptr<BlockingGroup> make(const GroupSpec& group,
                                                    Deadline deadline) override {
    const auto place = std::find(group.members.begin(), group.members.end(), process_);
    auto hub = world_.gather(group, deadline);
    return hub ? std::make_unique<LoopbackGroup>(std::move(hub), place - group.members.begin())
               : nullptr;
  }

 private:
  LoopbackWorld& world_;
  std::int64_t process_;
};

void run_rank(LoopbackWorld& world,
              std::int64_t process,
              const std::vector<std::int64_t>& processes,
              const std::function<void(ThreadRank&)>& run) {
  QueuedTransport transport(process, std::make_shared<LoopbackMaker>(world, process));
  const auto group = transport.make_group({.name = "world", .members = processes}, Deadline::max());
  ThreadRank rank{transport, *group, [&] { world.leave(process); }, [&] { world.enter(process); }};
  run(rank);
}

}  // namespace

void spawn(std::int64_t world_size, const std::function<void(ThreadRank&)>& run) {
  require(world_size >= 1, "a world has at least one rank");
  std::vector<std::int64_t> processes(static_cast<std::size_t>(world_size));
  std::iota(processes.begin(), processes.end(), 0);
  spawn(processes, run);
}

void spawn(const std::vector<std::int64_t>& processes,
           const std::function<void(ThreadRank&)>& run) {
  require(!processes.empty(), "a world has at least one rank");
  LoopbackWorld world;
  std::mutex mutex;
  std::exception_ptr first_error;
  std::exception_ptr first_loss;  // what it follows from may still be on its way
  std::vector<std::thread> threads;
  for (const std::int64_t process : processes) {
    threads.emplace_back([&, process] {
      try {
        run_rank(world, process, processes, run);
      } catch (const RankDeath&) {
      } catch (const PeerLost&) {
        const std::lock_guard lock(mutex);
        first_loss = first_loss ? first_loss : std::current_exception();
      } catch (...) {
        const std::lock_guard lock(mutex);
        first_error = first_error ? first_error : std::current_exception();
      }
      world.leave(process);
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  if (first_error || first_loss) {
    std::rethrow_exception(first_error ? first_error : first_loss);
  }
}

}  // namespace runflat::exec
