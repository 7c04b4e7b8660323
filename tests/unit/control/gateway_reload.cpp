// Another configuration for a gateway that runs: what it does to what stays, comes, changes and goes.
#include <doctest/doctest.h>

#include <atomic>
#include <thread>

#include "tests/unit/control/reload_rig.hpp"

using namespace nbdgw;
using namespace nbdgw::test;
using control::ReloadOutcome;
using proto::nbd::Reply;
using shard::AdminState;

namespace {

/// A client that writes and reads back, all the time, on its own thread.
class Load {
 public:
  Load(const control::Gateway& gateway, const std::string& name, std::uint64_t offset)
      : client_(attach(gateway, name)), thread_([this, offset] { run(offset); }) {}
  ~Load() { stop(); }
  std::uint64_t rounds() const { return rounds_; }
  /// Waits until it has done some more.
  void go_on() const {
    const std::uint64_t before = rounds_;
    until([&] { return rounds_ > before + 2 || failed_; });
  }
  bool stop() {
    stopping_ = true;
    if (thread_.joinable()) thread_.join();
    return !failed_;
  }

 private:
  void run(std::uint64_t offset) {
    std::vector<std::uint8_t> back(20000);
    while (!stopping_ && !failed_) {
      const std::vector<std::uint8_t> data(back.size(), static_cast<std::uint8_t>(rounds_ + 1));
      failed_ = !client_.write_at(offset, data) || !client_.read_at(offset, back) || back != data;
      ++rounds_;
    }
  }

  TestClient client_;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> failed_{false};
  std::atomic<std::uint64_t> rounds_{0};
  std::thread thread_;
};

}  // namespace

TEST_CASE("reload: a dry run tells what would be, and changes nothing") {
  Reloading all;
  config::Config next = all.config;
  remove_export(next, "other");
  next.workers = 7;
  const ReloadOutcome outcome = apply(all.gateway, next, true);
  CHECK(outcome.kind == ReloadOutcome::Kind::planned);
  REQUIRE(outcome.diff.changes.size() == 1);
  CHECK(outcome.diff.changes[0].object == "export other");
  CHECK(outcome.diff.needs_restart == std::vector<std::string>{"workers"});
  CHECK(*all.gateway.config() == all.config);
  CHECK(ask_for(all.gateway, "other") == Reply::ack);
}

TEST_CASE("reload: what needs a restart is told each time, and stays as it is") {
  Reloading all;
  config::Config next = all.config;
  next.limits.memory *= 2;
  next.limits.connections = 7;
  for (int round = 0; round < 2; ++round) {
    const ReloadOutcome outcome = apply(all.gateway, next);
    CHECK(outcome.kind == ReloadOutcome::Kind::applied);
    CHECK(outcome.diff.changes.size() == (round == 0 ? 1 : 0));
    CHECK(outcome.diff.needs_restart == std::vector<std::string>{"limits.memory"});
    CHECK(all.gateway.config()->limits.memory == all.config.limits.memory);
    CHECK(view(all.gateway).clients_max == 7);
  }
}

TEST_CASE("reload: exports and targets come, and are there when it is done") {
  Reloading all;
  Array c("c");
  TestClient client = attach(all.gateway, "keep");
  config::Config next = all.config;
  next.targets.push_back(c.configured("c"));
  add_export(next, "third", 0, 3);   // on a session that is there
  add_export(next, "second", 1, 2);  // on another
  add_export(next, "fresh", 2, 1);   // on a new one
  const std::uint32_t tasks = session_named(all.gateway, "a").tasks_max;
  reload(all.gateway, next);
  for (const char* name : {"third", "second", "fresh"}) {
    CAPTURE(name);
    TestClient newcomer = attach(all.gateway, name);
    CHECK(echoes(newcomer));
  }
  CHECK(exports(all.gateway).size() == 6);
  CHECK(sessions(all.gateway).size() == 3);
  CHECK(session_named(all.gateway, "a").counters.logins == 1);
  CHECK(session_named(all.gateway, "a").tasks_max == tasks + 128);  // queue_depth for the third LUN
  CHECK(echoes(client));
}

TEST_CASE("reload: an export goes; its clients get their answers first, others notice nothing") {
  Reloading all;
  TestClient going = attach(all.gateway, "other");
  TestClient staying = attach(all.gateway, "keep");
  CHECK(echoes(going));
  config::Config next = all.config;
  remove_export(next, "other");
  reload(all.gateway, next);
  CHECK(has_ended(going));
  CHECK(ask_for(all.gateway, "other") == Reply::err_unknown);
  CHECK(exports(all.gateway).size() == 2);
  CHECK(echoes(staying));
  CHECK(session_named(all.gateway, "a").counters.logins == 1);
}

TEST_CASE("reload: with its last export a session ends, and its target may come back") {
  Reloading all;
  TestClient staying = attach(all.gateway, "keep");
  const std::string isid = session_named(all.gateway, "b").isid;
  for (int round = 0; round < 3; ++round) {
    config::Config next = all.config;
    remove_export(next, "far");
    if (round % 2 == 0) next.targets.pop_back();  // used by none, or not even there
    reload(all.gateway, next);
    CHECK(sessions(all.gateway).size() == 1);
    CHECK(ask_for(all.gateway, "far") == Reply::err_unknown);
    reload(all.gateway, all.config);
    TestClient back = attach(all.gateway, "far");
    CHECK(echoes(back));
    CHECK(session_named(all.gateway, "b").isid == isid);
  }
  CHECK(echoes(staying));
  CHECK(session_named(all.gateway, "a").counters.logins == 1);
}

TEST_CASE("reload: the ISID of a session does not depend on the targets around it") {
  Reloading all;
  TestClient client = attach(all.gateway, "far");
  CHECK(echoes(client));  // so its session has been logged in: once, as is said below
  const std::string isid = session_named(all.gateway, "b").isid;
  CHECK(session_named(all.gateway, "a").isid != isid);
  config::Config next = all.config;
  next.targets.erase(next.targets.begin());
  next.exports = {next.exports[2]};
  next.exports[0].target = 0;
  reload(all.gateway, next);
  CHECK(session_named(all.gateway, "b").isid == isid);
  CHECK(session_named(all.gateway, "b").counters.logins == 1);
  control::Gateway restarted(next);
  restarted.start();
  CHECK(session_named(restarted, "b").isid == isid);
}

TEST_CASE("reload: what can change under clients does so, and nobody is sent away") {
  Reloading all;
  TestClient client = attach(all.gateway, "keep");
  CHECK(echoes(client));
  config::Config next = all.config;
  config::Target& target = next.targets[0];
  target.queue_depth = 9;
  target.retries = 1;
  target.on_path_loss = config::PathLoss::hold;
  target.timeouts.command = 3 * proto::kSecond;
  target.timeouts.nop_interval = 1 * proto::kSecond;
  named(next, "keep").description = "in use";
  named(next, "keep").required = false;
  reload(all.gateway, next);
  const shard::ExportView seen = export_named(all.gateway, "keep");
  CHECK(seen.queue_depth == 9);
  CHECK(seen.info.description == "in use");
  CHECK(!seen.required);
  CHECK(seen.clients == 1);
  CHECK(echoes(client));
  CHECK(session_named(all.gateway, "a").counters.logins == 1);
}

TEST_CASE("reload: an export that is changed is made anew; its clients come back to the new one") {
  Reloading all;
  TestClient client = attach(all.gateway, "other");
  TestClient staying = attach(all.gateway, "keep");
  CHECK(echoes(client));
  config::Config next = all.config;
  named(next, "other").read_only = true;
  reload(all.gateway, next);
  CHECK(has_ended(client));
  TestClient back = attach(all.gateway, "other");
  std::vector<std::uint8_t> data(5000);
  CHECK(back.read_at(777, data));
  CHECK(data == std::vector<std::uint8_t>(data.size(), 0x37));
  CHECK(!back.write_at(777, data));
  CHECK(echoes(staying));
}

TEST_CASE("reload: a name moves to another disk, and two names change places") {
  Reloading all;
  const auto put = [&](const char* name, std::uint8_t value) {
    TestClient client = attach(all.gateway, name);
    REQUIRE(client.write_at(0, std::vector<std::uint8_t>(512, value)));
  };
  const auto look = [&](const char* name) {
    TestClient client = attach(all.gateway, name);
    std::vector<std::uint8_t> data(512);
    REQUIRE(client.read_at(0, data));
    return data[100];
  };
  put("keep", 1);
  put("other", 2);
  put("far", 3);
  config::Config next = all.config;
  std::swap(named(next, "keep").lun, named(next, "other").lun);
  reload(all.gateway, next);
  CHECK(look("keep") == 2);
  CHECK(look("other") == 1);
  std::swap(named(next, "keep").target, named(next, "far").target);  // to the other shard
  named(next, "keep").lun = 1;
  named(next, "far").lun = 2;
  reload(all.gateway, next);
  CHECK(look("keep") == 3);
  CHECK(look("far") == 2);
  CHECK(look("other") == 1);
}

TEST_CASE("reload: a target of other connections or another name gets a new session, its exports with it") {
  Reloading all;
  TestClient client = attach(all.gateway, "far");
  config::Config next = all.config;
  next.targets[1].connections = 1;
  reload(all.gateway, next);
  CHECK(has_ended(client));
  CHECK(session_named(all.gateway, "b").connections_wanted == 1);
  TestClient back = attach(all.gateway, "far");
  CHECK(echoes(back));
  next.targets[1].name = "renamed";  // the same target: its session must not be ended by the new one's login
  reload(all.gateway, next);
  CHECK(has_ended(back));
  TestClient again = attach(all.gateway, "far");
  CHECK(echoes(again));
  CHECK(session_named(all.gateway, "renamed").counters.losses == 0);
  CHECK(session_named(all.gateway, "a").counters.logins == 1);
}

TEST_CASE("reload: admin states stay, also of an export that is made anew") {
  Reloading all;
  REQUIRE(set_state(all.gateway, AdminState::drain, false, "keep").code == control::VerdictCode::ok);
  REQUIRE(set_state(all.gateway, AdminState::maint, false, "other").code == control::VerdictCode::ok);
  config::Config next = all.config;
  named(next, "other").read_only = true;
  remove_export(next, "far");
  reload(all.gateway, next);
  CHECK(export_named(all.gateway, "keep").admin_state == AdminState::drain);
  CHECK(export_named(all.gateway, "other").admin_state == AdminState::maint);
  CHECK(ask_for(all.gateway, "other") == Reply::err_shutdown);
  CHECK(set_state(all.gateway, AdminState::ready, false, "other").code == control::VerdictCode::ok);
  CHECK(ask_for(all.gateway, "other") == Reply::ack);
  CHECK(set_state(all.gateway, AdminState::ready, false, "far").code == control::VerdictCode::not_found);
}

TEST_CASE("reload: twenty of them under load; what stays has no error, no new login and no other client") {
  Reloading all;
  Array c("c");
  Load load(all.gateway, "keep", 0);
  for (int round = 0; round < 20; ++round) {
    config::Config next = all.config;
    if (round % 2 == 0) {
      remove_export(next, "far");
      add_export(next, "third", 0, 3);
      next.targets.push_back(c.configured("c"));
      add_export(next, "fresh", 2, 1);
    }
    named(next, "other").read_only = round % 3 == 0;
    next.targets[0].queue_depth = round % 2 == 0 ? 64 : 128;
    TestClient neighbour = attach(all.gateway, "other");
    reload(all.gateway, next);
    load.go_on();
  }
  CHECK(load.stop());
  const shard::ExportView seen = export_named(all.gateway, "keep");
  CHECK(seen.clients_total == 1);
  CHECK(seen.counters.failed == 0);
  CHECK(seen.counters.path_losses == 0);
  CHECK(session_named(all.gateway, "a").counters.logins == 1);
}
