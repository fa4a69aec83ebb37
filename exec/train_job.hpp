#pragma once

#include "exec/backend.hpp"
#include "exec/job_checkpoints.hpp"
#include "exec/sample_source.hpp"
#include "exec/train_config.hpp"
#include "exec/transport.hpp"

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace runflat::exec {

/// How `runflat train` was called.
struct TrainOptions {
  std::string backend = "cpu";
  std::string transport;                          ///< loopback, gloo or nccl
  std::optional<std::filesystem::path> log;       ///< JSON lines
  std::optional<std::filesystem::path> timeline;  ///< Chrome trace of the last step
  std::string version;                            ///< of this program
};

/// What a job is given, which ranks of one process share.
struct TrainInput {
  JobStart start;
  std::unique_ptr<SampleSource> train;
  std::unique_ptr<SampleSource> valid;  ///< nullptr without validation
};

[[nodiscard]] TrainInput make_train_input(const TrainConfig& config);

/// How a rank reaches its peers.
struct RankTransports {
  Transport& compute;  ///< between the memories that ranks compute on
  Transport& host;     ///< between host memories; may be the same
};

/// Trains one rank, that of process `transports.compute.process()`, to the last step, or to the end
/// of the step in which `should_stop` first says so on any rank, and saves as the job says. The
/// last rank, which has the loss, writes the logs and the timeline. PeerLost names the group that
/// lost a member; SaveFailed ends the job with the last good checkpoint in place;
/// std::runtime_error where the loss is not finite, with the weights of the step before.
void train_rank(const TrainConfig& config,
                const TrainOptions& options,
                const TrainInput& input,
                Backend& backend,
                const RankTransports& transports,
                const std::function<bool()>& should_stop);

}  // namespace runflat::exec
