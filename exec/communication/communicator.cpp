#include "exec/communication/communicator.hpp"

#include "core/error.hpp"

#include <cstddef>

namespace runflat::exec {
namespace {

template <typename Message, typename Pointer>
std::vector<Message> messages(Pointer data, std::span<const std::int64_t> sizes) {
  std::vector<Message> all;
  for (std::size_t peer = 0; peer < sizes.size(); ++peer) {
    require(sizes[peer] >= 0, "all_to_all_v: sizes are not negative");
    if (sizes[peer] > 0) {
      all.push_back({static_cast<std::int64_t>(peer), data, sizes[peer]});
      data += sizes[peer];
    }
  }
  return all;
}

}  // namespace

Ticket all_to_all_v(Communicator& group,
                    const void* send,
                    std::span<const std::int64_t> send_bytes,
                    void* recv,
                    std::span<const std::int64_t> recv_bytes) {
  require(std::ssize(send_bytes) == group.size() && std::ssize(recv_bytes) == group.size(),
          "all_to_all_v: one size for every rank");
  return group.exchange(messages<Send>(static_cast<const std::byte*>(send), send_bytes),
                        messages<Receive>(static_cast<std::byte*>(recv), recv_bytes));
}

}  // namespace runflat::exec
