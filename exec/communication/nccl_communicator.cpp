#include "exec/communication/nccl_communicator.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <thread>
#include <utility>

namespace runflat::exec {
namespace {

using kernels::check_cuda;

constexpr std::size_t kNumEvents = 256;
constexpr std::int64_t kBarrierBytes = kernels::size_of(DataType::int32);
constexpr auto kPollPause = std::chrono::microseconds(50);

ncclDataType_t nccl_type(DataType type) {
  switch (type) {
    case DataType::fp32:
      return ncclFloat32;
    case DataType::fp64:
      return ncclFloat64;
    case DataType::bf16:
      return ncclBfloat16;
    case DataType::int32:
      return ncclInt32;
    case DataType::int64:
      return ncclInt64;
  }
  return ncclFloat32;
}

ncclRedOp_t nccl_op(ReduceOp op) {
  return op == ReduceOp::sum ? ncclSum : ncclMax;
}

bool are_equal(std::span<const std::int64_t> counts) {
  return std::all_of(
      counts.begin(), counts.end(), [&](std::int64_t count) { return count == counts.front(); });
}

/// Calls `call(root, part, count)` for every rank's part, as one group.
template <typename Call>
ncclResult_t for_parts(void* data,
                       std::span<const std::int64_t> counts,
                       DataType type,
                       const Call& call) {
  ncclResult_t result = ncclGroupStart();
  auto* part = static_cast<std::byte*>(data);
  for (std::size_t root = 0; root < counts.size(); ++root) {
    if (result == ncclSuccess && counts[root] > 0) {
      result = call(static_cast<int>(root), part, static_cast<std::size_t>(counts[root]));
    }
    part += counts[root] * kernels::size_of(type);
  }
  const ncclResult_t end = ncclGroupEnd();
  return result == ncclSuccess ? end : result;
}

}  // namespace

ncclConfig_t nccl_config() {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  return config;
}

NcclCommunicator::NcclCommunicator(CudaDevice& device,
                                   ncclComm_t comm,
                                   std::chrono::milliseconds timeout)
    : device_(device),
      comm_(comm),
      timeout_(timeout),
      stream_(make_stream(-5)),
      compute_(make_event(false)) {
  int number = 0;
  settle([&](ncclComm_t it) { return ncclCommUserRank(it, &number); }, deadline_in(timeout));
  rank_ = number;
  settle([&](ncclComm_t it) { return ncclCommCount(it, &number); }, deadline_in(timeout));
  size_ = number;
  barrier_ = device.allocate(kBarrierBytes + 2 * size_);
  for (std::size_t i = 0; i < kNumEvents; ++i) {
    events_.push_back(make_event(false));
  }
}

NcclCommunicator::~NcclCommunicator() {
  if (comm_ != nullptr) {
    static_cast<void>(cudaStreamSynchronize(stream_.get()));
    free_aside();
  }
}

/// Operations end at once; freeing takes half a second, which nobody has to wait for. Finalising
/// would wait for peers, who may be gone: aborting frees as well. (Revoking first, and aborting
/// later, would end them too, but one process in some fifty crashed of it in NCCL 2.28.9.)
void NcclCommunicator::free_aside() {
  device_.run_aside(
      [comm = std::exchange(comm_, nullptr)] { static_cast<void>(ncclCommAbort(comm)); });
}

void NcclCommunicator::fail(SyncStatus status) {
  SyncStatus none = SyncStatus::done;
  status_.compare_exchange_strong(none, status);
}

ncclResult_t NcclCommunicator::state() {
  const std::lock_guard lock(mutex_);
  ncclResult_t result = ncclSuccess;
  const bool is_known = comm_ != nullptr && ncclCommGetAsyncError(comm_, &result) == ncclSuccess;
  return is_known ? result : ncclRemoteError;
}

void NcclCommunicator::settle(const std::function<ncclResult_t(ncclComm_t)>& call,
                              Deadline deadline) {
  ncclResult_t result = ncclRemoteError;
  {
    const std::lock_guard lock(mutex_);
    if (comm_ != nullptr) {
      result = call(comm_);
    }
  }
  for (; result == ncclInProgress; result = state()) {
    if (Clock::now() > deadline) {
      fail(SyncStatus::timed_out);
      return;
    }
    std::this_thread::yield();
  }
  if (result == ncclInvalidArgument || result == ncclInvalidUsage) {
    throw NcclError(
        fmt::format("NCCL: {} ({})", ncclGetErrorString(result), ncclGetLastError(nullptr)));
  }
  if (result != ncclSuccess) {
    fail(SyncStatus::peer_lost);
  }
}

void NcclCommunicator::start_timing(Ticket ticket) {
  if (records_times_) {
    timings_.push_back({.ticket = ticket, .begin = make_event(true), .end = make_event(true)});
    check_cuda(cudaEventRecord(timings_.back().begin.get(), stream_.get()), "cudaEventRecord");
  }
}

Ticket NcclCommunicator::run(const std::function<ncclResult_t(ncclComm_t)>& call) {
  const Ticket ticket = ++issued_;
  if (status_ != SyncStatus::done) {
    return ticket;
  }
  check_cuda(cudaEventRecord(compute_.get(), device_.stream()), "cudaEventRecord");
  check_cuda(cudaStreamWaitEvent(stream_.get(), compute_.get()), "cudaStreamWaitEvent");
  start_timing(ticket);
  is_settling_ = true;
  settle(call, deadline_in(timeout_));
  is_settling_ = false;
  if (records_times_) {
    check_cuda(cudaEventRecord(timings_.back().end.get(), stream_.get()), "cudaEventRecord");
  }
  check_cuda(cudaEventRecord(event_of(ticket), stream_.get()), "cudaEventRecord");
  return ticket;
}

/// Events are used again after kNumEvents operations; a later operation ends later, so that waiting
/// for its event is waiting for the earlier one too.
cudaEvent_t NcclCommunicator::event_of(Ticket ticket) const {
  return events_[static_cast<std::size_t>(ticket) % kNumEvents].get();
}

Ticket NcclCommunicator::all_reduce(void* data, std::int64_t num, DataType type, ReduceOp op) {
  return run([&](ncclComm_t comm) {
    return ncclAllReduce(data,
                         data,
                         static_cast<std::size_t>(num),
                         nccl_type(type),
                         nccl_op(op),
                         comm,
                         stream_.get());
  });
}

Ticket NcclCommunicator::reduce_scatter(void* data,
                                        std::span<const std::int64_t> counts,
                                        DataType type,
                                        ReduceOp op) {
  return run([&](ncclComm_t comm) {
    if (are_equal(counts)) {
      auto* part = static_cast<std::byte*>(data) + rank_ * counts.front() * kernels::size_of(type);
      return ncclReduceScatter(data,
                               part,
                               static_cast<std::size_t>(counts.front()),
                               nccl_type(type),
                               nccl_op(op),
                               comm,
                               stream_.get());
    }
    return for_parts(data, counts, type, [&](int root, void* part, std::size_t count) {
      return ncclReduce(part, part, count, nccl_type(type), nccl_op(op), root, comm, stream_.get());
    });
  });
}

Ticket NcclCommunicator::all_gather(void* data,
                                    std::span<const std::int64_t> counts,
                                    DataType type) {
  return run([&](ncclComm_t comm) {
    if (are_equal(counts)) {
      const auto* part =
          static_cast<std::byte*>(data) + rank_ * counts.front() * kernels::size_of(type);
      return ncclAllGather(part,
                           data,
                           static_cast<std::size_t>(counts.front()),
                           nccl_type(type),
                           comm,
                           stream_.get());
    }
    return for_parts(data, counts, type, [&](int root, void* part, std::size_t count) {
      return ncclBroadcast(part, part, count, nccl_type(type), root, comm, stream_.get());
    });
  });
}

Ticket NcclCommunicator::broadcast(void* data, std::int64_t bytes, std::int64_t root) {
  return run([&](ncclComm_t comm) {
    return ncclBroadcast(data,
                         data,
                         static_cast<std::size_t>(bytes),
                         ncclUint8,
                         static_cast<int>(root),
                         comm,
                         stream_.get());
  });
}

Ticket NcclCommunicator::exchange(std::span<const Send> sends, std::span<const Receive> receives) {
  return run([&](ncclComm_t comm) {
    ncclResult_t result = ncclGroupStart();
    const auto keep_first = [&](ncclResult_t next) {
      result = result == ncclSuccess ? next : result;
    };
    for (const Send& send : sends) {
      keep_first(ncclSend(send.data,
                          static_cast<std::size_t>(send.bytes),
                          ncclUint8,
                          static_cast<int>(send.peer),
                          comm,
                          stream_.get()));
    }
    for (const Receive& receive : receives) {
      keep_first(ncclRecv(receive.data,
                          static_cast<std::size_t>(receive.bytes),
                          ncclUint8,
                          static_cast<int>(receive.peer),
                          comm,
                          stream_.get()));
    }
    const ncclResult_t end = ncclGroupEnd();
    return result == ncclSuccess ? end : result;
  });
}

void NcclCommunicator::connect(std::span<const std::unique_ptr<NcclCommunicator>> groups) {
  ncclResult_t result = ncclGroupStart();
  for (const auto& group : groups) {
    if (group != nullptr && result == ncclSuccess) {
      result = group->post_connections();
    }
  }
  const ncclResult_t end = ncclGroupEnd();
  const bool is_posted = result == ncclSuccess && (end == ncclSuccess || end == ncclInProgress);
  for (const auto& group : groups) {
    if (group != nullptr && !is_posted) {
      group->fail(SyncStatus::peer_lost);
    }
  }
}

/// A byte to and from every peer, and a barrier, within a group of NCCL.
ncclResult_t NcclCommunicator::post_connections() {
  ncclResult_t result = ncclSuccess;
  for (int peer = 0; peer < size_ && result == ncclSuccess; ++peer) {
    if (peer != rank_) {
      result =
          ncclSend(barrier_.at(kBarrierBytes + peer), 1, ncclUint8, peer, comm_, stream_.get());
    }
    if (peer != rank_ && result == ncclSuccess) {
      result = ncclRecv(
          barrier_.at(kBarrierBytes + size_ + peer), 1, ncclUint8, peer, comm_, stream_.get());
    }
  }
  if (result == ncclSuccess) {
    result = ncclAllReduce(
        barrier_.data(), barrier_.data(), 1, ncclInt32, ncclSum, comm_, stream_.get());
  }
  return result;
}

Ticket NcclCommunicator::barrier() {
  return all_reduce(barrier_.data(), 1, DataType::int32, ReduceOp::sum);
}

void NcclCommunicator::follow(Communicator& other, Ticket ticket) {
  auto& leader = dynamic_cast<NcclCommunicator&>(other);
  if (leader.status() != SyncStatus::done) {
    fail(leader.status());
    return;
  }
  check_cuda(cudaStreamWaitEvent(stream_.get(), leader.event_of(ticket)), "cudaStreamWaitEvent");
}

void NcclCommunicator::join(Ticket ticket) {
  if (status_ == SyncStatus::done) {
    check_cuda(cudaStreamWaitEvent(device_.stream(), event_of(ticket)), "cudaStreamWaitEvent");
  }
}

bool NcclCommunicator::is_busy() {
  return is_settling_ || device_.is_busy(stream_.get());
}

SyncStatus NcclCommunicator::wait(Deadline deadline, const std::function<bool()>& is_interrupted) {
  while (status_ == SyncStatus::done) {
    const ncclResult_t result = state();
    const cudaError_t done = cudaStreamQuery(stream_.get());
    if (done == cudaSuccess && result != ncclInProgress) {  // nothing is still to be posted
      break;
    }
    if ((done != cudaSuccess && done != cudaErrorNotReady) ||
        (result != ncclSuccess && result != ncclInProgress)) {
      fail(SyncStatus::peer_lost);
    } else if (Clock::now() > deadline || is_interrupted()) {
      fail(SyncStatus::timed_out);
    } else {
      std::this_thread::sleep_for(kPollPause);
    }
  }
  return status_;
}

void NcclCommunicator::abort() {
  fail(SyncStatus::peer_lost);
  {
    const std::lock_guard lock(mutex_);
    if (comm_ == nullptr) {
      return;
    }
    free_aside();
  }
  const Deadline deadline = deadline_in(timeout_);
  while (device_.is_busy(stream_.get()) && Clock::now() < deadline) {
    std::this_thread::sleep_for(kPollPause);
  }
}

void NcclCommunicator::record_times() {
  records_times_ = true;
  base_ = make_event(true);
  device_.synchronize();
  check_cuda(cudaEventRecord(base_.get(), device_.stream()), "cudaEventRecord");
  device_.synchronize();
  base_time_ = Clock::now();
}

std::vector<OperationTime> NcclCommunicator::take_times() {
  const auto at = [&](const CudaEvent& event) {
    float ms = 0.0F;
    check_cuda(cudaEventElapsedTime(&ms, base_.get(), event.get()), "cudaEventElapsedTime");
    return base_time_ + std::chrono::duration_cast<Clock::duration>(
                            std::chrono::duration<double, std::milli>(static_cast<double>(ms)));
  };
  std::vector<OperationTime> times;
  while (!timings_.empty() && cudaEventQuery(timings_.front().end.get()) == cudaSuccess) {
    const Timing& timing = timings_.front();
    times.push_back({.ticket = timing.ticket, .begin = at(timing.begin), .end = at(timing.end)});
    timings_.pop_front();
  }
  return times;
}

}  // namespace runflat::exec
