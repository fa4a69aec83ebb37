#include "exec/communication/gloo_group.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <exception>
#include <gloo/transport/pair.h>
#include <limits>

namespace runflat::exec {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kFarewellSlot = std::numeric_limits<std::uint64_t>::max();
constexpr auto kFarewellTime = 500ms;
constexpr auto kForEver = std::chrono::hours(24 * 365);

/// Messages of a slot match in their order. Gloo ends the process when the ends of a message have
/// different sizes; with a slot for every size they do not match.
std::uint64_t slot_of(std::int64_t bytes) {
  return static_cast<std::uint64_t>(bytes);
}

std::chrono::milliseconds time_until(Deadline deadline) {
  const auto time = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
  return std::clamp<std::chrono::milliseconds>(time, 1ms, kForEver);
}

/// Calls `visit` with every message to or from another rank and its buffer.
template <typename Message, typename Buffers, typename Visit>
void for_all(std::span<const Message> messages, const Buffers& buffers, Visit visit) {
  for (std::size_t i = 0; i < messages.size(); ++i) {
    if (buffers[i]) {
      visit(messages[i], *buffers[i]);
    }
  }
}

}  // namespace

GlooGroup::GlooGroup(std::shared_ptr<gloo::transport::Context> context)
    : context_(std::move(context)),
      farewells_(context_->createUnboundBuffer(&farewell_, sizeof(farewell_))) {
  for (int peer = 0; peer < context_->size; ++peer) {
    if (peer != context_->rank) {
      farewells_->recv(peer, kFarewellSlot);
    }
  }
  watcher_ = std::thread([this] { watch(); });
}

GlooGroup::~GlooGroup() {
  say_farewell();
  farewells_->abortWaitRecv();
  watcher_.join();
  // Closed before the buffer goes that they may write to.
  for (int peer = 0; peer < context_->size; ++peer) {
    context_->getPair(peer).reset();
  }
}

/// Aborts the group when a peer has gone without a farewell. Those that said it have ended all they
/// had to do with this rank; what is later meant for them finds the connection closed.
void GlooGroup::watch() {
  try {
    for (int num_left = 1; num_left < context_->size; ++num_left) {
      if (!farewells_->waitRecv(kForEver)) {
        return;
      }
    }
  } catch (const std::exception&) {
    abort();
  }
}

void GlooGroup::say_farewell() {
  const std::byte farewell{};
  const Deadline deadline = deadline_in(kFarewellTime);
  for (int peer = 0; peer < context_->size && !is_aborted(); ++peer) {
    if (peer != context_->rank) {
      try {
        const Buffer buffer =
            context_->createUnboundBuffer(const_cast<std::byte*>(&farewell), sizeof(farewell));
        buffer->send(peer, kFarewellSlot);
        buffer->waitSend(time_until(deadline));
      } catch (const std::exception&) {
        continue;  // that one has left already
      }
    }
  }
}

SyncStatus GlooGroup::exchange(std::span<const Send> sends,
                               std::span<const Receive> receives,
                               Deadline deadline) {
  copy_to_itself(sends, receives);
  const Messages messages = buffers_of(sends, receives);
  {
    const std::lock_guard lock(mutex_);
    if (aborted_at_) {
      return SyncStatus::peer_lost;
    }
    active_ = &messages;
  }
  bool is_done = false;
  try {
    post(messages, sends, receives);
    is_done = wait(messages, deadline);
  } catch (const std::exception&) {  // Gloo throws two kinds
    is_done = false;
  }
  {
    const std::lock_guard lock(mutex_);
    active_ = nullptr;
  }
  if (is_done) {
    return SyncStatus::done;
  }
  abort();
  // A deadline that passes closes the connections, which the watcher may have noticed already.
  const std::lock_guard lock(mutex_);
  return *aborted_at_ < deadline ? SyncStatus::peer_lost : SyncStatus::timed_out;
}

GlooGroup::Messages GlooGroup::buffers_of(std::span<const Send> sends,
                                          std::span<const Receive> receives) {
  const auto buffer_of = [&](std::int64_t peer, void* data, std::int64_t bytes) {
    return peer == rank() ? nullptr
                          : context_->createUnboundBuffer(data, static_cast<std::size_t>(bytes));
  };
  Messages messages;
  for (const Send& send : sends) {
    messages.sends.push_back(buffer_of(send.peer, const_cast<void*>(send.data), send.bytes));
  }
  for (const Receive& receive : receives) {
    messages.receives.push_back(buffer_of(receive.peer, receive.data, receive.bytes));
  }
  return messages;
}

void GlooGroup::post(const Messages& messages,
                     std::span<const Send> sends,
                     std::span<const Receive> receives) {
  for_all(receives, messages.receives, [](const Receive& receive, auto& buffer) {
    buffer.recv(static_cast<int>(receive.peer), slot_of(receive.bytes));
  });
  for_all(sends, messages.sends, [](const Send& send, auto& buffer) {
    buffer.send(static_cast<int>(send.peer), slot_of(send.bytes));
  });
}

bool GlooGroup::wait(const Messages& messages, Deadline deadline) {
  const auto is_over = [&](const std::vector<Buffer>& buffers, auto wait_for) {
    return std::all_of(buffers.begin(), buffers.end(), [&](const Buffer& buffer) {
      return !buffer || wait_for(*buffer, time_until(deadline));
    });
  };
  return is_over(messages.receives,
                 [](auto& buffer, auto time) { return buffer.waitRecv(time); }) &&
         is_over(messages.sends, [](auto& buffer, auto time) { return buffer.waitSend(time); });
}

void GlooGroup::copy_to_itself(std::span<const Send> sends,
                               std::span<const Receive> receives) const {
  auto receive = receives.begin();
  for (const Send& send : sends) {
    if (send.peer == rank()) {
      receive = std::find_if(
          receive, receives.end(), [&](const Receive& other) { return other.peer == rank(); });
      require(receive != receives.end() && receive->bytes == send.bytes,
              "the sizes of a message's ends differ");
      if (send.bytes > 0) {
        std::memcpy(receive->data, send.data, static_cast<std::size_t>(send.bytes));
      }
      ++receive;
    }
  }
}

bool GlooGroup::is_aborted() {
  const std::lock_guard lock(mutex_);
  return aborted_at_.has_value();
}

void GlooGroup::abort() {
  {
    const std::lock_guard lock(mutex_);
    aborted_at_ = aborted_at_.value_or(Clock::now());
    if (active_ != nullptr) {
      for (const Buffer& buffer : active_->sends) {
        if (buffer) {
          buffer->abortWaitSend();
        }
      }
      for (const Buffer& buffer : active_->receives) {
        if (buffer) {
          buffer->abortWaitRecv();
        }
      }
    }
  }
  for (int peer = 0; peer < context_->size; ++peer) {
    if (peer != context_->rank) {
      context_->getPair(peer)->close();
    }
  }
}

}  // namespace runflat::exec
