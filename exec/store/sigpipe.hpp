#pragma once

namespace runflat::exec {

/// Makes writing to a connection that the peer has closed an error instead of the end of the
/// process, unless the process has a handler of its own: hiredis and Gloo write without
/// MSG_NOSIGNAL.
void ignore_sigpipe();

}  // namespace runflat::exec
