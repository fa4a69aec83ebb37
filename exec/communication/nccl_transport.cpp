#include "exec/communication/nccl_transport.hpp"

#include "core/error.hpp"
#include "exec/communication/nccl_communicator.hpp"
#include "exec/device/make_device.hpp"

#include <algorithm>
#include <cstdlib>
#include <fmt/format.h>
#include <string_view>
#include <thread>

namespace runflat::exec {
namespace {

constexpr int kFirstVersion = 22809;

std::string text_of(int version) {
  return fmt::format("{}.{}.{}", version / 10000, version % 10000 / 100, version % 100);
}

class NcclTransport : public Transport {
 public:
  NcclTransport(CudaDevice& device, Store& store, std::int64_t process)
      : device_(device), store_(store), process_(process) {}

  [[nodiscard]] std::int64_t process() const override { return process_; }

  /// All are made before any is connected: connecting takes its time, for all of them once.
  [[nodiscard]] std::vector<std::unique_ptr<Communicator>> make_groups(
      std::span<const GroupSpec> groups, Deadline deadline) override {
    std::vector<std::unique_ptr<NcclCommunicator>> made;
    for (const GroupSpec& group : groups) {
      made.push_back(make(group, deadline));
      if (made.back() == nullptr) {
        break;
      }
    }
    NcclCommunicator::connect(made);
    std::vector<std::unique_ptr<Communicator>> connected(groups.size());
    for (std::size_t i = 0; i < made.size() && made[i] != nullptr; ++i) {
      const auto& interrupt = groups[i].is_interrupted;
      if (made[i]->wait(deadline, [&] { return interrupt && interrupt(); }) != SyncStatus::done) {
        break;
      }
      connected[i] = std::move(made[i]);
    }
    for (const auto& group : made) {
      if (group) {
        group->abort();
      }
    }
    return connected;
  }

 private:
  [[nodiscard]] std::unique_ptr<NcclCommunicator> make(const GroupSpec& group, Deadline deadline) {
    const auto me = std::find(group.members.begin(), group.members.end(), process_);
    require(me != group.members.end(), "a process makes the groups that it is in");
    const auto rank = static_cast<int>(me - group.members.begin());
    ncclUniqueId id;
    if (!agree_on_id(group, rank == 0, id, deadline)) {
      return nullptr;
    }
    ncclConfig_t config = nccl_config();
    if (group.most_channels > 0) {
      config.maxCTAs = static_cast<int>(group.most_channels);
    }
    ncclComm_t comm = nullptr;
    ncclResult_t result =
        ncclCommInitRankConfig(&comm, static_cast<int>(group.members.size()), id, rank, &config);
    while (result == ncclInProgress && Clock::now() <= deadline &&
           !(group.is_interrupted && group.is_interrupted())) {
      std::this_thread::yield();
      if (ncclCommGetAsyncError(comm, &result) != ncclSuccess) {
        result = ncclInternalError;
      }
    }
    if (result != ncclSuccess) {
      if (comm != nullptr) {
        static_cast<void>(ncclCommAbort(comm));
      }
      return nullptr;
    }
    return std::make_unique<NcclCommunicator>(device_, comm, group.timeout);
  }

  bool agree_on_id(const GroupSpec& group, bool is_root, ncclUniqueId& id, Deadline deadline) {
    const std::string key = "nccl/" + group.name;
    if (is_root) {
      const ncclResult_t result = ncclGetUniqueId(&id);
      if (result != ncclSuccess) {
        throw NcclError(fmt::format("ncclGetUniqueId: {}", ncclGetErrorString(result)));
      }
      store_.set(key, std::string_view(id.internal, sizeof(id.internal)));
      return true;
    }
    const std::optional<std::string> value = wait_for(store_, key, group, deadline);
    if (!value || value->size() != sizeof(id.internal)) {
      return false;
    }
    std::copy(value->begin(), value->end(), id.internal);
    return true;
  }

  CudaDevice& device_;
  Store& store_;
  std::int64_t process_;
};

}  // namespace

std::unique_ptr<Transport> make_nccl_transport(Device& device, Store& store, std::int64_t process) {
  int version = 0;
  static_cast<void>(ncclGetVersion(&version));
  if (version < kFirstVersion) {
    throw Unavailable(
        fmt::format("NCCL {} was loaded: RunFlat needs 2.28.9 or later, which survives the "
                    "loss of a peer (LD_LIBRARY_PATH says where it is looked for)",
                    text_of(version)));
  }
  return std::make_unique<NcclTransport>(dynamic_cast<CudaDevice&>(device), store, process);
}

std::string gpu_versions() {
  int driver = 0;
  int runtime = 0;
  int nccl = 0;
  static_cast<void>(cudaDriverGetVersion(&driver));
  static_cast<void>(cudaRuntimeGetVersion(&runtime));
  static_cast<void>(ncclGetVersion(&nccl));
  return fmt::format("driver CUDA {}.{}, CUDA runtime {}.{}, NCCL {} (built with {})",
                     driver / 1000,
                     driver % 1000 / 10,
                     runtime / 1000,
                     runtime % 1000 / 10,
                     text_of(nccl),
                     NCCL_VERSION_CODE);
}

}  // namespace runflat::exec
