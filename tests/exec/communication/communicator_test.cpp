#include "exec/communication/communicator.hpp"

#include "core/error.hpp"
#include "tests/catch.hpp"
#include "tests/exec/worlds.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

using namespace runflat;
using namespace runflat::exec;
using namespace runflat::tests;
using kernels::BFloat16;

namespace {

/// Something irregular for (rank, element).
std::int64_t mix(std::int64_t rank, std::int64_t i) {
  return ((rank + 1) * 7919 + i * 104729) % 1009;
}

/// A whole number that every type holds, and sums of 8 of them too (bf16 has 8 bits).
template <typename T>
T whole(std::int64_t rank, std::int64_t i) {
  const std::int64_t value = mix(rank, i) % 32 - 16;
  if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(value);
  } else {
    return T(static_cast<float>(value));
  }
}

/// A number whose sums are rounded, and so depend on their order.
template <typename T>
T rough(std::int64_t rank, std::int64_t i) {
  return T(static_cast<float>(mix(rank, i)) / 997.F * (rank % 2 == 0 ? 1.F : -64.F));
}

template <typename T>
using Element = T (*)(std::int64_t rank, std::int64_t i);

template <typename T>
std::vector<T> array_of(std::int64_t rank, std::int64_t num, Element<T> element) {
  std::vector<T> array;
  for (std::int64_t i = 0; i < num; ++i) {
    array.push_back(element(rank, i));
  }
  return array;
}

/// The reduction as defined: in the order of the ranks, bf16 in fp32 and rounded once.
template <typename T>
std::vector<T> reduced(std::int64_t size, std::int64_t num, ReduceOp op, Element<T> element) {
  using Sum = std::conditional_t<std::is_same_v<T, BFloat16>, float, T>;
  std::vector<T> result;
  for (std::int64_t i = 0; i < num; ++i) {
    auto sum = static_cast<Sum>(element(0, i));
    for (std::int64_t rank = 1; rank < size; ++rank) {
      const auto other = static_cast<Sum>(element(rank, i));
      sum = op == ReduceOp::sum ? sum + other : std::max(sum, other);
    }
    result.push_back(static_cast<T>(sum));
  }
  return result;
}

template <typename T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

/// Says what is not as it should be.
class Findings {
 public:
  void expect(bool holds, const std::string& what) { text_ += holds ? "" : what + "; "; }
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  std::string text_;
};

/// Counts of the ranks: all the same, and two uneven ones with zeros.
std::vector<std::vector<std::int64_t>> cases_of_counts(std::int64_t size) {
  std::vector<std::vector<std::int64_t>> cases;
  const auto ranks = static_cast<std::size_t>(size);
  for (const std::int64_t num : {0, 1, 4, 100, 1000}) {
    cases.emplace_back(ranks, num);
  }
  cases.emplace_back(ranks);
  cases.emplace_back(ranks);
  for (std::int64_t rank = 0; rank < size; ++rank) {
    cases[5][static_cast<std::size_t>(rank)] = mix(rank, size) % 3 * 137;
    cases[6][static_cast<std::size_t>(rank)] = rank == size - 1 ? 5003 : 0;
  }
  return cases;
}

template <typename T>
void check_reductions(Communicator& group,
                      const std::vector<std::int64_t>& counts,
                      DataType type,
                      Element<T> element,
                      Findings& findings) {
  const std::int64_t num = std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
  for (const ReduceOp op : {ReduceOp::sum, ReduceOp::max}) {
    const std::vector<T> expected = reduced<T>(group.size(), num, op, element);
    std::vector<T> all = array_of<T>(group.rank(), num, element);
    std::vector<T> scattered = all;
    group.all_reduce(all.data(), num, type, op);
    const Ticket ticket = group.reduce_scatter(scattered.data(), counts, type, op);
    group.join(ticket);
    const std::string name = "type " + std::to_string(static_cast<int>(type)) + " num " +
                             std::to_string(num) + " op " + std::to_string(static_cast<int>(op));
    findings.expect(same_bits(all, expected), "all_reduce " + name);
    const auto first =
        std::accumulate(counts.begin(), counts.begin() + group.rank(), std::int64_t{0});
    const auto mine = counts[static_cast<std::size_t>(group.rank())];
    const auto part = [&](const std::vector<T>& data) {
      return std::vector<T>(data.begin() + first, data.begin() + first + mine);
    };
    findings.expect(same_bits(part(scattered), part(expected)), "reduce_scatter " + name);
  }
}

void check_all_gather(Communicator& group,
                      const std::vector<std::int64_t>& counts,
                      Findings& findings) {
  std::vector<std::int32_t> expected;
  std::vector<std::int32_t> data;
  for (std::int64_t rank = 0; rank < group.size(); ++rank) {
    for (std::int64_t i = 0; i < counts[static_cast<std::size_t>(rank)]; ++i) {
      expected.push_back(whole<std::int32_t>(rank, i));
      data.push_back(rank == group.rank() ? expected.back() : -1);
    }
  }
  group.join(group.all_gather(data.data(), counts, DataType::int32));
  findings.expect(data == expected, "all_gather " + std::to_string(data.size()));
}

void check_broadcast(Communicator& group, std::int64_t num, Findings& findings) {
  for (std::int64_t root = 0; root < group.size(); ++root) {
    const std::vector<double> expected = array_of<double>(root, num, rough<double>);
    std::vector<double> data = array_of<double>(group.rank(), num, rough<double>);
    group.join(group.broadcast(data.data(), num * 8, root));
    findings.expect(data == expected, "broadcast " + std::to_string(num));
  }
}

/// Rank a sends `counts[(a + b) % size]` to b, so that all ends agree.
void check_all_to_all(Communicator& group,
                      const std::vector<std::int64_t>& counts,
                      Findings& findings) {
  std::vector<std::int64_t> bytes;
  std::vector<std::int64_t> send;
  std::vector<std::int64_t> expected;
  for (std::int64_t peer = 0; peer < group.size(); ++peer) {
    const std::int64_t num = counts[static_cast<std::size_t>((group.rank() + peer) % group.size())];
    bytes.push_back(num * 8);
    for (std::int64_t i = 0; i < num; ++i) {
      send.push_back(group.rank() * 1000 + peer * 100 + i);
      expected.push_back(peer * 1000 + group.rank() * 100 + i);
    }
  }
  std::vector<std::int64_t> received(expected.size());
  group.join(all_to_all_v(group, send.data(), bytes, received.data(), bytes));
  findings.expect(received == expected, "all_to_all_v " + std::to_string(expected.size()));
}

/// One type of the many, and numbers that are rounded.
void check_reductions(Communicator& group,
                      const std::vector<std::int64_t>& counts,
                      DataType type,
                      Findings& findings) {
  switch (type) {
    case DataType::fp32:
      check_reductions<float>(group, counts, type, whole<float>, findings);
      return check_reductions<float>(group, counts, type, rough<float>, findings);
    case DataType::fp64:
      check_reductions<double>(group, counts, type, whole<double>, findings);
      return check_reductions<double>(group, counts, type, rough<double>, findings);
    case DataType::bf16:
      check_reductions<BFloat16>(group, counts, type, whole<BFloat16>, findings);
      return check_reductions<BFloat16>(group, counts, type, rough<BFloat16>, findings);
    case DataType::int32:
      return check_reductions<std::int32_t>(group, counts, type, whole<std::int32_t>, findings);
    case DataType::int64:
      return check_reductions<std::int64_t>(group, counts, type, whole<std::int64_t>, findings);
  }
}

constexpr std::array kTypes = {
    DataType::fp32, DataType::bf16, DataType::fp64, DataType::int32, DataType::int64};

std::string check_all(TestRank& self) {
  Communicator& group = self.world;
  Findings findings;
  const auto cases = cases_of_counts(group.size());
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const std::vector<std::int64_t>& counts = cases[i];
    check_reductions(group, counts, kTypes[i % kTypes.size()], findings);
    check_all_gather(group, counts, findings);
    check_broadcast(group, counts[0], findings);
    check_all_to_all(group, counts, findings);
    group.join(group.barrier());
  }
  findings.expect(group.status() == SyncStatus::done, "status " + name_of(group.status()));
  return findings.text();
}

std::string check_types(TestRank& self) {
  Findings findings;
  for (const DataType type : kTypes) {
    check_reductions(self.world, {1, 700, 0}, type, findings);
  }
  return findings.text();
}

std::vector<std::string> of_all(std::int64_t size, const std::string& text) {
  return std::vector<std::string>(static_cast<std::size_t>(size), text);
}

}  // namespace

TEST_CASE("every operation gives what it says, for any size and count", "[exec][ranks]") {
  const World world = GENERATE(kThreads, kProcesses);
  const std::int64_t size = GENERATE(1, 2, 3, 4, 5, 6, 7, 8);
  CAPTURE(world.name, size);
  CHECK(world.run(size, check_all) == of_all(size, ""));
}

TEST_CASE("reductions are exact where the type is, and otherwise in the order of the ranks",
          "[exec][ranks]") {
  const World world = GENERATE(kThreads, kProcesses);
  CHECK(world.run(3, check_types) == of_all(3, ""));
}

TEST_CASE("sums of whole numbers are exact in every type", "[exec][ranks]") {
  // What check_reductions compares with is in the type itself: here it is in integers.
  for (std::int64_t i = 0; i < 1000; ++i) {
    std::int64_t sum = 0;
    for (std::int64_t rank = 0; rank < 8; ++rank) {
      sum += whole<std::int64_t>(rank, i);
    }
    const auto bf16 = reduced<BFloat16>(8, i + 1, ReduceOp::sum, whole<BFloat16>).back();
    REQUIRE(static_cast<double>(bf16) == static_cast<double>(sum));
  }
}

TEST_CASE("the maximum with a NaN is NaN", "[exec][ranks]") {
  const World world = GENERATE(kThreads, kProcesses);
  const auto run = [](TestRank& self) -> std::string {
    std::vector<float> values(3, static_cast<float>(self.world.rank()));
    values[static_cast<std::size_t>(self.world.rank())] = std::numeric_limits<float>::quiet_NaN();
    self.world.join(self.world.all_reduce(values.data(), 3, DataType::fp32, ReduceOp::max));
    return std::all_of(values.begin(), values.end(), [](float value) { return value != value; })
               ? "NaN"
               : "lost";
  };
  CHECK(world.run(3, run) == of_all(3, "NaN"));
}

TEST_CASE("nobody passes a barrier before everybody is there", "[exec][ranks]") {
  const World world = GENERATE(kThreads, kProcesses);
  constexpr int kRounds = 20;
  const TemporaryDirectory directory;
  const auto run = [&](TestRank& self) -> std::string {
    const auto store = make_store("dir:" + directory.path().string(), 10s);
    for (int round = 1; round <= kRounds; ++round) {
      store->add("arrived", 1);
      self.world.join(self.world.barrier());
      if (std::stoll(store->get("arrived").value()) < round * self.world.size()) {
        return "early";
      }
    }
    return name_of(self.world.status());
  };
  CHECK(world.run(5, run) == of_all(5, "done"));
}

TEST_CASE("messages between two ranks match in their order, whatever others do", "[exec][ranks]") {
  const World world = GENERATE(kThreads, kProcesses);
  const auto run = [](TestRank& self) -> std::string {
    // A pipeline: rank r receives from r - 1 and sends to r + 1; only these two call.
    constexpr std::int64_t kNum = 50;
    Communicator& group = self.world;
    for (std::int64_t i = 0; i < kNum; ++i) {
      std::vector<std::int64_t> data(static_cast<std::size_t>(1 + i % 3), i);
      const auto bytes = std::ssize(data) * 8;
      if (group.rank() > 0) {
        std::fill(data.begin(), data.end(), -1);
        const Receive receive{group.rank() - 1, data.data(), bytes};
        group.join(group.exchange({}, {&receive, 1}));
        if (data != std::vector<std::int64_t>(data.size(), i + group.rank() - 1)) {
          return "wrong";
        }
        std::fill(data.begin(), data.end(), i + group.rank());
      }
      if (group.rank() + 1 < group.size()) {
        const Send send{group.rank() + 1, data.data(), bytes};
        group.join(group.exchange({&send, 1}, {}));
      }
    }
    return name_of(group.wait(deadline_in(20s)));
  };
  CHECK(world.run(4, run) == of_all(4, "done"));
}

TEST_CASE("a large message arrives whole, and a rank may send to itself", "[exec][ranks]") {
  const World world = GENERATE(kThreads, kProcesses);
  const auto run = [](TestRank& self) -> std::string {
    Communicator& group = self.world;
    constexpr std::int64_t kNum = std::int64_t{1} << 20;
    const std::vector<std::int64_t> out(static_cast<std::size_t>(kNum), group.rank());
    std::vector<std::int64_t> from_peer(out.size());
    std::vector<std::int64_t> from_me(out.size());
    const std::int64_t peer = 1 - group.rank();
    const std::vector<Send> sends = {{peer, out.data(), kNum * 8},
                                     {group.rank(), out.data(), kNum * 8}};
    const std::vector<Receive> receives = {{group.rank(), from_me.data(), kNum * 8},
                                           {peer, from_peer.data(), kNum * 8}};
    group.join(group.exchange(sends, receives));
    return from_me == out && from_peer == std::vector<std::int64_t>(out.size(), peer) ? "whole"
                                                                                      : "torn";
  };
  CHECK(world.run(2, run) == of_all(2, "whole"));
}

TEST_CASE("groups of some processes number their members in order", "[exec][ranks]") {
  const World world = GENERATE(kThreads, kProcesses);
  const auto run = [](TestRank& self) -> std::string {
    const std::int64_t me = self.transport.process();
    // Rows {0 1 2} {3 4 5} and columns {3 0} {4 1} {5 2}.
    const std::int64_t row = me / 3 * 3;
    const auto rows = self.transport.make_group(
        {.name = "row " + std::to_string(row), .members = {row, row + 1, row + 2}, .timeout = 20s},
        deadline_in(20s));
    const auto columns = self.transport.make_group({.name = "column " + std::to_string(me % 3),
                                                    .members = {me % 3 + 3, me % 3},
                                                    .timeout = 20s},
                                                   deadline_in(20s));
    if (!rows || !columns || rows->rank() != me % 3 || columns->rank() != 1 - me / 3) {
      return "wrong rank";
    }
    std::int64_t sum = me;
    rows->join(rows->all_reduce(&sum, 1, DataType::int64, ReduceOp::sum));
    columns->follow(*rows, 1);
    columns->join(columns->all_reduce(&sum, 1, DataType::int64, ReduceOp::sum));
    return std::to_string(sum);
  };
  CHECK(world.run(6, run) == of_all(6, "15"));
}

TEST_CASE("what cannot be meant is refused at the call", "[exec][ranks]") {
  spawn(2, [](ThreadRank& self) {
    Communicator& group = self.world;
    std::vector<float> data(4);
    const std::vector<std::int64_t> one = {4};
    const std::vector<std::int64_t> negative = {5, -1};
    const Send send{2, data.data(), 4};
    const auto is_refused = [](const std::function<void()>& call) {
      try {
        call();
      } catch (const InvalidArgument&) {
        return;
      }
      throw std::runtime_error("not refused");
    };
    is_refused([&] { group.all_gather(data.data(), one, DataType::fp32); });
    is_refused([&] { group.reduce_scatter(data.data(), negative, DataType::fp32, ReduceOp::sum); });
    is_refused([&] { group.all_reduce(nullptr, 1, DataType::fp32, ReduceOp::sum); });
    is_refused([&] { group.broadcast(data.data(), 16, 2); });
    is_refused([&] { group.exchange({&send, 1}, {}); });
    is_refused([&] { group.join(1); });
    is_refused([&] { all_to_all_v(group, data.data(), one, data.data(), one); });
    is_refused([&] {
      (void)self.transport.make_group({.name = "of others", .members = {1 - self.world.rank()}},
                                      deadline_in(1s));
    });
    require(group.status() == SyncStatus::done, "it goes on");
  });
}
