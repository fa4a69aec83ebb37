#include "exec/communication/transport.hpp"

#include <algorithm>

namespace runflat::exec {
namespace {

constexpr std::chrono::milliseconds kInterruptPoll{10};

}  // namespace

std::optional<std::string> wait_for(Store& store,
                                    std::string_view key,
                                    const GroupSpec& group,
                                    Deadline deadline) {
  std::optional<std::string> value;
  while (!value && Clock::now() < deadline && !(group.is_interrupted && group.is_interrupted())) {
    value = store.wait(key, std::min(deadline, deadline_in(kInterruptPoll)));
  }
  return value;
}

}  // namespace runflat::exec
