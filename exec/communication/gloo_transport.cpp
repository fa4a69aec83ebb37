#include "exec/communication/gloo_transport.hpp"

#include "exec/communication/gloo_group.hpp"
#include "exec/communication/queued_communicator.hpp"
#include "exec/store/sigpipe.hpp"

#include <algorithm>
#include <chrono>
#include <exception>
#include <gloo/transport/address.h>
#include <gloo/transport/pair.h>
#include <gloo/transport/tcp/device.h>
#include <iterator>
#include <netdb.h>
#include <optional>
#include <stdexcept>
#include <string>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace runflat::exec {
namespace {

using Context = std::shared_ptr<gloo::transport::Context>;

class GlooMaker : public GroupMaker {
 public:
  GlooMaker(GlooSpec spec, std::shared_ptr<gloo::transport::Device> device)
      : spec_(std::move(spec)), device_(std::move(device)) {}

  [[nodiscard]] std::unique_ptr<BlockingGroup> make(const GroupSpec& group,
                                                    Deadline deadline) override {
    const auto place = std::find(group.members.begin(), group.members.end(), spec_.process);
    const std::string prefix = "gloo/" + group.name + "/";
    const std::string mine = prefix + std::to_string(place - group.members.begin());
    std::unique_ptr<BlockingGroup> made;
    try {
      const Context context = device_->createContext(
          static_cast<int>(place - group.members.begin()), static_cast<int>(group.members.size()));
      context->setTimeout(std::chrono::ceil<std::chrono::milliseconds>(std::clamp<Clock::duration>(
          deadline - Clock::now(), std::chrono::milliseconds(1), std::chrono::hours(100))));
      spec_.store->set(mine, make_pairs(*context));
      if (connect(*context, prefix, group, deadline)) {
        made = std::make_unique<GlooGroup>(context);
        // Afterwards all have read all addresses.
        made = made->barrier(deadline) == SyncStatus::done ? std::move(made) : nullptr;
      }
    } catch (const StoreError&) {
      throw;
    } catch (const std::exception&) {  // Gloo throws two kinds
      made = nullptr;
    }
    spec_.store->remove(mine);
    return made;
  }

 private:
  /// Makes this end of all connections and gives their addresses, by peer.
  static std::string make_pairs(gloo::transport::Context& context) {
    std::string addresses;
    for (int peer = 0; peer < context.size; ++peer) {
      const std::vector<char> bytes =
          peer == context.rank ? std::vector<char>{} : context.createPair(peer)->address().bytes();
      addresses.append(bytes.begin(), bytes.end());
    }
    return addresses;
  }

  bool connect(gloo::transport::Context& context,
               const std::string& prefix,
               const GroupSpec& group,
               Deadline deadline) const {
    for (int peer = 0; peer < context.size; ++peer) {
      if (peer == context.rank) {
        continue;
      }
      const auto addresses = wait_for(*spec_.store, prefix + std::to_string(peer), group, deadline);
      if (!addresses) {
        return false;
      }
      // The peer's addresses are those for all but itself.
      const std::size_t size = addresses->size() / static_cast<std::size_t>(context.size - 1);
      const int place = context.rank - (context.rank > peer ? 1 : 0);
      const std::string mine = addresses->substr(static_cast<std::size_t>(place) * size, size);
      context.getPair(peer)->connect({mine.begin(), mine.end()});
    }
    return true;
  }

  GlooSpec spec_;
  std::shared_ptr<gloo::transport::Device> device_;
};

/// Gloo does not survive a name that is not known and leaks one that it cannot listen on.
bool is_of_this_host(const std::string& host) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(host.c_str(), nullptr, &hints, &found) != 0) {
    return false;
  }
  bool is_here = false;
  for (const addrinfo* one = found; one != nullptr && !is_here; one = one->ai_next) {
    const int descriptor = ::socket(one->ai_family, one->ai_socktype, one->ai_protocol);
    is_here = descriptor >= 0 && ::bind(descriptor, one->ai_addr, one->ai_addrlen) == 0;
    if (descriptor >= 0) {
      ::close(descriptor);
    }
  }
  ::freeaddrinfo(found);
  return is_here;
}

/// Null when it cannot listen there.
std::shared_ptr<gloo::transport::Device> make_device(const std::string& host) {
  if (!is_of_this_host(host)) {
    return nullptr;
  }
  try {
    return gloo::transport::tcp::CreateDevice(gloo::transport::tcp::attr(host.c_str()));
  } catch (const std::exception&) {
    return nullptr;
  }
}

}  // namespace

std::unique_ptr<Transport> make_gloo_transport(const GlooSpec& spec) {
  ignore_sigpipe();
  const auto device = make_device(spec.host);
  if (!device) {
    throw std::runtime_error("gloo: not a name or address of this host: " + spec.host);
  }
  return std::make_unique<QueuedTransport>(spec.process, std::make_shared<GlooMaker>(spec, device));
}

}  // namespace runflat::exec
