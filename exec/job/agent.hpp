#pragma once

#include "exec/device/xid.hpp"
#include "exec/job/child_process.hpp"
#include "exec/job/leases.hpp"
#include "exec/job/train_config.hpp"
#include "exec/job/worker_process.hpp"
#include "exec/recovery/agreement.hpp"
#include "exec/store/store.hpp"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
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
  std::int64_t place = 0;  ///< of this agent among those of the job
  std::int64_t num_places = 1;
  /// Errors of its GPUs since the last call; nullptr: it has none.
  std::function<std::vector<XidEvent>()> take_xids{};
};

/// How a job ended, as an exit status (exit_status.hpp), and why if not well.
struct AgentEnd {
  int status = 0;
  std::string reason;
};

/// Starts the workers of its place in a job, and outlives them: tells the others, through the
/// Store, when one has ended, and starts it again. It finds, each in its own way, with the times of
/// `[recovery]` and the distributed_timeout_minutes of `[training]`:
///
/// | what                                   | known after                                   |
/// |----------------------------------------|-----------------------------------------------|
/// | a worker exits or is killed            | at once; so do fatal CUDA and NCCL errors     |
/// | the driver reports that a worker's GPU | at once, then it is killed; where the GPU has |
/// | or its memory has failed (xid.hpp)     | to be reset, it stays away                    |
/// | a worker is stopped (SIGSTOP)          | hang_timeout, then it is killed               |
/// | a worker makes no progress in a step,  | hang_timeout, then it ends itself             |
/// | and waits for nobody (hang_watch.hpp)  |                                               |
/// | a worker hangs in another way, as with | distributed_timeout + join_timeout of its     |
/// | its GPU: its peers go on               | peers, then it is killed                      |
/// | an agent or its host dies              | lost_host_timeout (leases.hpp): its workers,  |
/// |                                        | which die with it, are marked dead            |
///
/// A worker that cannot start (bad input, no such GPU) ends the job, unless it comes back to one
/// that has begun: then it counts as dead. One that has ended `max_restarts` times stays away. An
/// agent that others counted as lost, and that was only slow, ends the workers that they have
/// marked and starts them again. One that is started in the place of an agent that has ended goes
/// on with new lives.
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
    std::string ended_for{};  // why this agent ended this life
    std::string error{};      // of its GPU
    Clock::time_point error_at{};
    bool needs_reset = false;       // its GPU does
    std::optional<AgentEnd> end{};  // of its last life
  };

  void start(Worker& worker);
  void look_after(Worker& worker);
  void note_fatal_signal(Worker& worker);
  /// With the error of its GPU, where there has just been one.
  [[nodiscard]] static std::string explained(const Worker& worker, const std::string& end);
  void note_end(Worker& worker);
  void plan_restart(Worker& worker);
  void look_at_job();
  void end_what_does_not_go_on(Worker& worker);
  void end(Worker& worker, const std::string& cause, std::chrono::milliseconds silence);
  void look_at_gpus();
  void note_error(Worker& worker, std::int64_t xid);
  void look_at_agents();
  void set_gone_for_ever(Worker& worker);
  [[nodiscard]] bool has_ended() const;
  [[nodiscard]] bool is_over() const;
  [[nodiscard]] AgentEnd how_it_ended() const;

  AgentConfig config_;
  Store& store_;
  std::vector<Worker> workers_;
  std::optional<Leases> leases_;  // where there are other agents
  Clock::time_point next_beat_{};
  bool has_begun_ = false;
  std::optional<Agreement> last_;
  bool is_interrupted_ = false;      // SIGINT
  std::optional<AgentEnd> failed_;   // before it began
  std::vector<std::string> causes_;  // of ends, in their order
};

}  // namespace runflat::exec
