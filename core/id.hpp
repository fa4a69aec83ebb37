#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <ostream>

namespace runflat {

/// A strong integer id: two ids of different tags never convert into each other, and an id has no
/// arithmetic. `Tag::kPrefix` is what it prints as: `tp3`.
template <typename Tag>
class Id {
 public:
  constexpr Id() = default;
  constexpr explicit Id(std::int64_t value) : value_(value) {}

  [[nodiscard]] constexpr std::int64_t value() const { return value_; }
  /// The value as an index into a vector; the caller has made sure that it is not negative.
  [[nodiscard]] constexpr std::size_t index() const { return static_cast<std::size_t>(value_); }

  friend constexpr auto operator<=>(Id, Id) = default;
  friend std::ostream& operator<<(std::ostream& out, Id id) {
    return out << Tag::kPrefix << id.value_;
  }

 private:
  std::int64_t value_ = 0;
};

struct RankTag {
  static constexpr const char* kPrefix = "rank";
};
struct GpuTag {
  static constexpr const char* kPrefix = "gpu";
};
struct NodeTag {
  static constexpr const char* kPrefix = "node";
};
struct DomainTag {
  static constexpr const char* kPrefix = "domain";
};
struct TpTag {
  static constexpr const char* kPrefix = "tp";
};
struct CpTag {
  static constexpr const char* kPrefix = "cp";
};
struct EpTag {
  static constexpr const char* kPrefix = "ep";
};
struct DpTag {
  static constexpr const char* kPrefix = "dp";
};
struct PpTag {
  static constexpr const char* kPrefix = "pp";
};

/// Global rank of a process in the job: dense over the active ranks.
using Rank = Id<RankTag>;
/// A physical GPU of the cluster, numbered through nodes in order.
using GpuId = Id<GpuTag>;
using NodeId = Id<NodeTag>;
/// A scale-up (NVLink) domain.
using DomainId = Id<DomainTag>;
using TpRank = Id<TpTag>;
using CpRank = Id<CpTag>;
using EpRank = Id<EpTag>;
using DpRank = Id<DpTag>;
using PpRank = Id<PpTag>;

}  // namespace runflat

template <typename Tag>
struct std::hash<runflat::Id<Tag>> {
  std::size_t operator()(runflat::Id<Tag> id) const noexcept {
    return std::hash<std::int64_t>{}(id.value());
  }
};
