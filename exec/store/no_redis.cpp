#include "exec/store/redis_store.hpp"

namespace runflat::exec {

std::unique_ptr<Store> make_redis_store(const RedisAddress& /*address*/,
                                        std::chrono::milliseconds /*timeout*/) {
  throw StoreError(
      "redis://: built without Redis: install libhiredis-dev and libssl-dev and build again");
}

}  // namespace runflat::exec
