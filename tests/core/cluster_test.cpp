#include "core/cluster.hpp"

#include "core/document.hpp"
#include "core/error.hpp"
#include "tests/catch.hpp"
#include "tests/dice.hpp"

#include <numeric>

using namespace runflat;

namespace {

std::string error_of(const std::string& toml) {
  try {
    const Value value = parse_toml(toml, "a.toml");
    (void)read_cluster(Reader(value, "a.toml", "cluster"));
  } catch (const ParseError& error) {
    return error.what();
  }
  return "no error";
}

ClusterSpec random_cluster(tests::Dice& dice) {
  ClusterSpec cluster;
  cluster.gpu = "h100";
  cluster.gpus_per_node = dice.between(1, 9);
  if (dice.one_in(2)) {
    const std::int64_t nodes_per_domain = dice.between(1, 9);
    cluster.domain_size = cluster.gpus_per_node * nodes_per_domain;
    cluster.domains_per_rack = dice.between(1, 4);
    cluster.num_nodes = nodes_per_domain * cluster.domains_per_rack * dice.between(1, 7);
  } else {
    cluster.domain_size = cluster.gpus_per_node;
    cluster.gpus_per_node *= dice.between(1, 4);
    cluster.num_nodes = dice.between(1, 20);
  }
  return cluster;
}

}  // namespace

TEST_CASE("domains and nodes cut the GPUs into equal runs", "[core][cluster]") {
  tests::Dice dice(1);
  for (int round = 0; round < 100; ++round) {
    const ClusterSpec cluster = random_cluster(dice);
    CAPTURE(cluster.num_nodes, cluster.gpus_per_node, cluster.domain_size);
    std::vector<std::int64_t> of_node(static_cast<std::size_t>(cluster.num_nodes), 0);
    std::vector<std::int64_t> of_domain(static_cast<std::size_t>(cluster.num_domains()), 0);
    for (std::int64_t i = 0; i < cluster.num_gpus(); ++i) {
      const GpuId gpu(i);
      ++of_node.at(cluster.node_of(gpu).index());
      ++of_domain.at(cluster.domain_of(gpu).index());
      const std::int64_t first = cluster.first_gpu(cluster.domain_of(gpu)).value();
      REQUIRE((first <= i && i < first + cluster.domain_size));
    }
    CHECK(of_node == std::vector<std::int64_t>(of_node.size(), cluster.gpus_per_node));
    CHECK(of_domain == std::vector<std::int64_t>(of_domain.size(), cluster.domain_size));
  }
}

TEST_CASE("a cluster reads back from what it is written as", "[core][cluster]") {
  tests::Dice dice(2);
  for (int round = 0; round < 100; ++round) {
    const ClusterSpec cluster = random_cluster(dice);
    const Value value = parse_json(to_json_text(to_value(cluster)), "a.json");
    CHECK(read_cluster(Reader(value, "a.json")) == cluster);
  }
}

TEST_CASE("a domain is the node where nothing else is said", "[core][cluster]") {
  const Value value = parse_toml("gpu = 'h100'\nnum_nodes = 3\ngpus_per_node = 4", "a.toml");
  const ClusterSpec cluster = read_cluster(Reader(value, "a.toml"));
  CHECK(cluster.domain_size == 4);
  CHECK(cluster.num_domains() == 3);
}

TEST_CASE("a cluster that does not fit together is refused with the counts", "[core][cluster]") {
  CHECK(error_of("num_nodes = 3") == "a.toml: cluster.gpu: is missing");
  CHECK(error_of("gpu = 'h100'\nnum_nodes = 0") ==
        "a.toml: cluster.num_nodes: expected an integer from 1 to 16777216, found 0");
  CHECK(error_of("gpu = 'h100'\nnum_nodes = 2\nnodes = 2") ==
        "a.toml: cluster.nodes: unknown key; known here: gpu, num_nodes, gpus_per_node, "
        "domain_size, domains_per_rack");
  CHECK(error_of("gpu = 'h100'\nnum_nodes = 2\ndomain_size = 12") ==
        "a.toml: cluster: domain_size 12 and gpus_per_node 8: one must divide the other");
  CHECK(error_of("gpu = 'h100'\nnum_nodes = 3\ndomain_size = 16") ==
        "a.toml: cluster: 24 GPUs do not fill racks of 1 domains of 16 GPUs");
  CHECK(error_of("gpu = 'h100'\nnum_nodes = 16777216") ==
        "a.toml: cluster: 134217728 GPUs, expected at most 16777216");
}

TEST_CASE("health is a set of GPUs: order and repetition do not matter", "[core][cluster]") {
  tests::Dice dice(3);
  for (int round = 0; round < 100; ++round) {
    const ClusterSpec cluster = random_cluster(dice);
    std::vector<GpuId> down;
    for (std::int64_t i = dice.between(0, 20); i > 0; --i) {
      down.emplace_back(dice.between(0, cluster.num_gpus() - 1));
    }
    const Health health(down);
    dice.shuffle(down);
    CHECK(Health(down) == health);
    const std::vector<std::int64_t> counts = health.num_down_by_domain(cluster);
    CHECK(std::accumulate(counts.begin(), counts.end(), std::int64_t{0}) ==
          static_cast<std::int64_t>(health.down().size()));
    for (std::int64_t i = 0; i < cluster.num_gpus(); ++i) {
      REQUIRE(health.is_down(GpuId(i)) ==
              (std::find(down.begin(), down.end(), GpuId(i)) != down.end()));
    }
  }
  CHECK_THROWS_AS(Health({GpuId(8)}).num_down_by_domain(ClusterSpec{}), InvalidArgument);
  CHECK_THROWS_AS(Health({GpuId(-1)}).num_down_by_domain(ClusterSpec{}), InvalidArgument);
}
