#pragma once

#include <arpa/inet.h>
#include <chrono>
#include <cstdint>
#include <fcntl.h>
#include <signal.h>
#include <string>
#include <sys/socket.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace runflat::tests {

/// A port of this host that nobody listens on.
inline std::uint16_t free_port() {
  const int descriptor = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  ::bind(descriptor, reinterpret_cast<sockaddr*>(&address), size);
  ::getsockname(descriptor, reinterpret_cast<sockaddr*>(&address), &size);
  ::close(descriptor);
  return ntohs(address.sin_port);
}

/// A redis-server of this test alone, with a password.
class RedisServer {
 public:
  static constexpr const char* kPassword = "p@ss:word";

  [[nodiscard]] static bool is_installed() { return ::access("/usr/bin/redis-server", X_OK) == 0; }

  explicit RedisServer(std::uint16_t port = free_port()) : port_(port) { start(); }
  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;
  ~RedisServer() { stop(); }

  void start() {
    const std::string port = std::to_string(port_);
    process_ = ::fork();
    if (process_ == 0) {
      const int nowhere = ::open("/dev/null", O_WRONLY);
      ::dup2(nowhere, STDOUT_FILENO);
      ::execl("/usr/bin/redis-server",
              "redis-server",
              "--port",
              port.c_str(),
              "--bind",
              "127.0.0.1",
              "--requirepass",
              kPassword,
              "--save",
              "",
              "--appendonly",
              "no",
              nullptr);
      ::_exit(127);
    }
  }
  void stop() {
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
  }

  [[nodiscard]] std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  [[nodiscard]] std::string url(const std::string& prefix) const {
    return "redis://:p%40ss%3aword@" + address() + "/" + prefix;
  }

 private:
  std::uint16_t port_;
  pid_t process_ = 0;
};

}  // namespace runflat::tests
