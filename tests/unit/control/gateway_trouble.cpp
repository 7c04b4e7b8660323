// What operators do while commands hang, with several shards, and while the gateway ends.
#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <set>
#include <thread>

#include "gateway/shard/portal_socket.hpp"
#include "proto/scsi/lun.hpp"
#include "tests/unit/control/gateway_rig.hpp"
#include "tests/unit/net/swallowing.hpp"

using namespace nbdgw;
using namespace nbdgw::test;
using control::Verdict;
using control::VerdictCode;
using initiator::Rung;
using initiator::RungOutcome;
using proto::nbd::Command;
using proto::nbd::Reply;
using shard::AdminState;

namespace {

const std::uint64_t kLun = proto::scsi::encode_lun(1).value();

using Tasks = std::optional<std::vector<shard::TaskView>>;

std::vector<shard::TaskView> tasks_of(control::Gateway& gateway) {
  Tasks tasks = await<Tasks>([&](auto done) { gateway.tasks("t", std::move(done)); });
  REQUIRE(tasks.has_value());
  return *tasks;
}

void hang_next_read(Target& target) {
  iscsi_target::Fault fault;
  fault.kind = iscsi_target::FaultKind::hang_task;
  fault.group = iscsi_target::CommandGroup::read;
  fault.count = 1;
  target.post(fault);
}

TestClient connect(const control::Gateway& gateway) {
  return TestClient(connect_tcp(gateway.listeners().front()->port()));
}

}  // namespace

TEST_CASE(
    "tasks: a command that hangs is there to be seen; aborted by hand, it is sent again, and its client waits") {
  Rig rig;
  TestClient client = attach(rig.gateway, "vol-t");
  const std::vector<std::uint8_t> data(4096, 0x6b);
  REQUIRE(client.write_at(8192, data));
  CHECK(tasks_of(rig.gateway).empty());
  hang_next_read(rig.target);
  client.send_request(Command::read, 9, 8192, 4096);
  until([&] { return tasks_of(rig.gateway).size() == 1; });
  const shard::TaskView task = tasks_of(rig.gateway)[0];
  const shard::ExportView exported = export_of(rig.gateway);
  CHECK(task.lun == 1);
  CHECK(task.lba * exported.facts.block_length == 8192);
  CHECK(task.length == 4096);
  CHECK((task.opcode == 0x28 || task.opcode == 0x88));  // READ(10), READ(16)
  CHECK_FALSE(task.overdue);
  CHECK(task.deadline > 0);
  CHECK(exported.tasks_in_flight == 1);
  CHECK(exported.in_flight == 1);
  CHECK(exported.held == 0);  // there is a path
  const shard::SessionView session = session_of(rig.gateway);
  CHECK(session.tasks >= 1);
  CHECK(session.connections[task.cid].tasks == 1);
  CHECK(proto::serial_less(task.cmd_sn, session.cmd_sn));

  const Verdict dry = recover(rig.gateway, {.rung = Rung::abort_task, .itt = task.itt}, true);
  CHECK(dry.code == VerdictCode::ok);
  CHECK(dry.text.find("1 task") != std::string::npos);
  const Verdict dry_drop = drop(rig.gateway, 0, true);
  CHECK(dry_drop.text.find("1 task") != std::string::npos);
  REQUIRE(tasks_of(rig.gateway).size() == 1);
  CHECK(tasks_of(rig.gateway)[0].itt == task.itt);

  const Verdict verdict = recover(rig.gateway, {.rung = Rung::abort_task, .itt = task.itt});
  REQUIRE(verdict.code == VerdictCode::ok);
  const initiator::RecoveryEvent event = rig.ended(verdict.request_id);
  CHECK(event.outcome == RungOutcome::success);
  CHECK(event.tasks == 1);
  std::uint64_t cookie = 0;
  std::uint32_t error = 1;
  REQUIRE(client.read_reply(cookie, error));
  CHECK(error == 0);
  std::vector<std::uint8_t> back(data.size());
  REQUIRE(client.read(back));
  CHECK(back == data);
  CHECK(recover(rig.gateway, {.rung = Rung::abort_task, .itt = task.itt}).code == VerdictCode::not_found);
  CHECK(session_of(rig.gateway).counters.losses == 0);
}

TEST_CASE("maintenance while a request hangs: it is answered, later ones are not, and then the client is gone") {
  Rig rig;
  TestClient client = attach(rig.gateway, "vol-t");
  hang_next_read(rig.target);
  client.send_request(Command::read, 1, 0, 4096);
  until([&] { return tasks_of(rig.gateway).size() == 1; });
  REQUIRE(set_state(rig.gateway, AdminState::maint).code == VerdictCode::ok);
  client.send_request(Command::read, 2, 0, 4096);
  CHECK(set_state(rig.gateway, AdminState::ready).code == VerdictCode::ok);  // comes too late for this client
  TestClient other = attach(rig.gateway, "vol-t");
  recover(rig.gateway, {.rung = Rung::abort_task, .itt = tasks_of(rig.gateway).at(0).itt});
  std::uint64_t cookie = 0;
  std::uint32_t error = 0;
  REQUIRE(client.read_reply(cookie, error));
  CHECK(cookie == 1);
  CHECK(error == 0);
  std::vector<std::uint8_t> data(4096);
  CHECK(client.read(data));
  CHECK_FALSE(client.read(std::span(data).first(1)));
  CHECK(echoes(other));
  CHECK(view(rig.gateway).shards[0].closed[static_cast<std::size_t>(nbd::CloseReason::drained)] == 1);
}

TEST_CASE("verbs: what makes no sense is said to be so, and a LUN that is not ours is not touched") {
  Rig rig;
  for (const bool dry_run : {true, false}) {
    CHECK(recover(rig.gateway, {.rung = Rung::timeout}, dry_run).code == VerdictCode::invalid);
    CHECK(recover(rig.gateway, {.rung = Rung::relogin}, dry_run).code == VerdictCode::invalid);
    for (const Rung rung : {Rung::abort_task_set, Rung::clear_task_set, Rung::lu_reset}) {
      CHECK(recover(rig.gateway, {.rung = rung}, dry_run).code == VerdictCode::invalid);
      const std::uint64_t other = proto::scsi::encode_lun(300).value();
      const Verdict verdict = recover(rig.gateway, {.rung = rung, .lun = other}, dry_run);
      CHECK(verdict.code == VerdictCode::not_found);
      CHECK(verdict.text.find("LUN 300") != std::string::npos);
    }
  }
  CHECK(events_of<initiator::RecoveryEvent>(rig.gateway).empty());
}

TEST_CASE("verbs: rungs that wait for their turn have a limit, and each of them is told how it ended") {
  Rig rig;
  TestClient client = attach(rig.gateway, "vol-t");
  iscsi_target::Fault fault;
  fault.kind = iscsi_target::FaultKind::hang_tmf;
  rig.target.post(fault);
  const initiator::RecoveryRequest reset{.rung = Rung::lu_reset, .lun = kLun};
  std::set<std::uint32_t> ids;
  ids.insert(recover(rig.gateway, reset).request_id);
  until([&] { return session_of(rig.gateway).climb.has_value(); });
  const shard::ClimbView climb = *session_of(rig.gateway).climb;
  CHECK(climb.rung == Rung::lu_reset);
  CHECK(climb.scope == initiator::RungScope::lun);
  CHECK(climb.lun == kLun);
  CHECK(ids.contains(climb.request_id));
  for (std::size_t i = 0; i < initiator::Escalation::kMaxRequests; ++i) {
    const Verdict verdict = recover(rig.gateway, reset);
    REQUIRE(verdict.code == VerdictCode::ok);
    ids.insert(verdict.request_id);
  }
  CHECK(ids.size() == initiator::Escalation::kMaxRequests + 1);
  CHECK_FALSE(ids.contains(0));
  CHECK(recover(rig.gateway, reset).code == VerdictCode::busy);
  CHECK(recover(rig.gateway, reset, true).code == VerdictCode::busy);
  REQUIRE(drop(rig.gateway, 0).code == VerdictCode::ok);
  for (const std::uint32_t id : ids) CHECK(rig.ended(id).outcome == RungOutcome::failed);
  CHECK(echoes(client));
}

TEST_CASE("several shards: a state holds on the shard of its export, whichever shard took the client in") {
  Target a("a");
  Target b("b");
  control::Gateway gateway(config_for({&a, &b}));
  gateway.start();
  TestClient on_a = attach(gateway, "vol-a");
  TestClient on_b = attach(gateway, "vol-b");
  TestClient greeted = connect(gateway);
  REQUIRE(greeted.greet());
  const shard::GatewayView all = view(gateway);
  REQUIRE(all.shards.size() == 2);
  std::set<std::uint64_t> ids;
  std::uint32_t handshakes = 0;
  for (const shard::ShardView& shard : all.shards) {
    CHECK(shard.exports.at(0).clients == 1);
    CHECK(shard.sessions.size() == 1);
    for (const shard::ClientView& client : shard.clients) ids.insert(client.id);
    handshakes += shard.handshakes;
  }
  CHECK(ids.size() == 3);
  CHECK(handshakes == 1);

  REQUIRE(set_state(gateway, AdminState::maint, false, "vol-b").code == VerdictCode::ok);
  CHECK_FALSE(echoes(on_b));
  for (int entrance = 0; entrance < 2; ++entrance) {
    CHECK(connect(gateway).go("vol-b") == Reply::err_shutdown);
    TestClient other = attach(gateway, "vol-a");
    CHECK(echoes(other));
  }
  REQUIRE(drain_clients(gateway, true).code == VerdictCode::ok);
  for (const char* name : {"vol-a", "vol-b"}) {
    for (int entrance = 0; entrance < 2; ++entrance) {
      TestClient refused = connect(gateway);
      CHECK(refused.go(name) == Reply::err_shutdown);
      CHECK(refused.error_text().find("gateway is being drained") != std::string::npos);
    }
  }
  CHECK(echoes(on_a));
  greeted.send_go("vol-a");  // was in the handshake before
  CHECK(greeted.read_go_reply() == Reply::err_shutdown);
  REQUIRE(drain_clients(gateway, false).code == VerdictCode::ok);
  CHECK(connect(gateway).go("vol-b") == Reply::err_shutdown);  // its own state is as it was
  REQUIRE(set_state(gateway, AdminState::ready, false, "vol-b").code == VerdictCode::ok);
  TestClient back = attach(gateway, "vol-b");
  CHECK(echoes(back));
}

TEST_CASE("a client that waits for an export that is not there yet is told when nobody is let in any more") {
  net::UniqueFd nobody(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));  // bound only: a connect is refused
  control::Gateway gateway(make_config({{"127.0.0.1", bind_loopback(nobody.get())}}, {"t"}));
  gateway.start();
  TestClient client = connect(gateway);
  REQUIRE(client.greet());
  client.send_go("vol-t");
  until([&] { return view(gateway).shards[0].handshakes == 1; });
  REQUIRE(set_state(gateway, AdminState::drain).code == VerdictCode::ok);
  CHECK(client.read_go_reply() == Reply::err_shutdown);
}

TEST_CASE("views during I/O: counters only grow, and fit what the clients have seen") {
  Rig rig;
  std::atomic<bool> stop{false};
  std::array<std::atomic<std::uint64_t>, 2> written{};
  std::vector<std::thread> threads;
  for (auto& count : written) {
    threads.emplace_back([&] {
      TestClient client = connect(rig.gateway);
      if (client.go("vol-t") != Reply::ack) return;
      const std::vector<std::uint8_t> data(8192, 0x11);
      while (!stop && client.write_at(static_cast<std::uint64_t>(&count - written.data()) * 8192, data)) {
        count += data.size();
      }
    });
  }
  std::uint64_t seen = 0;
  until([&] {
    const std::uint64_t told = written[0] + written[1];
    const shard::ExportView exported = export_of(rig.gateway);
    REQUIRE(exported.nbd.bytes_written >= seen);
    REQUIRE(exported.nbd.bytes_written >= told);
    seen = exported.nbd.bytes_written;
    return written[0] > 100 * 8192 && written[1] > 100 * 8192;
  });
  stop = true;
  for (auto& thread : threads) thread.join();
  until([&] { return export_of(rig.gateway).clients == 0; });
  const shard::ExportView exported = export_of(rig.gateway);
  CHECK(exported.nbd.bytes_written == written[0] + written[1]);
  CHECK(exported.clients_total == 2);
}

TEST_CASE("a gateway that ends without a session tells of the failures that it has only counted") {
  Target target("t");
  config::Config config = config_for({&target});
  config.targets[0].timeouts.replacement = 50'000;  // microseconds
  control::Gateway gateway(std::move(config));
  gateway.start();
  constexpr std::uint64_t kReads = 10;
  {
    TestClient client = attach(gateway, "vol-t");
    std::vector<std::uint8_t> back(512);
    REQUIRE(client.read_at(0, back));
    target.server.reset();
    for (std::uint64_t i = 0; i < kReads; ++i) REQUIRE_FALSE(client.read_at(0, back));
  }
  gateway.drain();
  gateway.wait();
  std::uint64_t told = 0;
  for (const auto& failure : events_of<bridge::RequestFailure>(gateway)) told += failure.count;
  CHECK(told == kReads);
}

TEST_CASE("everything asked for while the gateway ends is answered once or let go of, and nothing is kept") {
  constexpr std::size_t kVerbs = 7;
  for (int round = 0; round < 10; ++round) {
    Target target("t");
    auto token = std::make_shared<int>(0);
    std::vector<std::unique_ptr<std::atomic<int>>> calls;
    {
      control::Gateway gateway(config_for({&target}));
      gateway.start();
      TestClient client = attach(gateway, "vol-t");
      const auto id = view(gateway).shards[0].clients.at(0).id;
      std::atomic<bool> asked_some{false};
      std::thread asking([&] {
        for (std::size_t i = 0; i < 100 * kVerbs; ++i) {
          std::atomic<int>* count = calls.emplace_back(std::make_unique<std::atomic<int>>(0)).get();
          const auto done = [token, count](const auto&) { ++*count; };
          switch (i % kVerbs) {
            case 0:
              gateway.recover("t", {.rung = Rung::lu_reset, .lun = kLun}, false, done);
              break;
            case 1:
              gateway.drop_connection("t", 1, false, done);
              break;
            case 2:
              gateway.set_export_state("vol-t", AdminState::maint, false, done);
              break;
            case 3:
              gateway.drain_clients(true, false, done);
              break;
            case 4:
              gateway.disconnect_client(id, false, done);
              break;
            case 5:
              gateway.ping_all(done);
              break;
            default:
              gateway.tasks("t", done);
          }
          if (i == 2 * kVerbs) {
            asked_some = true;
            asked_some.notify_one();
          }
        }
      });
      asked_some.wait(false);
      client.close();
      if (round % 2 == 0) {
        gateway.drain();
        gateway.wait();
      }
      asking.join();
    }
    CHECK(token.use_count() == 1);
    for (const auto& count : calls) CHECK(*count <= 1);
  }
}

TEST_CASE("portals: one that swallows packets holds the login up for a moment only, for all connections") {
  const Swallowing swallowing;
  Target target("t");
  config::Config config = config_for({&target});
  config.targets[0].portals.insert(config.targets[0].portals.begin(),
                                   {.host = "127.0.0.1", .port = swallowing.port()});
  const auto begin = std::chrono::steady_clock::now();
  control::Gateway gateway(config);
  gateway.start();
  const auto joined = [&] {
    std::uint32_t count = 0;
    for (const auto& connection : session_of(gateway).connections) {
      if (connection.state != initiator::ConnectionState::started) continue;
      CHECK(connection.portal == "127.0.0.1:" + std::to_string(target.server->port()));
      ++count;
    }
    return count;
  };
  until([&] { return session_of(gateway).connections_wanted == joined(); });
  TestClient client = attach(gateway, "vol-t");
  CHECK(echoes(client));
  // Far less than timeouts.login.
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::microseconds(shard::kAttemptDelay * 6));
}
