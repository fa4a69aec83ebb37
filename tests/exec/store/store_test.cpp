#include "exec/store/store.hpp"

#include "core/error.hpp"
#include "tests/catch.hpp"
#include "tests/exec/redis_server.hpp"
#include "tests/exec/temporary_directory.hpp"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <fcntl.h>
#include <functional>
#include <optional>
#include <string>
#include <sys/file.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <vector>

using namespace runflat;
using namespace runflat::exec;
using namespace std::chrono_literals;

namespace {

/// Calls `check` with every kind of store: it opens another connection to the same one every time.
using Open = std::function<std::unique_ptr<Store>()>;
void for_all_stores(const std::function<void(const Open&)>& check) {
  SECTION("a directory") {
    const tests::TemporaryDirectory directory;
    check([&] { return make_store("dir:" + (directory.path() / "store").string(), 10s); });
  }
  SECTION("Redis") {
    if (!tests::RedisServer::is_installed()) {
      WARN("skipped: redis-server is not installed");
      return;
    }
    const tests::RedisServer server;
    check([&] { return make_store(server.url("job"), 10s); });
  }
}

std::string text_of_error(const std::function<void()>& run) {
  try {
    run();
  } catch (const StoreError& error) {
    return error.what();
  }
  return "";
}

/// Keys and values that are hard to store: separators, dots, NUL, long ones, prefixes of others.
std::vector<std::string> awkward_texts() {
  return {"a",
          "a/b",
          "a/b/c",
          "..",
          ".lock",
          "%2f+",
          "*?[x]\\",
          std::string("\0\n\xff", 3),
          std::string(199, 'x'),
          std::string(200, 'x'),
          std::string(201, 'x'),
          std::string(1000, '/'),
          std::string(1000, 'x')};
}

}  // namespace

TEST_CASE("a store gives back what was set, byte for byte", "[exec][store]") {
  for_all_stores([](const Open& open) {
    const auto store = open();
    const auto other = open();
    std::vector<std::string> texts = awkward_texts();
    for (const std::string& text : texts) {
      CHECK_FALSE(store->get(text).has_value());
      store->set(text, "before");
      store->set(text, "value of " + text);
      store->set(text + "", "value of " + text);
    }
    for (const std::string& text : texts) {
      CHECK(other->get(text) == "value of " + text);
    }
    std::sort(texts.begin(), texts.end());
    CHECK(other->list("") == texts);
    CHECK(other->list("a/") == std::vector<std::string>{"a/b", "a/b/c"});
    CHECK(other->list("*") == std::vector<std::string>{"*?[x]\\"});
    CHECK(other->list(std::string(200, 'x')).size() == 3);
    other->remove("a");
    other->remove("a");
    CHECK_FALSE(store->get("a").has_value());
    other->remove_prefix("a/");
    CHECK(store->list("a").empty());
    CHECK(store->get("..").has_value());
    other->remove_prefix("");
    CHECK(store->list("").empty());
  });
}

TEST_CASE("a value may be empty and is whole up to 16 MiB", "[exec][store]") {
  for_all_stores([](const Open& open) {
    const auto store = open();
    store->set("empty", "");
    CHECK(store->get("empty") == "");
    const std::string large(static_cast<std::size_t>(Store::kMaxValueSize), 'v');
    store->set("large", large);
    CHECK((store->get("large") == large));
    CHECK_THROWS_AS(store->set("larger", large + "v"), InvalidArgument);
    CHECK_THROWS_AS(store->set("", "v"), InvalidArgument);
    CHECK_THROWS_AS(store->get(std::string(1001, 'k')), InvalidArgument);
  });
}

TEST_CASE("a wait ends when the value comes, or at its deadline", "[exec][store]") {
  for_all_stores([](const Open& open) {
    const auto store = open();
    const auto begin = Clock::now();
    CHECK_FALSE(store->wait("late", deadline_in(30ms)).has_value());
    CHECK(Clock::now() - begin >= 30ms);
    std::thread writer([&] {
      std::this_thread::sleep_for(20ms);
      open()->set("late", "there");
    });
    CHECK(store->wait("late", deadline_in(30s)) == "there");
    writer.join();
  });
}

TEST_CASE("additions by many are all counted, and each sees a number of its own", "[exec][store]") {
  constexpr int kThreads = 4;
  constexpr int kAdditions = 50;
  for_all_stores([](const Open& open) {
    std::vector<std::vector<std::int64_t>> seen(kThreads);
    std::vector<std::thread> threads;
    for (auto& mine : seen) {
      threads.emplace_back([&] {
        const auto store = open();
        for (int i = 0; i < kAdditions; ++i) {
          mine.push_back(store->add("counter", 1));
        }
      });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
    std::vector<std::int64_t> all;
    for (const auto& mine : seen) {
      all.insert(all.end(), mine.begin(), mine.end());
    }
    std::sort(all.begin(), all.end());
    for (std::size_t i = 0; i < all.size(); ++i) {
      CHECK(all[i] == static_cast<std::int64_t>(i) + 1);
    }
    const auto store = open();
    CHECK(store->add("counter", -5) == kThreads * kAdditions - 5);
    CHECK(store->get("counter") == std::to_string(kThreads * kAdditions - 5));
    constexpr std::int64_t kLarge = (std::int64_t{1} << 60) + 1;
    CHECK(store->add("large", kLarge) == kLarge);
    store->set("text", "abc");
    CHECK_THROWS_AS(store->add("text", 1), StoreError);
  });
}

TEST_CASE("of many that set what is absent, one does", "[exec][store]") {
  for_all_stores([](const Open& open) {
    std::atomic<int> num_first = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&, i] {
        const auto store = open();
        for (int round = 0; round < 20; ++round) {
          num_first +=
              store->compare_set("round" + std::to_string(round), std::nullopt, std::to_string(i));
        }
      });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
    CHECK(num_first == 20);
    const auto store = open();
    const std::string winner = store->get("round0").value();
    CHECK_FALSE(store->compare_set("round0", "x", "y"));
    CHECK_FALSE(store->compare_set("round0", std::nullopt, "y"));
    CHECK_FALSE(store->compare_set("absent", "", "y"));
    CHECK_FALSE(store->get("absent").has_value());
    CHECK(store->get("round0") == winner);
    CHECK(store->compare_set("round0", winner, ""));
    CHECK(store->compare_set("round0", "", "y"));
    CHECK(store->get("round0") == "y");
  });
}

TEST_CASE("a directory that is not the user's alone is refused", "[exec][store]") {
  const tests::TemporaryDirectory directory;
  const std::string path = (directory.path() / "store").string();
  const auto open = [&] { (void)make_store("dir:" + path, 1s); };
  open();
  struct stat made {};
  REQUIRE(::stat(path.c_str(), &made) == 0);
  CHECK((made.st_mode & 0777U) == 0700U);
  for (const mode_t mode : {0777U, 0720U, 0702U}) {
    REQUIRE(::chmod(path.c_str(), mode) == 0);
    CHECK(text_of_error(open) ==
          "dir:" + path + ": others can write to it: chmod go-w, or choose another");
  }
  REQUIRE(::chmod(path.c_str(), 0755) == 0);
  CHECK(text_of_error(open).empty());
  if (::geteuid() == 0) {
    REQUIRE(::chown(path.c_str(), 65534, 65534) == 0);
    CHECK(text_of_error(open) == "dir:" + path + ": belongs to another user");
  }
  std::filesystem::remove_all(path);
  std::filesystem::create_directory_symlink(directory.path(), path);
  CHECK(text_of_error(open) == "dir:" + path + ": not a directory");
  CHECK(text_of_error([] { (void)make_store("dir:/proc/nowhere", 1s); }) ==
        "dir:/proc/nowhere: cannot make the directory: No such file or directory");
}

TEST_CASE("a writer that holds the lock for ever does not stop the others for ever",
          "[exec][store]") {
  const tests::TemporaryDirectory directory;
  const auto store = make_store("dir:" + directory.path().string(), 50ms);
  const int lock = ::open((directory.path() / ".lock").c_str(), O_RDWR | O_CREAT, 0600);
  REQUIRE(::lockf(lock, F_TEST, 0) == 0);
  REQUIRE(::flock(lock, LOCK_EX) == 0);
  CHECK_THROWS_AS(store->set("key", "value"), StoreError);
  ::close(lock);
  store->set("key", "value");
  CHECK(store->get("key") == "value");
}

TEST_CASE("what is no store is refused in one line", "[exec][store]") {
  for (const char* url : {"",
                          "dir",
                          "http://host",
                          "redis:",
                          "redis://",
                          "redis://:@/x",
                          "redis://host:0",
                          "redis://host:99999",
                          "redis://host:1x/p",
                          "rediss://host:0"}) {
    CAPTURE(url);
    const std::string text = text_of_error([&] { (void)make_store(url, 100ms); });
    CHECK_FALSE(text.empty());
    CHECK(text.find('\n') == std::string::npos);
  }
}

TEST_CASE("a store by TLS is there for who trusts its certificate and calls it by its name",
          "[exec][store]") {
  if (!tests::RedisServer::is_installed()) {
    WARN("skipped: redis-server is not installed");
    return;
  }
  const tests::TemporaryDirectory directory;
  const std::string folder = directory.path();
  const std::string make_certificate =
      "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=store"
      " -addext subjectAltName=IP:127.0.0.1 -keyout " +
      folder + "/key.pem -out " + folder + "/cert.pem 2> /dev/null";
  REQUIRE(std::system(make_certificate.c_str()) == 0);
  const tests::RedisServer server{directory.path()};
  const std::string url = "rediss" + server.url("job").substr(5);

  CHECK(text_of_error([&] { (void)make_store(url, 10s); }) ==
        "rediss://" + server.address() + ": cannot connect: self-signed certificate");
  ::setenv("SSL_CERT_FILE", (folder + "/cert.pem").c_str(), 1);
  const auto store = make_store(url, 10s);
  const std::string value(100'000, 'x');
  store->set("key", value);
  CHECK(store->get("key") == value);
  CHECK(store->add("count", 3) == 3);
  std::string by_name = url;
  by_name.replace(by_name.find("127.0.0.1"), 9, "localhost");
  const std::string mismatch = text_of_error([&] { (void)make_store(by_name, 10s); });
  CHECK(mismatch.ends_with("hostname mismatch"));
  ::unsetenv("SSL_CERT_FILE");
  // Who does not speak TLS gets no answer.
  CHECK_FALSE(text_of_error([&] { (void)make_store(server.url("job"), 500ms); }).empty());
}

TEST_CASE("a server that is not there, or the wrong password, is one line without the password",
          "[exec][store]") {
  const std::string nowhere = "127.0.0.1:" + std::to_string(tests::free_port());
  CHECK(text_of_error([&] { (void)make_store("redis://:secret@" + nowhere, 100ms); }) ==
        "redis://" + nowhere + ": cannot connect: Connection refused");
  if (!tests::RedisServer::is_installed()) {
    WARN("skipped: redis-server is not installed");
    return;
  }
  const tests::RedisServer server;
  (void)make_store(server.url("job"), 10s);  // it answers
  const std::string wrong =
      text_of_error([&] { (void)make_store("redis://:secret@" + server.address() + "/job", 10s); });
  CHECK(wrong.starts_with("redis://" + server.address() + ": WRONGPASS"));
  CHECK(wrong.find("secret") == std::string::npos);
  const std::string none =
      text_of_error([&] { (void)make_store("redis://" + server.address() + "/job", 10s); });
  CHECK(none.starts_with("redis://" + server.address() + ": NOAUTH"));
}

TEST_CASE("a Redis store connects again when the server comes back, or says that it is gone",
          "[exec][store]") {
  if (!tests::RedisServer::is_installed()) {
    WARN("skipped: redis-server is not installed");
    return;
  }
  tests::RedisServer server;
  const auto patient = make_store(server.url("job"), 30s);
  const auto hasty = make_store(server.url("job"), 200ms);
  const auto other_job = make_store(server.url("job2"), 30s);
  patient->set("key", "value");
  CHECK_FALSE(other_job->get("key").has_value());
  CHECK(other_job->list("").empty());
  server.stop();
  CHECK(text_of_error([&] {
          hasty->set("key", "value");
        }).starts_with("redis://" + server.address() + ": cannot connect"));
  std::thread restart([&] {
    std::this_thread::sleep_for(100ms);
    server.start();
  });
  CHECK(patient->add("counter", 2) == 2);
  restart.join();
  hasty->set("key", "again");
  CHECK(patient->get("key") == "again");
}
