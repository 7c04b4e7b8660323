// In the steady state the engine allocates nothing: not for a command, not for its data.
#include "tests/unit/initiator/allocations.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <new>

#include "tests/unit/initiator/model_target.hpp"

using nbdgw::test::Allocations;

namespace {

void* counted(std::size_t size) {
  if (Allocations::depth > 0) ++Allocations::in_engine;
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}

}  // namespace

void* operator new(std::size_t size) {
  return counted(size);
}
void* operator new[](std::size_t size) {
  return counted(size);
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete[](void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
  std::free(memory);
}

using namespace nbdgw::test;
using namespace nbdgw::initiator;

TEST_CASE("allocations: none for reads and writes, once the session runs") {
  for (const bool digests : {false, true}) {
    auto settings = default_settings(4);
    settings.nop_interval = nbdgw::proto::kSecond;
    if (digests) settings.header_digest = settings.data_digest = DigestOffer::require_crc32c;
    Peer peer(settings);
    ModelTarget target(peer, 11);
    target.max_outstanding_r2t = 3;
    target.early_failures = 10;
    peer.keys = target.keys(4);
    if (digests) peer.keys.answers["HeaderDigest"] = peer.keys.answers["DataDigest"] = "CRC32C";
    peer.session.setup(peer.now);
    peer.pump();
    CHECK(Allocations::in_engine > 0);  // the count works: a login allocates
    const auto load = [&](int commands) {
      for (int i = 0; i < commands; ++i) {
        i % 2 == 0 ? peer.jobs.read(static_cast<std::uint32_t>(1 + i * 97 % 40'000), 4)
                   : peer.jobs.write(static_cast<std::uint32_t>(1 + i * 89 % 90'000), 4);
        if (i % 50 == 0) {
          target.run();
          peer.advance(nbdgw::proto::kSecond);
        }
      }
      target.run();
    };
    load(10);
    Allocations::in_engine = 0;
    load(400);
    CHECK(Allocations::in_engine == 0);
    CHECK(peer.session.counters().pings > 0);
    peer.check_nothing_leaked();
  }
}
