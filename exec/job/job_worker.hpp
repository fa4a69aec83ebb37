#pragma once

#include "core/injected_fault.hpp"
#include "exec/communication/transport.hpp"
#include "exec/data/sample_source.hpp"
#include "exec/device/backend.hpp"
#include "exec/job/job_checkpoints.hpp"
#include "exec/job/train_config.hpp"
#include "exec/store/store.hpp"

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace runflat::exec {

/// How `runflat train` was called.
struct TrainOptions {
  std::string backend = "cpu";
  std::string transport;                          ///< loopback, gloo or nccl
  std::optional<std::filesystem::path> log;       ///< JSON lines
  std::optional<std::filesystem::path> timeline;  ///< Chrome trace of the last step
  std::vector<InjectedFault> faults;              ///< on demand, of all processes
  std::string version;                            ///< of this program
  std::int64_t ranks_per_gpu = 1;                 ///< more: gpu_share
};

/// What a job is given, which ranks of one process share.
struct TrainInput {
  JobStart start;
  std::unique_ptr<SampleSource> train;
  std::unique_ptr<SampleSource> valid;  ///< nullptr without validation
};

[[nodiscard]] TrainInput make_train_input(const TrainConfig& config);

/// What a worker is given by the process or thread that it lives in.
struct JobPlace {
  Transport& compute;  ///< between the memories that ranks compute on
  Transport& host;     ///< between host memories; may be the same
  Store& store;
  std::int64_t life = 0;                ///< of this process, as WorkerConfig
  std::function<bool()> should_stop{};  ///< whether this worker was asked to end the job
};

/// One worker of a job for its life: trains whatever rank its plan gives it, saves and logs. The
/// last rank, which has the loss, writes the logs and the timeline, of transitions too.
///
/// Returns where the job has come to its end, or was asked to. Otherwise throws: PeerLost where
/// what was lost cannot be made up for; Fenced where the others went on without it;
/// std::runtime_error for other reasons to stop, as sums that stay not finite or checkpoints that
/// cannot be saved, with the last good one in place.
void run_job_worker(const TrainConfig& config,
                    const TrainOptions& options,
                    const TrainInput& input,
                    Backend& backend,
                    const JobPlace& place);

/// Keys of the Store by which whoever starts workers knows when one whose fault was on demand comes
/// back: at that step, or `never`; and the steps that a job with such faults has taken.
[[nodiscard]] std::string repair_key(std::int64_t process);
inline constexpr const char* kStepsKey = "steps";

/// The others have gone on without this worker.
class Fenced : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace runflat::exec
