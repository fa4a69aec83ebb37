#pragma once

#include <arpa/inet.h>
#include <chrono>
#include <cstdint>
#include <fcntl.h>
#include <filesystem>
#include <signal.h>
#include <string>
#include <sys/socket.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

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
  /// One that speaks TLS alone, with `cert.pem` and `key.pem` of the folder.
  explicit RedisServer(const std::filesystem::path& folder) : port_(free_port()), folder_(folder) {
    start();
  }
  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;
  ~RedisServer() { stop(); }

  void start() {
    const std::string port = std::to_string(port_);
    process_ = ::fork();
    if (process_ == 0) {
      const int nowhere = ::open("/dev/null", O_WRONLY);
      ::dup2(nowhere, STDOUT_FILENO);
      std::vector<std::string> words = {"redis-server",
                                        "--bind",
                                        "127.0.0.1",
                                        "--requirepass",
                                        kPassword,
                                        "--save",
                                        "",
                                        "--appendonly",
                                        "no",
                                        "--port",
                                        folder_.empty() ? port : "0"};
      if (!folder_.empty()) {
        const std::string certificate = folder_ / "cert.pem";
        for (const std::string& word : {std::string("--tls-port"),
                                        port,
                                        std::string("--tls-cert-file"),
                                        certificate,
                                        std::string("--tls-ca-cert-file"),
                                        certificate,
                                        std::string("--tls-key-file"),
                                        (folder_ / "key.pem").string(),
                                        std::string("--tls-auth-clients"),
                                        std::string("no")}) {
          words.push_back(word);
        }
      }
      std::vector<char*> pointers;
      for (std::string& word : words) {
        pointers.push_back(word.data());
      }
      pointers.push_back(nullptr);
      ::execv("/usr/bin/redis-server", pointers.data());
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
  std::filesystem::path folder_;  // of its certificate; empty: no TLS
  pid_t process_ = 0;
};

}  // namespace runflat::tests
