#include "exec/store/memory_store.hpp"

#include "core/error.hpp"
#include "tests/catch.hpp"

#include <string>
#include <thread>
#include <vector>

using namespace runflat;
using namespace runflat::exec;
using namespace std::chrono_literals;

TEST_CASE("a store in memory keeps the contract of stores", "[exec][memory_store]") {
  MemoryStore store;
  CHECK_FALSE(store.get("a"));
  store.set("a/1", "x");
  store.set("a/2", std::string("\0y", 2));
  CHECK(store.get("a/2") == std::string("\0y", 2));
  CHECK(store.list("a/") == std::vector<std::string>{"a/1", "a/2"});
  CHECK(store.add("n", 3) == 3);
  CHECK(store.add("n", -1) == 2);
  CHECK(store.get("n") == "2");
  CHECK_FALSE(store.compare_set("a/1", std::nullopt, "z"));
  CHECK_FALSE(store.compare_set("a/1", "y", "z"));
  CHECK(store.compare_set("a/1", "x", "z"));
  CHECK(store.compare_set("b", std::nullopt, ""));
  store.remove("b");
  CHECK_FALSE(store.get("b"));
  store.remove_prefix("a/");
  CHECK(store.list("") == std::vector<std::string>{"n"});
  CHECK_FALSE(store.wait("a/1", deadline_in(1ms)));
  CHECK_THROWS_AS(store.set("", "x"), InvalidArgument);
}

TEST_CASE("who waits gets the value, or the reason that there will be none",
          "[exec][memory_store]") {
  MemoryStore store;
  std::thread writer([&] { store.set("key", "value"); });
  CHECK(store.wait("key", Deadline::max()) == "value");
  writer.join();
  std::thread closer([&] { store.close("over"); });
  CHECK_THROWS_WITH(store.wait("nothing", Deadline::max()), "over");
  closer.join();
  CHECK_THROWS_AS(store.get("key"), StoreError);
}
