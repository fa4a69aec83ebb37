#include "exec/communication/watched_transport.hpp"

#include <limits>
#include <map>
#include <utility>

namespace runflat::exec {
namespace {

class WatchedCommunicator : public Communicator {
 public:
  WatchedCommunicator(std::unique_ptr<Communicator> inner, const OperationWatcher& watcher)
      : inner_(std::move(inner)), watcher_(watcher) {}

  [[nodiscard]] std::int64_t rank() const override { return inner_->rank(); }
  [[nodiscard]] std::int64_t size() const override { return inner_->size(); }
  Ticket all_reduce(void* data, std::int64_t num, DataType type, ReduceOp op) override {
    return queued(inner_->all_reduce(data, num, type, op));
  }
  Ticket reduce_scatter(void* data,
                        std::span<const std::int64_t> counts,
                        DataType type,
                        ReduceOp op) override {
    return queued(inner_->reduce_scatter(data, counts, type, op));
  }
  Ticket all_gather(void* data, std::span<const std::int64_t> counts, DataType type) override {
    return queued(inner_->all_gather(data, counts, type));
  }
  Ticket broadcast(void* data, std::int64_t bytes, std::int64_t root) override {
    return queued(inner_->broadcast(data, bytes, root));
  }
  Ticket exchange(std::span<const Send> sends, std::span<const Receive> receives) override {
    const Ticket ticket = inner_->exchange(sends, receives);
    if (!receives.empty()) {
      open_[ticket].assign(receives.begin(), receives.end());
    }
    return queued(ticket);
  }
  Ticket barrier() override { return queued(inner_->barrier()); }
  void follow(Communicator& other, Ticket ticket) override {
    auto* watched = dynamic_cast<WatchedCommunicator*>(&other);
    inner_->follow(watched != nullptr ? *watched->inner_ : other, ticket);
    if (watched != nullptr && watched != this) {
      (void)watched->closed(ticket);  // its memory is for this one's operations to use
    }
  }
  void join(Ticket ticket) override {
    inner_->join(ticket);
    tell(closed(ticket));
  }
  [[nodiscard]] SyncStatus status() const override { return inner_->status(); }
  [[nodiscard]] bool is_busy() override { return inner_->is_busy(); }
  [[nodiscard]] SyncStatus wait(Deadline deadline) override {
    const SyncStatus ended = inner_->wait(deadline);
    tell(closed(std::numeric_limits<Ticket>::max()));
    return ended;
  }
  void abort() override { inner_->abort(); }
  void record_times() override { inner_->record_times(); }
  [[nodiscard]] std::vector<OperationTime> take_times() override { return inner_->take_times(); }

 private:
  Ticket queued(Ticket ticket) {
    watcher_.queued();
    return ticket;
  }

  /// Takes the messages up to that ticket out of those that are under way. Operations happen in
  /// order: with one, all before it are over.
  [[nodiscard]] std::vector<std::vector<Receive>> closed(Ticket last) {
    std::vector<std::vector<Receive>> messages;
    while (!open_.empty() && open_.begin()->first <= last) {
      messages.push_back(std::move(open_.begin()->second));
      open_.erase(open_.begin());
    }
    return messages;
  }
  void tell(const std::vector<std::vector<Receive>>& messages) {
    if (status() != SyncStatus::done) {
      return;  // they may not have arrived, and after abort() their memory is not theirs
    }
    for (const std::vector<Receive>& receives : messages) {
      watcher_.received(receives);
    }
  }

  std::unique_ptr<Communicator> inner_;
  const OperationWatcher& watcher_;
  std::map<Ticket, std::vector<Receive>> open_;
};

}  // namespace

std::vector<std::unique_ptr<Communicator>> WatchedTransport::make_groups(
    std::span<const GroupSpec> groups, Deadline deadline) {
  auto made = transport_.make_groups(groups, deadline);
  for (auto& group : made) {
    if (group) {
      group = std::make_unique<WatchedCommunicator>(std::move(group), watcher_);
    }
  }
  return made;
}

}  // namespace runflat::exec
