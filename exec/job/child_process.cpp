#include "exec/job/child_process.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>
#include <string_view>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <system_error>
#include <unistd.h>

namespace runflat::exec {
namespace {

constexpr std::string_view kReasonPrefix = "runflat: ";
constexpr int kCannotStart = 127;
constexpr std::size_t kExitCode = 49;  // in stat_fields: as waitpid gives it
constexpr int kSignalMask = 0x7f;

/// What exec needs: pointers that end with a null one.
std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> result;
  for (std::string& word : words) {
    result.push_back(word.data());
  }
  result.push_back(nullptr);
  return result;
}

/// This process's environment, changed.
std::vector<std::string> changed_environment(const std::vector<std::string>& changes) {
  std::vector<std::string> result = changes;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::string_view name = text.substr(0, text.find('=') + 1);
    bool is_changed = false;
    for (const std::string& change : changes) {
      is_changed = is_changed || change.starts_with(name);
    }
    if (!is_changed) {
      result.emplace_back(text);
    }
  }
  return result;
}

/// What follows the name in /proc/PID/stat (proc(5)), from the state on; empty without such a
/// process.
std::vector<std::string> stat_fields(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string text;
  std::getline(file, text);
  const std::size_t end_of_name = text.rfind(')');
  std::istringstream rest(end_of_name != text.npos ? text.substr(end_of_name + 1) : "");
  return {std::istream_iterator<std::string>(rest), {}};
}

/// After fork: only what may be called there.
[[noreturn]] void become(const char* program,
                         char* const* arguments,
                         char* const* environment,
                         int standard_error,
                         pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) {
    ::_exit(kCannotStart);  // it was gone before
  }
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  const int null = ::open("/dev/null", O_RDONLY);
  ::dup2(null, STDIN_FILENO);
  ::dup2(standard_error, STDERR_FILENO);
  ::execve(program, arguments, environment);
  ::_exit(kCannotStart);
}

}  // namespace

ChildProcess::ChildProcess(const std::filesystem::path& program,
                           const std::vector<std::string>& arguments,
                           const std::vector<std::string>& environment) {
  std::vector<std::string> words = arguments;
  words.insert(words.begin(), program.string());
  std::vector<std::string> variables = changed_environment(environment);
  const std::vector<char*> word_pointers = pointers(words);
  const std::vector<char*> variable_pointers = pointers(variables);
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    throw std::system_error(errno, std::generic_category(), "pipe");
  }
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ == 0) {
    become(program.c_str(), word_pointers.data(), variable_pointers.data(), ends[1], parent);
  }
  const int error = errno;
  ::close(ends[1]);
  if (pid_ < 0) {
    ::close(ends[0]);
    throw std::system_error(error, std::generic_category(), "fork");
  }
  reader_ = std::thread([this, descriptor = ends[0]] { pass_on(descriptor); });
}

ChildProcess::~ChildProcess() {
  if (!has_ended_) {
    send(SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    reader_.join();
  }
}

void ChildProcess::pass_on(int descriptor) {
  std::string text;
  std::array<char, 4096> block{};
  ssize_t num_read = 0;
  while ((num_read = ::read(descriptor, block.data(), block.size())) != 0) {
    if (num_read < 0) {
      if (errno == EINTR) {
        continue;
      }
      break;
    }
    text.append(block.data(), static_cast<std::size_t>(num_read));
    for (std::size_t end = 0; (end = text.find('\n')) != text.npos;) {
      const std::string line = text.substr(0, end);
      text.erase(0, end + 1);
      if (line.starts_with(kReasonPrefix)) {
        reason_ = line.substr(kReasonPrefix.size());
      } else {
        std::cerr << line + '\n' << std::flush;
      }
    }
  }
  ::close(descriptor);
}

bool ChildProcess::has_ended() {
  int status = 0;
  if (!has_ended_ && ::waitpid(pid_, &status, WNOHANG) == pid_) {
    has_ended_ = true;
    status_ = WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
    reader_.join();
  }
  return has_ended_;
}

int ChildProcess::fatal_signal() const {
  const std::vector<std::string> fields = stat_fields(pid_);
  const bool has_died = !fields.empty() && fields.front() == "Z";
  return has_died && fields.size() > kExitCode ? std::stoi(fields[kExitCode]) & kSignalMask : 0;
}

bool ChildProcess::is_stopped() const {
  const std::vector<std::string> fields = stat_fields(pid_);
  return !fields.empty() && fields.front() == "T";
}

void ChildProcess::send(int signal) const {
  ::kill(pid_, signal);
}

std::string killed_by(int signal) {
  const char* name = ::sigabbrev_np(signal);
  return fmt::format("was killed by SIG{}", name != nullptr ? name : std::to_string(signal));
}

std::string ChildProcess::describe() const {
  if (status_ < 0) {
    return killed_by(-status_);
  }
  return fmt::format("ended with status {}{}{}", status_, reason_.empty() ? "" : ": ", reason_);
}

}  // namespace runflat::exec
