// What operators see of a gateway, and what they do to it.
#include <doctest/doctest.h>

#include <chrono>
#include <future>
#include <thread>

#include "proto/scsi/lun.hpp"
#include "tests/unit/control/gateway_rig.hpp"
#include "tests/unit/test_client.hpp"

using namespace nbdgw;
using namespace nbdgw::test;
using control::Verdict;
using control::VerdictCode;
using initiator::Rung;
using proto::nbd::Reply;
using shard::AdminState;
using shard::GatewayView;

TEST_CASE("view: what is there, as configured and as found") {
  Rig rig;
  const GatewayView before = view(rig.gateway);
  CHECK_FALSE(before.draining);
  CHECK(before.addresses == rig.gateway.addresses());
  CHECK(before.clients_max == 1024);
  TestClient client = attach(rig.gateway, "vol-t");
  REQUIRE(echoes(client));

  const GatewayView after = view(rig.gateway);
  CHECK(after.clients == 1);
  CHECK(after.accepted == before.accepted + 1);
  REQUIRE(after.shards.size() == 1);
  const shard::ShardView& shard = after.shards[0];
  CHECK(shard.memory_limit > 0);
  CHECK(shard.turns > before.shards[0].turns);

  REQUIRE(shard.exports.size() == 1);
  const shard::ExportView& exported = shard.exports[0];
  CHECK(exported.name == "vol-t");
  CHECK(exported.target == "t");
  CHECK(exported.lun == 1);
  CHECK(exported.state == bridge::ExportState::online);
  CHECK(exported.admin_state == AdminState::ready);
  CHECK(exported.info.size == kDisk);
  CHECK(exported.facts.capacity_bytes() == kDisk);
  CHECK(exported.clients == 1);
  CHECK(exported.clients_total == 1);
  CHECK(exported.counters.writes == 1);
  CHECK(exported.nbd.bytes_written == 5000);
  CHECK(exported.nbd.bytes_read == 5000);
  CHECK(exported.unflushed_writes == 1);
  CHECK(exported.held == 0);
  CHECK(exported.queue_depth > 0);

  REQUIRE(shard.clients.size() == 1);
  CHECK(shard.clients[0].exported == "vol-t");
  CHECK(shard.clients[0].peer.starts_with("127.0.0.1:"));
  CHECK(shard.clients[0].id > 0);

  REQUIRE(shard.sessions.size() == 1);
  const shard::SessionView& session = shard.sessions[0];
  CHECK(session.target == "t");
  CHECK(session.state == initiator::SessionState::logged_in);
  CHECK(session.iqn == rig.target.iqn);
  CHECK(session.isid.size() == 12);
  CHECK(session.window == session.max_cmd_sn - session.cmd_sn + 1);
  CHECK(session.connections.size() == 4);
  CHECK(session.connections[3].portal == "127.0.0.1:" + std::to_string(rig.target.server->port()));
  CHECK(session.counters.logins == 1);
  CHECK_FALSE(session.climb);
  CHECK(view(rig.gateway, false).shards[0].clients.empty());
}

TEST_CASE("view: what clients did outlives them, and why they left is counted") {
  Rig rig;
  {
    TestClient client = attach(rig.gateway, "vol-t");
    REQUIRE(echoes(client));
  }
  until([&] { return export_of(rig.gateway).clients == 0; });
  const shard::ExportView exported = export_of(rig.gateway);
  CHECK(exported.clients_total == 1);
  CHECK(exported.nbd.bytes_written == 5000);
  const auto lost = static_cast<std::size_t>(nbd::CloseReason::connection_lost);
  CHECK(view(rig.gateway).shards[0].closed[lost] == 1);
}

TEST_CASE("view: requests that wait for the path are held, the oldest is told, and so is the way back") {
  Rig rig;
  TestClient client = attach(rig.gateway, "vol-t");
  REQUIRE(echoes(client));
  const std::uint16_t port = rig.target.server->port();
  rig.target.server->stop();
  until([&] { return session_of(rig.gateway).state != initiator::SessionState::logged_in; });
  client.send_request(proto::nbd::Command::read, 9, 0, 4096);
  until([&] { return export_of(rig.gateway).held == 1; });
  until([&] { return export_of(rig.gateway).oldest_request > 0; });
  const shard::ExportView exported = export_of(rig.gateway);
  CHECK(exported.held_for > 0);
  CHECK(exported.in_flight == 1);
  CHECK(exported.reason.size() > 0);
  const shard::SessionView session = session_of(rig.gateway);
  CHECK(session.trouble.size() > 0);
  REQUIRE(session.climb);
  CHECK(session.climb->rung == Rung::relogin);
  rig.target.start(port);
  std::uint64_t cookie = 0;
  std::uint32_t error = 1;
  REQUIRE(client.read_reply(cookie, error));
  CHECK(error == 0);
  until([&] { return export_of(rig.gateway).held_for == 0; });
  CHECK_FALSE(session_of(rig.gateway).climb);
}

TEST_CASE("views and verbs while the gateway drains: each is answered or let go, and nothing is touched too late") {
  for (int round = 0; round < 20; ++round) {
    Target target("t");
    std::vector<std::future<GatewayView>> futures;
    {
      control::Gateway gateway(config_for({&target}));
      gateway.start();
      std::thread asking([&] {
        for (int i = 0; i < 200; ++i) {
          auto promise = std::make_shared<std::promise<GatewayView>>();
          futures.push_back(promise->get_future());
          gateway.view({.clients = true}, [promise](GatewayView v) { promise->set_value(std::move(v)); });
          gateway.set_export_state("vol-t", AdminState::drain, false, [](Verdict) {});
        }
      });
      gateway.drain();
      gateway.wait();
      asking.join();
    }
    for (auto& future : futures) CHECK(future.wait_for(std::chrono::seconds(0)) == std::future_status::ready);
  }
}

TEST_CASE("verbs: what does not exist is not found") {
  Rig rig;
  CHECK(recover(rig.gateway, {.rung = Rung::session_reset}, false, "nobody").code == VerdictCode::not_found);
  CHECK(recover(rig.gateway, {.rung = Rung::abort_task, .itt = 0x1234}).code == VerdictCode::not_found);
  CHECK(drop(rig.gateway, 4).code == VerdictCode::not_found);
  CHECK(set_state(rig.gateway, AdminState::maint, false, "nothing").code == VerdictCode::not_found);
  CHECK(disconnect(rig.gateway, 4711).code == VerdictCode::not_found);
  CHECK(await<std::optional<std::vector<shard::TaskView>>>([&](auto done) { rig.gateway.tasks("nobody", done); }) ==
        std::nullopt);
}

TEST_CASE("verbs: every rung by hand, told with the number that the verdict gave") {
  Rig rig;
  TestClient client = attach(rig.gateway, "vol-t");
  const std::uint64_t lun = proto::scsi::encode_lun(1).value();
  std::uint32_t last = 0;
  for (const Rung rung :
       {Rung::abort_task_set, Rung::clear_task_set, Rung::lu_reset, Rung::target_warm_reset, Rung::session_reset}) {
    CAPTURE(to_string(rung));
    initiator::RecoveryRequest request{.rung = rung};
    if (rung < Rung::target_warm_reset) request.lun = lun;
    const Verdict dry = recover(rig.gateway, request, true);
    CHECK(dry.code == VerdictCode::ok);
    CHECK(dry.request_id == 0);
    const Verdict verdict = recover(rig.gateway, request);
    REQUIRE(verdict.code == VerdictCode::ok);
    CHECK(verdict.request_id > last);
    last = verdict.request_id;
    const initiator::RecoveryEvent event = rig.ended(verdict.request_id);
    CHECK(event.rung == rung);
    CHECK(event.outcome == initiator::RungOutcome::success);
    until([&] { return session_of(rig.gateway).state == initiator::SessionState::logged_in; });
    CHECK(echoes(client));
  }
  CHECK(session_of(rig.gateway).counters.losses == 1);
}

TEST_CASE("verbs: nothing can be done to a session that is not there") {
  Rig rig;
  rig.target.server->stop();
  until([&] { return session_of(rig.gateway).state != initiator::SessionState::logged_in; });
  CHECK(recover(rig.gateway, {.rung = Rung::target_warm_reset}).code == VerdictCode::wrong_state);
  CHECK(drop(rig.gateway, 0).code == VerdictCode::wrong_state);
}

TEST_CASE("drop of a connection: the session is lost for it, and comes back; clients notice nothing") {
  Rig rig;
  TestClient client = attach(rig.gateway, "vol-t");
  REQUIRE(echoes(client));
  CHECK(drop(rig.gateway, 2, true).code == VerdictCode::ok);
  CHECK(session_of(rig.gateway).counters.losses == 0);
  CHECK(drop(rig.gateway, 2).code == VerdictCode::ok);
  CHECK(echoes(client));
  until([&] { return session_of(rig.gateway).counters.logins == 2; });
  const auto rungs = events_of<initiator::RecoveryEvent>(rig.gateway);
  REQUIRE(rungs.size() == 1);
  const auto& event = rungs[0];
  CHECK(event.rung == Rung::relogin);
  CHECK(event.cause.find("dropped by an operator") != std::string::npos);
}

TEST_CASE("rescan: told with the number that the verdict gave; requests wait, and go on") {
  Rig rig;
  TestClient client = attach(rig.gateway, "vol-t");
  REQUIRE(echoes(client));
  CHECK(rescan(rig.gateway, false, "nothing").code == VerdictCode::not_found);
  const Verdict dry = rescan(rig.gateway, true);
  CHECK(dry.code == VerdictCode::ok);
  CHECK(dry.request_id == 0);
  CHECK(events_of<bridge::CacheEvent>(rig.gateway).empty());
  const auto probes = export_of(rig.gateway).counters.probes;
  const Verdict verdict = rescan(rig.gateway);
  REQUIRE(verdict.code == VerdictCode::ok);
  CHECK(verdict.request_id != 0);
  CHECK(echoes(client));
  const auto told = events_of<bridge::CacheEvent>(rig.gateway);
  REQUIRE(told.size() == 1);
  const auto& event = told[0];
  CHECK(event.request_id == verdict.request_id);
  CHECK(event.good);
  CHECK(event.cause.ends_with(" bytes, as before"));
  CHECK(export_of(rig.gateway).counters.probes == probes + 1);

  rig.target.server->stop();
  until([&] { return session_of(rig.gateway).state != initiator::SessionState::logged_in; });
  CHECK(rescan(rig.gateway).code == VerdictCode::wrong_state);
}

TEST_CASE("admin states: who is let in, and who may stay") {
  Rig rig;
  TestClient client = attach(rig.gateway, "vol-t");
  CHECK(set_state(rig.gateway, AdminState::drain, true).code == VerdictCode::ok);
  CHECK(export_of(rig.gateway).admin_state == AdminState::ready);

  CHECK(set_state(rig.gateway, AdminState::drain).code == VerdictCode::ok);
  CHECK(export_of(rig.gateway).admin_state == AdminState::drain);
  TestClient refused(connect_tcp(rig.gateway.listeners().front()->port()));
  CHECK(refused.go("vol-t") == Reply::err_shutdown);
  CHECK(refused.error_text().find("drained") != std::string::npos);
  CHECK(echoes(client));

  CHECK(set_state(rig.gateway, AdminState::ready).code == VerdictCode::ok);
  TestClient second = attach(rig.gateway, "vol-t");

  CHECK(set_state(rig.gateway, AdminState::maint).code == VerdictCode::ok);
  CHECK_FALSE(echoes(client));
  CHECK_FALSE(echoes(second));
  until([&] { return export_of(rig.gateway).clients == 0; });
  TestClient late(connect_tcp(rig.gateway.listeners().front()->port()));
  CHECK(late.go("vol-t") == Reply::err_shutdown);
  CHECK(late.error_text().find("maintenance") != std::string::npos);
  CHECK(set_state(rig.gateway, AdminState::ready).code == VerdictCode::ok);
  TestClient again = attach(rig.gateway, "vol-t");
  CHECK(echoes(again));
}

TEST_CASE("maintenance lets a request in flight finish") {
  Rig rig;
  TestClient client = attach(rig.gateway, "vol-t");
  REQUIRE(echoes(client));
  const std::uint16_t port = rig.target.server->port();
  rig.target.server->stop();
  until([&] { return session_of(rig.gateway).state != initiator::SessionState::logged_in; });
  client.send_request(proto::nbd::Command::read, 9, 777, 5000);
  until([&] { return export_of(rig.gateway).held == 1; });
  CHECK(set_state(rig.gateway, AdminState::maint).code == VerdictCode::ok);
  rig.target.start(port);
  std::uint64_t cookie = 0;
  std::uint32_t error = 1;
  REQUIRE(client.read_reply(cookie, error));
  CHECK(error == 0);
  std::vector<std::uint8_t> back(5000);
  CHECK(client.read(back));
}

TEST_CASE("a drained gateway lets nobody in, to any export; those attached go on") {
  Rig rig;
  TestClient client = attach(rig.gateway, "vol-t");
  CHECK(drain_clients(rig.gateway, true, true).code == VerdictCode::ok);
  CHECK_FALSE(view(rig.gateway).draining);
  CHECK(drain_clients(rig.gateway, true).code == VerdictCode::ok);
  CHECK(view(rig.gateway).draining);
  TestClient refused(connect_tcp(rig.gateway.listeners().front()->port()));
  CHECK(refused.go("vol-t") == Reply::err_shutdown);
  CHECK(echoes(client));
  CHECK(drain_clients(rig.gateway, false).code == VerdictCode::ok);
  TestClient again = attach(rig.gateway, "vol-t");
  CHECK(echoes(again));
}

TEST_CASE("a client that is sent away is gone, the others are not") {
  Rig rig;
  TestClient one = attach(rig.gateway, "vol-t");
  const auto id = view(rig.gateway).shards[0].clients.at(0).id;
  TestClient other = attach(rig.gateway, "vol-t");
  CHECK(disconnect(rig.gateway, id, true).code == VerdictCode::ok);
  CHECK(echoes(one));
  CHECK(disconnect(rig.gateway, id).code == VerdictCode::ok);
  CHECK_FALSE(echoes(one));
  CHECK(echoes(other));
  until([&] { return export_of(rig.gateway).clients == 1; });
  CHECK(disconnect(rig.gateway, id).code == VerdictCode::not_found);
}

TEST_CASE("the event log tells an observer each record, and no more once it is taken away") {
  shard::EventLog log;
  std::vector<std::uint64_t> seen;
  log.observe([&](const shard::EventRecord& record) { seen.push_back(record.sequence); });
  log.add("t", initiator::RecoveryEvent{});
  log.add("t", initiator::RecoveryEvent{});
  CHECK(seen == std::vector<std::uint64_t>{1, 2});
  log.observe({});
  log.add("t", initiator::RecoveryEvent{});
  CHECK(seen.size() == 2);
  CHECK(log.last() == 3);
}
