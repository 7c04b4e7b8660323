// Reload while a target hangs or is away, clients do not leave, and the gateway itself is about to end.
#include <doctest/doctest.h>
#include <sys/socket.h>

#include <algorithm>
#include <functional>
#include <future>
#include <optional>

#include "tests/unit/control/reload_rig.hpp"

using namespace nbdgw;
using namespace nbdgw::test;
using control::ReloadOutcome;
using proto::nbd::Command;
using proto::nbd::Error;
using proto::nbd::Reply;

namespace {

constexpr control::GatewayOptions kImpatient{.drain_limit = 200 * proto::kMillisecond};

/// Sends a WRITE whose answer the target keeps back.
void send_hanging_write(Array& array, control::Gateway& gateway, TestClient& client, const std::string& name,
                        std::uint32_t lun) {
  array.hang_next(lun);
  const std::vector<std::uint8_t> data(4096, 1);
  client.send_request(Command::write, 9, 0, static_cast<std::uint32_t>(data.size()), data);
  until([&] { return export_named(gateway, name).in_flight == 1; });
}

config::Config without(config::Config config, const std::string& name) {
  remove_export(config, name);
  return config;
}

}  // namespace

TEST_CASE("reload: what is in flight is answered, what comes after it is left unanswered") {
  Reloading all;
  TestClient client = attach(all.gateway, "other");
  for (std::uint64_t cookie = 0; cookie < 20; ++cookie) client.send_request(Command::read, cookie, 0, 65536);
  auto done = begin_apply(all.gateway, without(all.config, "other"));
  std::uint64_t cookie = 0;
  std::uint32_t error = 0;
  std::vector<std::uint8_t> data(65536);
  std::vector<bool> answered(20);
  while (client.read_reply(cookie, error)) {
    CHECK(error == 0);
    REQUIRE(cookie < answered.size());
    CHECK_FALSE(answered[cookie]);
    answered[cookie] = true;
    REQUIRE(client.read(data));
  }
  CHECK(done.get().kind == ReloadOutcome::Kind::applied);
  // None that was taken is missing, and none was taken behind one that was not.
  CHECK(std::ranges::is_partitioned(answered, std::identity{}));
}

TEST_CASE("reload: while one is going on another one is told so, and a dry run, too") {
  Reloading all;
  TestClient client = attach(all.gateway, "other");
  send_hanging_write(all.a, all.gateway, client, "other", 2);
  auto first = begin_apply(all.gateway, without(all.config, "other"));
  CHECK(apply(all.gateway, all.config).kind == ReloadOutcome::Kind::busy);
  CHECK(apply(all.gateway, all.config, true).kind == ReloadOutcome::Kind::busy);
  CHECK(!is_ready(first));
}

TEST_CASE(
    "reload: a client that does not leave is cut off; the export waits until the target has forgotten its write") {
  Reloading all(kImpatient);
  config::Config next = all.config;
  next.targets[0].timeouts.command = 1 * proto::kSecond;
  reload(all.gateway, next);
  TestClient client = attach(all.gateway, "other");
  TestClient staying = attach(all.gateway, "keep");
  send_hanging_write(all.a, all.gateway, client, "other", 2);
  named(next, "other").read_only = true;
  auto done = begin_apply(all.gateway, next);
  CHECK(has_ended(client));
  // The new export must not be there before the ladder has ended the old one's write.
  CHECK(!is_ready(done));
  CHECK(echoes(staying));
  TestClient waiting(connect_tcp(all.gateway.listeners().front()->port()));
  CHECK(waiting.go("other") == Reply::ack);
  CHECK(!events_of<initiator::RecoveryEvent>(all.gateway).empty());
  CHECK(done.get().kind == ReloadOutcome::Kind::applied);
  CHECK(session_named(all.gateway, "a").counters.logins == 1);
}

TEST_CASE("reload: a command that hangs does not keep a session that goes") {
  Reloading all(kImpatient);
  TestClient client = attach(all.gateway, "far");
  send_hanging_write(all.b, all.gateway, client, "far", 1);
  config::Config next = without(all.config, "far");
  next.targets.pop_back();
  reload(all.gateway, next);  // the logout ends the command, long before its deadline
  CHECK(has_ended(client));
  CHECK(sessions(all.gateway).size() == 1);
  CHECK(events_of<initiator::RecoveryEvent>(all.gateway).empty());
}

TEST_CASE("reload: a client that asks for an export that is being made anew waits for it") {
  Reloading all;
  TestClient client = attach(all.gateway, "other");
  send_hanging_write(all.a, all.gateway, client, "other", 2);
  config::Config next = all.config;
  named(next, "other").lun = 3;
  named(next, "keep").description = "this is done at once";
  next.limits.handshake_timeout = 500 * proto::kMillisecond;
  auto done = begin_apply(all.gateway, next);
  until([&] { return export_named(all.gateway, "keep").info.description == "this is done at once"; });
  until([&] { return all.gateway.config()->limits.handshake_timeout == next.limits.handshake_timeout; });
  // The hanging write is not over within the handshake's time: the client is told why it waited in vain.
  TestClient waiting(connect_tcp(all.gateway.listeners().front()->port()));
  CHECK(waiting.go("other") == Reply::err_unknown);
  CHECK(waiting.error_text().find("is being changed") != std::string::npos);
  CHECK(!is_ready(done));
}

TEST_CASE("reload: an export that is being made anew is missing until it is there") {
  Reloading all(kImpatient);
  config::Config next = all.config;
  next.targets[0].timeouts.command = 2 * proto::kSecond;
  reload(all.gateway, next);
  CHECK(view(all.gateway).missing.empty());
  TestClient client = attach(all.gateway, "other");
  send_hanging_write(all.a, all.gateway, client, "other", 2);
  named(next, "other").lun = 3;
  named(next, "other").required = false;
  named(next, "far").lun = 2;
  named(next, "far").read_only = true;
  add_export(next, "last", 0, 2);  // the unit of "other"
  auto done = begin_apply(all.gateway, next);
  until([&] { return all.gateway.config()->exports == next.exports; });
  const auto missing = [&] {
    std::vector<std::pair<std::string, bool>> names;
    for (const shard::MissingExport& each : view(all.gateway).missing) names.emplace_back(each.name, each.required);
    return names;
  };
  // The old ones leave; none of the new ones is there before the last of them has gone.
  CHECK(missing() == std::vector<std::pair<std::string, bool>>{{"other", false}, {"far", true}, {"last", true}});
  CHECK(export_named(all.gateway, "other").leaving);
  CHECK(!export_named(all.gateway, "keep").leaving);
  CHECK(!is_ready(done));
  CHECK(done.get().kind == ReloadOutcome::Kind::applied);
  CHECK(missing().empty());
  for (const shard::ExportView& each : exports(all.gateway)) CHECK(!each.leaving);
}

TEST_CASE("reload: what is in nobody's way is there at once, though something else is slow to go") {
  Reloading all;
  Array c("c");
  TestClient client = attach(all.gateway, "other");
  send_hanging_write(all.a, all.gateway, client, "other", 2);
  config::Config next = without(all.config, "other");
  next.targets.push_back(c.configured("c"));
  add_export(next, "fresh", 2, 1);
  add_export(next, "third", 0, 3);
  add_export(next, "again", 0, 2);  // the same unit: must wait
  auto done = begin_apply(all.gateway, next);
  until([&] { return exports(all.gateway).size() == 5; });
  TestClient fresh = attach(all.gateway, "fresh");
  CHECK(echoes(fresh));
  TestClient third = attach(all.gateway, "third");
  CHECK(echoes(third));
  CHECK(!is_ready(done));
}

TEST_CASE("reload: targets that are away, or have a name that nobody knows, come and go") {
  Reloading all;
  const net::UniqueFd unused(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  config::Config next = all.config;
  config::Target& gone = next.targets.emplace_back();
  gone.name = "gone";
  gone.iqn = "iqn.2026-11.io.nbdgw:gone";
  gone.portals = {{"127.0.0.1", bind_loopback(unused.get())}, {"no-such-host.invalid", 3260}, {"localhost", 1}};
  add_export(next, "nothing", 2, 1);
  TestClient staying = attach(all.gateway, "keep");
  for (int round = 0; round < 5; ++round) {
    reload(all.gateway, next);
    if (round % 2 == 0) until([&] { return session_named(all.gateway, "gone").counters.login_failures > 1; });
    reload(all.gateway, all.config);  // lookups may be under way for a driver that is not there any more
    CHECK(sessions(all.gateway).size() == 2);
  }
  CHECK(echoes(staying));
}

TEST_CASE("reload: while the gateway shuts down nothing is applied") {
  Reloading all;
  TestClient client = attach(all.gateway, "other");
  send_hanging_write(all.a, all.gateway, client, "other", 2);  // so that the control thread is there for a while
  all.gateway.drain();
  CHECK(apply(all.gateway, without(all.config, "far")).kind == ReloadOutcome::Kind::stopping);
}

TEST_CASE("reload: a gateway that shuts down, or ends, in the middle of one does so as ever") {
  for (const bool in_good_order : {true, false}) {
    CAPTURE(in_good_order);
    std::optional<Reloading> all(std::in_place, kImpatient);
    TestClient client = attach(all->gateway, "other");
    send_hanging_write(all->a, all->gateway, client, "other", 2);
    config::Config next = all->config;
    named(next, "other").read_only = true;
    auto done = begin_apply(all->gateway, next);
    CHECK(has_ended(client));
    if (in_good_order) {
      all->gateway.drain();
      all->gateway.wait();
      all->gateway.apply(all->config, false,
                         [](const control::ReloadOutcome&) { FAIL("nobody is there to call this"); });
    }
    all.reset();
    REQUIRE(is_ready(done));  // answered, or destroyed uncalled
    try {
      const ReloadOutcome outcome = done.get();
      CHECK(outcome.kind == ReloadOutcome::Kind::stopping);
    } catch (const std::future_error& error) {
      CHECK(error.code() == std::future_errc::broken_promise);
    }
  }
}

TEST_CASE("drain: when its time is up sessions log out all the same, and errors that were only counted are told") {
  Reloading all(kImpatient);
  TestClient client = attach(all.gateway, "other");
  for (std::uint64_t i = 1; i <= 3; ++i) {
    std::uint64_t cookie = 0;
    std::uint32_t error = 0;
    client.send_request(proto::nbd::Command::read, i, kDisk, 512);
    REQUIRE(client.read_reply(cookie, error));
    CHECK(error != 0);
  }
  send_hanging_write(all.a, all.gateway, client, "other", 2);
  all.gateway.drain();
  all.gateway.wait();
  std::uint64_t told = 0;
  for (const auto& failure : events_of<bridge::RequestFailure>(all.gateway)) told += failure.count;
  CHECK(told == 3);
}

TEST_CASE("reload: another CHAP secret costs no session, and is what the next login proves itself with") {
  iscsi_target::MemoryMedium medium(kDisk);
  const auto serve = [&](std::uint16_t port, const std::string& secret) {
    target_host::TargetServerOptions options;
    options.port = port;
    options.target.chap.user = "me";
    options.target.chap.secret = secret;
    iscsi_target::TargetOptions& target = options.target.targets.emplace_back();
    target.name = "iqn.2026-11.io.nbdgw:t";
    iscsi_target::LunOptions& lun = target.luns.emplace_back();
    lun.number = 1;
    lun.medium = &medium;
    auto server = std::make_unique<target_host::TargetServer>(options);
    server->start();
    return server;
  };
  auto server = serve(0, "the first secret");
  const std::uint16_t port = server->port();
  config::Config config = make_config({{"127.0.0.1", port}}, {"t"});
  config.targets[0].chap.emplace().credentials = {.user = "me", .secret = "the first secret"};
  control::Gateway gateway(config);
  gateway.start();
  TestClient client = attach(gateway, "vol-t");
  REQUIRE(echoes(client));
  config.targets[0].chap->credentials.secret = "another secret";
  reload(gateway, config);
  CHECK(echoes(client));
  CHECK(session_of(gateway).counters.logins == 1);
  CHECK(session_of(gateway).counters.losses == 0);
  server.reset();
  server = serve(port, "another secret");
  CHECK(echoes(client));
  CHECK(session_of(gateway).counters.logins == 2);
}
