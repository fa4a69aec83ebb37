#pragma once

#include "exec/backend.hpp"
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

/// The data of a job, which ranks of one process share.
struct TrainSamples {
  std::unique_ptr<SampleSource> train;
  std::unique_ptr<SampleSource> valid;  ///< nullptr without validation
};

[[nodiscard]] TrainSamples make_train_samples(const TrainConfig& config);

/// Trains one rank, that of process `transport.process()`, to the last step, or to the end of the
/// step in which `should_stop` first says so on any rank. The last rank, which has the loss, writes
/// the logs and the timeline. PeerLost names the group that lost a member; std::runtime_error where
/// the loss is not finite, with the weights of the step before.
void train_rank(const TrainConfig& config,
                const TrainOptions& options,
                const TrainSamples& samples,
                Backend& backend,
                Transport& transport,
                const std::function<bool()>& should_stop);

}  // namespace runflat::exec
