#pragma once

#include <functional>

namespace runflat::exec {

/// Runs a program's work and gives its exit status: 0 done, 2 bad input or something that is not
/// there, 3 no feasible plan, 4 peer lost, 1 anything else. A failure is one line on stderr.
[[nodiscard]] int exit_status_of(const std::function<void()>& run);

}  // namespace runflat::exec
