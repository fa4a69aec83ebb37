#include "exec/gloo_transport.hpp"

#include "exec/gloo_group.hpp"
#include "exec/queued_communicator.hpp"
#include "exec/sigpipe.hpp"

#include <algorithm>
#include <chrono>
#include <gloo/common/error.h>
#include <gloo/transport/address.h>
#include <gloo/transport/pair.h>
#include <gloo/transport/tcp/device.h>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <string>
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
    const auto rank = static_cast<int>(place - group.members.begin());
    const std::string prefix = "gloo/" + group.name + "/";
    try {
      const Context context = device_->createContext(rank, static_cast<int>(group.members.size()));
      context->setTimeout(std::chrono::ceil<std::chrono::milliseconds>(std::clamp<Clock::duration>(
          deadline - Clock::now(), std::chrono::milliseconds(1), std::chrono::hours(100))));
      publish(*context, prefix);
      if (!connect(*context, prefix, deadline)) {
        return nullptr;
      }
      auto made = std::make_unique<GlooGroup>(context);
      const SyncStatus status = made->barrier(deadline);
      spec_.store->remove(prefix + std::to_string(rank));  // all have read it
      return status == SyncStatus::done ? std::move(made) : nullptr;
    } catch (const gloo::Exception&) {
      return nullptr;
    }
  }

 private:
  /// Makes this end of all connections; stores the addresses, by peer.
  void publish(gloo::transport::Context& context, const std::string& prefix) const {
    std::string addresses;
    for (int peer = 0; peer < context.size; ++peer) {
      const std::vector<char> bytes =
          peer == context.rank ? std::vector<char>{} : context.createPair(peer)->address().bytes();
      addresses.append(bytes.begin(), bytes.end());
    }
    spec_.store->set(prefix + std::to_string(context.rank), addresses);
  }

  bool connect(gloo::transport::Context& context,
               const std::string& prefix,
               Deadline deadline) const {
    for (int peer = 0; peer < context.size; ++peer) {
      if (peer == context.rank) {
        continue;
      }
      const auto addresses = spec_.store->wait(prefix + std::to_string(peer), deadline);
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

}  // namespace

std::unique_ptr<Transport> make_gloo_transport(const GlooSpec& spec) {
  ignore_sigpipe();
  std::shared_ptr<gloo::transport::Device> device;
  try {
    device = gloo::transport::tcp::CreateDevice(gloo::transport::tcp::attr(spec.host.c_str()));
  } catch (const std::exception&) {
    throw std::runtime_error("gloo: not a name or address of this host: " + spec.host);
  }
  return std::make_unique<QueuedTransport>(spec.process, std::make_shared<GlooMaker>(spec, device));
}

}  // namespace runflat::exec
