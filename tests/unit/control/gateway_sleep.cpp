// What it means for a disk's volatile cache that the machine was asleep.
#include <atomic>

#include <doctest/doctest.h>

#include "tests/unit/control/gateway_rig.hpp"

using namespace nbdgw;
using namespace nbdgw::test;
using proto::nbd::Command;

namespace {

std::atomic<proto::Micros> slept{0};

proto::Micros read_slept() noexcept {
  return slept;
}

/// The target closes all connections of the session.
void lose_session(Target& target) {
  target.post(iscsi_target::default_fault(iscsi_target::traits(iscsi_target::FaultKind::drop_connection)));
}

}  // namespace

TEST_CASE("sleep: an outage in which the machine slept was long enough for a power cycle") {
  for (const bool sleeps : {false, true}) {
    CAPTURE(sleeps);
    Target target("t");
    control::Gateway gateway(config_for({&target}), {.slept = read_slept});
    gateway.start();
    TestClient client = attach(gateway, "vol-t");
    REQUIRE(echoes(client));  // a write that nobody has flushed
    if (sleeps) slept += 3600 * proto::kSecond;
    lose_session(target);
    until([&] { return session_of(gateway).counters.logins == 2; });
    // This target raises "power on" at every login, so that the length of the outage decides.
    client.send_request(Command::flush, 1, 0, 0);
    std::uint64_t cookie = 0;
    std::uint32_t error = 0;
    REQUIRE(client.read_reply(cookie, error));
    CHECK((error != 0) == sleeps);
    CHECK(echoes(client));
  }
}
