#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <sys/types.h>
#include <thread>
#include <vector>

namespace runflat::exec {

/// A process of this program's own, which ends with it. Its standard input is empty; what it says
/// on standard error is passed on line by line, save the reasons that it gives (`runflat: ...`).
class ChildProcess {
 public:
  /// `environment` is added to this process's own. std::system_error where it cannot be started.
  ChildProcess(const std::filesystem::path& program,
               const std::vector<std::string>& arguments,
               const std::vector<std::string>& environment);
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;
  /// Kills it if it has not ended.
  ~ChildProcess();

  /// Whether it has ended; never waits.
  [[nodiscard]] bool has_ended();
  /// The signal that ends it, 0 where none does or the system does not tell: a process that holds a
  /// GPU takes a tenth of a second and more from a signal to its end.
  [[nodiscard]] int fatal_signal() const;
  /// Whether it is stopped, as by SIGSTOP.
  [[nodiscard]] bool is_stopped() const;
  void send(int signal) const;

  /// Once it has ended: its exit status, or minus the signal that killed it; the last reason that
  /// it gave, without its prefix; both in words.
  [[nodiscard]] int status() const { return status_; }
  [[nodiscard]] const std::string& reason() const { return reason_; }
  [[nodiscard]] std::string describe() const;

 private:
  void pass_on(int descriptor);

  pid_t pid_ = -1;
  bool has_ended_ = false;
  int status_ = 0;
  std::string reason_;  // of the reader until it has ended
  std::thread reader_;
};

/// `was killed by SIGKILL`.
[[nodiscard]] std::string killed_by(int signal);

}  // namespace runflat::exec
