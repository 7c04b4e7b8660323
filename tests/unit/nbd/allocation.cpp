// After warm-up a request costs no allocation.

#include <array>
#include <cstring>

#include <doctest/doctest.h>

#include "tests/unit/allocations.hpp"
#include "tests/unit/nbd/rig.hpp"
#include "tests/unit/nbd/wire.hpp"

using namespace nbdgw;
using namespace nbdgw::test;

namespace {

/// The bytes of one burst go in, everything completes, all output is thrown away. Allocates nothing itself.
void turn(Rig& rig, const std::string& bytes) {
  std::array<iovec, proto::kRxIovecs> room;
  std::array<iovec, proto::kTxIovecs> list;
  std::size_t given = 0;
  while (given < bytes.size()) {
    const std::size_t n = rig.connection.rx_buffers(room);
    std::size_t length = 0;
    for (std::size_t i = 0; i < n; ++i) {
      const std::size_t part = std::min(room[i].iov_len, bytes.size() - given - length);
      std::memcpy(room[i].iov_base, bytes.data() + given + length, part);
      length += part;
    }
    if (length > 0) rig.connection.on_received(length, ++rig.now);
    given += length;
    rig.backend.complete_all();
    while (const std::size_t count = rig.connection.tx_buffers(list)) {
      std::size_t sent = 0;
      for (std::size_t i = 0; i < count; ++i) sent += list[i].iov_len;
      rig.connection.on_sent(sent, ++rig.now);
    }
  }
}

}  // namespace

TEST_CASE("allocation: none per request") {
  for (const bool structured : {false, true}) {
    Rig rig;
    rig.feed(attach(structured));
    rig.take();
    rig.automatic = false;
    const std::string burst =
        request(kWrite, kFua, 1, 0, 4096) + std::string(4096, 'w') + request(kRead, 0, 2, 0, 4096) +
        request(kWrite, 0, 3, 100, 100'000) + std::string(100'000, 'w') + request(kRead, kDf, 4, 0, 100'000) +
        request(kRead, 0, 5, 0, 100'000) + request(kFlush, 0, 6, 0, 0) + request(kTrim, 0, 7, 0, 512) +
        request(kZeroes, 0, 8, 0, 512) + request(99, 0, 9, 0, 512) + request(kWrite, kDf, 10, 0, 5) + "12345" +
        request(kRead, 0, 11, 0, 0) + request(kRead, 0, 12, ~std::uint64_t{0}, 4096);
    turn(rig, burst);
    const std::uint64_t before = Allocations::total;
    for (int i = 0; i < 100; ++i) turn(rig, burst);
    CHECK(Allocations::total == before);
    CHECK(rig.connection.counters().requests[0] >= 505);
  }
}
