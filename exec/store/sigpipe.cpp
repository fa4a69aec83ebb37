#include "exec/store/sigpipe.hpp"

#include <csignal>

namespace runflat::exec {

void ignore_sigpipe() {
  struct sigaction current {};
  if (::sigaction(SIGPIPE, nullptr, &current) == 0 && current.sa_handler == SIG_DFL) {
    current.sa_handler = SIG_IGN;
    ::sigaction(SIGPIPE, &current, nullptr);
  }
}

}  // namespace runflat::exec
