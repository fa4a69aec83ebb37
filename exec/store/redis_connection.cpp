#include "exec/store/redis_connection.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <poll.h>

namespace runflat::exec {
namespace {

std::string request_of(const std::vector<std::string>& words) {
  std::vector<const char*> texts;
  std::vector<std::size_t> sizes;
  for (const std::string& word : words) {
    texts.push_back(word.data());
    sizes.push_back(word.size());
  }
  char* text = nullptr;
  const int size =
      redisFormatCommandArgv(&text, static_cast<int>(words.size()), texts.data(), sizes.data());
  std::string request(text, static_cast<std::size_t>(std::max(size, 0)));
  redisFreeCommand(text);
  return request;
}

}  // namespace

RedisConnection::RedisConnection(const RedisAddress& address, Deadline deadline)
    : reader_(redisReaderCreate()) {
  ERR_clear_error();
  open(address);
  const int is_connected =
      attempt([this] { return static_cast<int>(BIO_do_connect(chain_.get())); }, deadline);
  error_ = is_connected > 0 ? "" : "cannot connect: " + error_;
}

void RedisConnection::open(const RedisAddress& address) {
  if (address.has_tls) {
    context_.reset(SSL_CTX_new(TLS_client_method()));
    SSL_CTX_set_min_proto_version(context_.get(), TLS1_2_VERSION);
    SSL_CTX_set_default_verify_paths(context_.get());
    SSL_CTX_set_verify(context_.get(), SSL_VERIFY_PEER, nullptr);
    chain_.reset(BIO_new_ssl_connect(context_.get()));
    secure(address.host);
  } else {
    chain_.reset(BIO_new(BIO_s_connect()));
  }
  const bool is_ipv6 = address.host.find(':') != std::string::npos;
  const std::string host = is_ipv6 ? "[" + address.host + "]" : address.host;
  BIO_set_conn_hostname(chain_.get(), host.c_str());
  BIO_set_conn_port(chain_.get(), std::to_string(address.port).c_str());
  BIO_set_nbio(chain_.get(), 1);
}

/// The certificate must be one of the host, which is a name or an address.
void RedisConnection::secure(const std::string& host) {
  SSL* ssl = nullptr;
  BIO_get_ssl(chain_.get(), &ssl);
  SSL_set_mode(ssl, SSL_MODE_AUTO_RETRY);
  if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host.c_str()) != 1) {
    SSL_set1_host(ssl, host.c_str());
    SSL_set_tlsext_host_name(ssl, host.c_str());
  }
}

RedisReply RedisConnection::ask(const std::vector<std::string>& words, Deadline deadline) {
  const std::string request = request_of(words);
  for (std::size_t sent = 0; sent < request.size();) {
    const int num = attempt(
        [&] {
          return BIO_write(
              chain_.get(), request.data() + sent, static_cast<int>(request.size() - sent));
        },
        deadline);
    if (num <= 0) {
      return nullptr;
    }
    sent += static_cast<std::size_t>(num);
  }
  std::array<char, 16'384> block{};
  void* reply = nullptr;
  while (redisReaderGetReply(reader_.get(), &reply) == REDIS_OK && reply == nullptr) {
    const int num = attempt(
        [&] { return BIO_read(chain_.get(), block.data(), static_cast<int>(block.size())); },
        deadline);
    if (num <= 0) {
      return nullptr;
    }
    redisReaderFeed(reader_.get(), block.data(), static_cast<std::size_t>(num));
  }
  if (reply == nullptr) {
    error_ = reader_->errstr;
  }
  return RedisReply(static_cast<redisReply*>(reply));
}

template <typename Attempt>
int RedisConnection::attempt(const Attempt& once, Deadline deadline) {
  while (true) {
    const int result = once();
    if (result > 0) {
      return result;
    }
    if (BIO_should_retry(chain_.get()) == 0) {
      error_ = why();
      return 0;
    }
    if (!wait(deadline)) {
      error_ = "timed out";
      return 0;
    }
  }
}

bool RedisConnection::wait(Deadline deadline) {
  const auto left =
      std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
  int descriptor = -1;
  BIO_get_fd(chain_.get(), &descriptor);
  const bool reads = BIO_should_read(chain_.get()) != 0;
  pollfd socket{
      .fd = descriptor, .events = static_cast<short>(reads ? POLLIN : POLLOUT), .revents = 0};
  return left > 0 &&
         ::poll(&socket, 1, static_cast<int>(std::min<std::int64_t>(left, 1 << 30))) > 0;
}

std::string RedisConnection::why() {
  SSL* ssl = nullptr;
  if (context_ && BIO_get_ssl(chain_.get(), &ssl) > 0 && SSL_get_verify_result(ssl) != X509_V_OK) {
    is_untrusted_ = true;
    return X509_verify_cert_error_string(SSL_get_verify_result(ssl));
  }
  unsigned long last = 0;
  for (unsigned long error = ERR_get_error(); error != 0; error = ERR_get_error()) {
    if (ERR_SYSTEM_ERROR(error)) {
      return std::strerror(ERR_GET_REASON(error));
    }
    last = error;
  }
  if (last == 0) {
    return "the server has closed the connection";
  }
  const char* reason = ERR_reason_error_string(last);
  return reason != nullptr ? reason : "OpenSSL error " + std::to_string(last);
}

}  // namespace runflat::exec
