#pragma once

#include "exec/store/clock.hpp"
#include "exec/store/redis_store.hpp"

#include <hiredis/hiredis.h>
#include <memory>
#include <openssl/bio.h>
#include <openssl/ssl.h>
#include <string>
#include <vector>

namespace runflat::exec {

struct FreeRedisReply {
  void operator()(redisReply* reply) const { freeReplyObject(reply); }
};
using RedisReply = std::unique_ptr<redisReply, FreeRedisReply>;

/// One connection to a Redis server, by TLS where the address says so: its certificate must name
/// the host and be signed by an authority that the system trusts, or one in SSL_CERT_FILE or
/// SSL_CERT_DIR. OpenSSL carries the bytes, hiredis makes and reads them.
///
/// After a failure, which error() explains, it is of no use any more.
class RedisConnection {
 public:
  /// Connects, which may fail.
  RedisConnection(const RedisAddress& address, Deadline deadline);

  [[nodiscard]] bool has_failed() const { return !error_.empty(); }
  [[nodiscard]] const std::string& error() const { return error_; }
  /// The server's certificate is not one to trust: trying again changes nothing.
  [[nodiscard]] bool is_untrusted() const { return is_untrusted_; }

  /// The server's answer; nullptr where there is none before the deadline.
  [[nodiscard]] RedisReply ask(const std::vector<std::string>& words, Deadline deadline);

 private:
  struct FreeContext {
    void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  };
  struct FreeChain {
    void operator()(BIO* chain) const { BIO_free_all(chain); }
  };
  struct FreeReader {
    void operator()(redisReader* reader) const { redisReaderFree(reader); }
  };

  void open(const RedisAddress& address);
  void secure(const std::string& host);
  /// Repeats what a socket cannot do at once; its result, or 0 after a failure.
  template <typename Attempt>
  [[nodiscard]] int attempt(const Attempt& once, Deadline deadline);
  [[nodiscard]] bool wait(Deadline deadline);
  [[nodiscard]] std::string why();

  std::unique_ptr<SSL_CTX, FreeContext> context_;
  std::unique_ptr<BIO, FreeChain> chain_;
  std::unique_ptr<redisReader, FreeReader> reader_;
  std::string error_;
  bool is_untrusted_ = false;
};

}  // namespace runflat::exec
