#include "exec/device/xid.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <string_view>

namespace runflat::exec {
namespace {

struct Entry {
  std::int64_t xid;
  std::string_view what;
  XidRemedy remedy;
};

constexpr std::array kCatalog = {
    Entry{13, "graphics engine exception", XidRemedy::none},
    Entry{31, "GPU memory page fault", XidRemedy::none},
    Entry{43, "GPU stopped processing", XidRemedy::none},
    Entry{45, "preemptive cleanup, due to previous errors", XidRemedy::none},
    Entry{46, "GPU stopped processing", XidRemedy::reset},
    Entry{48, "double bit ECC error", XidRemedy::reset},
    Entry{62, "internal micro-controller halt", XidRemedy::reset},
    Entry{63, "GPU memory remapping event", XidRemedy::none},
    Entry{64, "GPU memory remapping failure", XidRemedy::reset},
    Entry{74, "NVLink error", XidRemedy::reset},
    Entry{79, "GPU has fallen off the bus", XidRemedy::reset},
    Entry{94, "contained memory error", XidRemedy::new_process},
    Entry{95, "uncontained memory error", XidRemedy::reset},
    Entry{109, "context switch timeout", XidRemedy::reset},
    Entry{110, "security fault", XidRemedy::reset},
    Entry{119, "GSP RPC timeout", XidRemedy::reset},
    Entry{120, "GSP error", XidRemedy::reset},
    Entry{136, "NVLink training failed", XidRemedy::reset},
    Entry{140, "unrecovered ECC error", XidRemedy::reset},
    Entry{143, "GPU initialization error", XidRemedy::reset},
    Entry{158, "GPU fatal timeout", XidRemedy::reset},
};

const Entry* find(std::int64_t xid) {
  const auto* entry = std::find_if(
      kCatalog.begin(), kCatalog.end(), [xid](const Entry& it) { return it.xid == xid; });
  return entry == kCatalog.end() ? nullptr : entry;
}

}  // namespace

XidRemedy remedy_of(std::int64_t xid) {
  const Entry* entry = find(xid);
  return entry == nullptr ? XidRemedy::none : entry->remedy;
}

std::string describe_xid(std::int64_t xid) {
  const Entry* entry = find(xid);
  return entry == nullptr ? fmt::format("Xid {}", xid)
                          : fmt::format("Xid {}: {}", xid, entry->what);
}

}  // namespace runflat::exec
