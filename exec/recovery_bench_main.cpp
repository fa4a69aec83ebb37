// Times what a recovery does with NCCL communicators, one way at a time: each rank is a process
// with a GPU that the environment gives a place. Where a way begins with a loss, the last rank is
// killed in an all-reduce. `runflat bench recovery` starts it. The first rank writes a line of
// JSON.

#include "core/document.hpp"
#include "core/error.hpp"
#include "exec/communication/nccl_communicator.hpp"
#include "exec/device/cuda_handles.hpp"
#include "exec/files/new_file.hpp"
#include "exec/job/command_line.hpp"
#include "exec/job/exit_status.hpp"
#include "exec/job/launch_environment.hpp"
#include "exec/store/store.hpp"
#include "kernels/cuda_error.hpp"

#include <algorithm>
#include <csignal>
#include <fmt/format.h>
#include <functional>
#include <future>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

namespace runflat::exec {
namespace {

using kernels::check_cuda;

constexpr auto kTimeout = std::chrono::milliseconds(60'000);
constexpr std::size_t kNumFloats = std::size_t{64} << 20;  // 256 MiB
constexpr int kNumWarm = 10;
constexpr auto kUntilKilled = std::chrono::milliseconds(50);
constexpr auto kUntilNoticed = std::chrono::milliseconds(200);

double ms_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

void require_success(ncclResult_t result, const char* what) {
  if (result != ncclSuccess) {
    throw NcclError(fmt::format("{}: {}", what, ncclGetErrorString(result)));
  }
}

/// Until a communicator is no longer busy with what was asked of it.
void settle(ncclComm_t comm, const char* what) {
  const Deadline deadline = deadline_in(kTimeout);
  ncclResult_t state = ncclInProgress;
  while (state == ncclInProgress) {
    if (Clock::now() > deadline) {
      throw PeerLost(fmt::format("{} takes longer than a minute", what));
    }
    require_success(ncclCommGetAsyncError(comm, &state), what);
  }
  require_success(state, what);
}

class RecoveryBench {
 public:
  RecoveryBench(const LaunchPlace& place, Store& store)
      : store_(store),
        rank_(static_cast<int>(place.rank)),
        size_(static_cast<int>(place.world_size)),
        stream_((check_cuda(cudaSetDevice(static_cast<int>(place.local_rank)), "cudaSetDevice"),
                 make_stream(0))) {
    check_cuda(cudaMalloc(&data_, kNumFloats * sizeof(float)), "cudaMalloc");
    check_cuda(cudaMemset(data_, 0, kNumFloats * sizeof(float)), "cudaMemset");
  }
  RecoveryBench(const RecoveryBench&) = delete;
  RecoveryBench& operator=(const RecoveryBench&) = delete;
  ~RecoveryBench() { static_cast<void>(cudaFree(data_)); }

  [[nodiscard]] Value run(const std::string& way) {
    ncclComm_t comm = nullptr;
    if (way == "init") {
      time("communicator_ms", [&] { comm = init("first", size_); });
      time_all_reduces(comm);
      return std::move(result_);
    }
    comm = init("first", size_);
    warm_up(comm);
    if (way == "init again") {
      time("communicator_ms", [&] { comm = init("second", size_); });
    } else if (way == "split") {
      time("communicator_ms", [&] { comm = split(comm); });
    } else {
      lose_last(comm);
      comm = recover(way, comm);
    }
    time_all_reduces(comm);
    return std::move(result_);
  }

 private:
  void time(const char* what, const std::function<void()>& work) {
    const Clock::time_point begin = Clock::now();
    work();
    result_.set(what, ms_since(begin));
  }

  [[nodiscard]] ncclComm_t init(const std::string& name, int size) {
    ncclUniqueId id;
    if (rank_ == 0) {
      require_success(ncclGetUniqueId(&id), "ncclGetUniqueId");
      store_.set(name, std::string_view(id.internal, sizeof(id.internal)));
    } else {
      const auto value = store_.wait(name, deadline_in(kTimeout));
      if (!value || value->size() != sizeof(id.internal)) {
        throw PeerLost("rank 0 did not come");
      }
      std::copy(value->begin(), value->end(), id.internal);
    }
    ncclConfig_t config = nccl_config();
    ncclComm_t comm = nullptr;
    static_cast<void>(ncclCommInitRankConfig(&comm, size, id, rank_, &config));
    settle(comm, "ncclCommInitRankConfig");
    return comm;
  }

  [[nodiscard]] ncclComm_t split(ncclComm_t parent) const {
    ncclConfig_t config = nccl_config();
    ncclComm_t child = nullptr;
    static_cast<void>(ncclCommSplit(parent, 0, rank_, &child, &config));
    settle(parent, "ncclCommSplit");
    settle(child, "ncclCommSplit");
    return child;
  }

  [[nodiscard]] ncclComm_t shrink(ncclComm_t parent, int flags) const {
    ncclConfig_t config = nccl_config();
    ncclComm_t child = nullptr;
    int last = size_ - 1;
    static_cast<void>(ncclCommShrink(parent, &last, 1, &child, &config, flags));
    const Deadline deadline = deadline_in(kTimeout);
    while (child == nullptr && Clock::now() < deadline) {
      std::this_thread::yield();
    }
    settle(child, "ncclCommShrink");
    return child;
  }

  void all_reduce(ncclComm_t comm) const {
    static_cast<void>(
        ncclAllReduce(data_, data_, kNumFloats, ncclFloat32, ncclSum, comm, stream_.get()));
    settle(comm, "ncclAllReduce");
  }

  void warm_up(ncclComm_t comm) const {
    for (int i = 0; i < kNumWarm; ++i) {
      all_reduce(comm);
    }
    check_cuda(cudaStreamSynchronize(stream_.get()), "cudaStreamSynchronize");
  }

  void time_all_reduces(ncclComm_t comm) {
    time("first_all_reduce_ms", [&] {
      all_reduce(comm);
      check_cuda(cudaStreamSynchronize(stream_.get()), "cudaStreamSynchronize");
    });
    warm_up(comm);
    const Clock::time_point begin = Clock::now();
    warm_up(comm);
    result_.set("warm_all_reduce_ms", ms_since(begin) / kNumWarm);
  }

  /// The last rank is killed while all are in all-reduces.
  void lose_last(ncclComm_t comm) const {
    const Clock::time_point begin = Clock::now();
    while (Clock::now() - begin < kUntilKilled) {
      warm_up(comm);
    }
    if (rank_ == size_ - 1) {
      static_cast<void>(std::raise(SIGKILL));
    }
    all_reduce(comm);
    std::this_thread::sleep_for(kUntilNoticed);
  }

  [[nodiscard]] ncclComm_t recover(const std::string& way, ncclComm_t comm) {
    ncclComm_t next = nullptr;
    if (way == "shrink") {
      time("communicator_ms", [&] { next = shrink(comm, NCCL_SHRINK_ABORT); });
    } else if (way == "revoke, shrink") {
      time("quiesce_ms", [&] {
        static_cast<void>(ncclCommRevoke(comm, NCCL_REVOKE_DEFAULT));
        settle(comm, "ncclCommRevoke");
      });
      time("communicator_ms", [&] { next = shrink(comm, NCCL_SHRINK_DEFAULT); });
    } else if (way == "abort, init") {
      time("quiesce_ms", [&] { static_cast<void>(ncclCommAbort(comm)); });
      time("communicator_ms", [&] { next = init("second", size_ - 1); });
    } else if (way == "abort aside, init") {
      time("quiesce_ms", [&] {
        aside_ = std::async(std::launch::async, [comm] { static_cast<void>(ncclCommAbort(comm)); });
        check_cuda(cudaStreamSynchronize(stream_.get()), "cudaStreamSynchronize");
      });
      time("communicator_ms", [&] { next = init("second", size_ - 1); });
    } else {
      throw ParseError("--way", "", "no such way: " + way);
    }
    return next;
  }

  Store& store_;
  int rank_;
  int size_;
  CudaStream stream_;
  void* data_ = nullptr;
  std::future<void> aside_;
  Value result_ = Value::Object{};
};

void run(std::span<char*> words) {
  std::string way;
  std::filesystem::path log;
  read_command_line(
      words,
      [](const std::string& word) { throw ParseError(word, "", "expected an option"); },
      [&](const std::string& option, const std::string& value) {
        if (option == "--way") {
          way = value;
        } else if (option == "--log") {
          log = value;
        } else {
          return false;
        }
        return true;
      });
  const std::optional<LaunchPlace> place = read_launch_place(&process_environment);
  if (!place) {
    throw ParseError("--way", "", "a launcher starts the ranks");
  }
  const MeetingPlace meeting = meeting_place(*place, "", &process_environment);
  const std::unique_ptr<Store> store = make_store(meeting.store_url, kTimeout);
  Value result = RecoveryBench(*place, *store).run(way);
  if (place->rank == 0) {
    result.set("way", way);
    write_new_file(log, to_json_text(result, -1));
  }
  std::_Exit(0);  // the library's own end would wait for the lost rank
}

}  // namespace
}  // namespace runflat::exec

int main(int argc, char** argv) {
  using namespace runflat;
  return exec::exit_status_of([&] { exec::run(std::span(argv, static_cast<std::size_t>(argc))); });
}
