#pragma once

#include <functional>
#include <stdexcept>
#include <string>

namespace runflat::exec {

inline constexpr int kBadInput = 2;
inline constexpr int kInfeasible = 3;
inline constexpr int kPeerLost = 4;
inline constexpr int kFenced = 5;

/// Ends a program with an exit status and a reason.
class ProgramEnd : public std::runtime_error {
 public:
  ProgramEnd(int status, const std::string& reason) : std::runtime_error(reason), status_(status) {}
  [[nodiscard]] int status() const { return status_; }

 private:
  int status_;
};

/// Runs a program's work and gives its exit status: 0 done, 2 bad input or something that is not
/// there, 3 no feasible plan, 4 peer lost, 5 left out by the others, 1 anything else. A failure is
/// one line on stderr.
[[nodiscard]] int exit_status_of(const std::function<void()>& run);

}  // namespace runflat::exec
