#pragma once

#include "exec/job/child_process.hpp"
#include "exec/job/train_config.hpp"
#include "exec/job/worker_process.hpp"
#include "exec/recovery/agreement.hpp"
#include "exec/store/store.hpp"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace runflat::exec {

/// What an agent watches over.
struct AgentConfig {
  std::filesystem::path program;            ///< of a worker
  std::vector<std::string> arguments;       ///< of every worker
  std::vector<WorkerProcess> workers;       ///< without their lives
  std::vector<std::int64_t> all_processes;  ///< of the job
  RecoveryConfig recovery;
};

/// How a job ended, as an exit status (exit_status.hpp), and why if not well.
struct AgentEnd {
  int status = 0;
  std::string reason;
};

/// Starts the workers of its place in a job, and outlives them: tells the others, through the
/// Store, when one has ended, and starts it again. It finds, each in its own way:
///
/// | what                                   | known after                                   |
/// |----------------------------------------|-----------------------------------------------|
/// | a worker exits or is killed            | at once; so do fatal CUDA and NCCL errors     |
/// | a worker is stopped (SIGSTOP)          | hang_timeout, then it is killed               |
/// | a worker hangs: its peers go on        | distributed_timeout + join_timeout of theirs, |
/// |                                        | then it is killed                             |
/// | an agent or its host dies              | its workers die with it; the others' time-out |
///
/// A worker that cannot start (bad input, no such GPU) ends the job, unless it comes back to one
/// that has begun: then it counts as dead. One that has ended `max_restarts` times stays away.
class Agent {
 public:
  Agent(AgentConfig config, Store& store);

  /// Until the job is over. Blocks SIGTERM, which it passes on, SIGINT and SIGCHLD.
  [[nodiscard]] AgentEnd run();

 private:
  struct Worker {
    WorkerProcess place;
    std::unique_ptr<ChildProcess> child{};  // nullptr between two lives
    std::int64_t num_starts = 0;
    Clock::time_point may_start{};
    std::optional<std::int64_t> starts_at_step{};  // of the job, after a fault on demand
    bool is_gone = false;                          // for ever
    bool is_dying = false;                         // of a signal, and the others know
    std::optional<Clock::time_point> stopped_since{};
    bool was_in = false;  // one of the agreements, in this life
    std::optional<Clock::time_point> left_out_since{};
    std::optional<AgentEnd> end{};  // of its last life
  };

  void start(Worker& worker);
  void look_after(Worker& worker);
  void note_fatal_signal(Worker& worker);
  void note_end(Worker& worker);
  void plan_restart(Worker& worker);
  void look_at_job();
  void end_what_does_not_go_on(Worker& worker);
  [[nodiscard]] bool has_ended() const;
  [[nodiscard]] bool is_over() const;
  [[nodiscard]] AgentEnd how_it_ended() const;

  AgentConfig config_;
  Store& store_;
  std::vector<Worker> workers_;
  bool has_begun_ = false;
  std::optional<Agreement> last_;
  bool is_interrupted_ = false;      // SIGINT
  std::optional<AgentEnd> failed_;   // before it began
  std::vector<std::string> causes_;  // of ends, in their order
};

}  // namespace runflat::exec
