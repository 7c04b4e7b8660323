// What one process leaves and the next one reads.
#include "gateway/app/kept_state_text.hpp"

#include <doctest/doctest.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <stdexcept>
#include <utility>

using namespace nbdgw;
using net::InheritedSockets;

namespace {

shard::KeptState a_state() {
  shard::KeptState state;
  shard::KeptClient& client = state.clients.emplace_back();
  client.connection.info.name = "vol \"ä\"";
  client.connection.info.disk = {.designator = "t10.\xff\x01", .serial = "\xfe"};
  client.connection.info.size = ~std::uint64_t{0} >> 1;
  client.connection.info.trim = false;
  client.connection.structured = true;
  client.connection.standing = nbd::LossStanding::owed;
  client.connection.token = "f00d";
  client.connection.unread = {0, 0x25, 0xff};
  client.iqn = "iqn.2026-11.io.nbdgw:t";
  client.lun = std::uint64_t{1} << 48;
  shard::ExportLegacy& legacy = state.exports.emplace_back();
  legacy.iqn = client.iqn;
  legacy.lun = client.lun;
  legacy.cache.seen_at = 123;
  legacy.cache.cache = {.reports = 1,
                        .acknowledged = 9,
                        .flushed = 4,
                        .doubted_from = 6,
                        .doubted_to = 8,
                        .debts = 2,
                        .debt_writes = 7};
  legacy.cache.writes_left = true;
  legacy.cache.left = {{.group = {.tag = 7, .portal = {.host = "array", .port = 3261}, .address = "10.0.0.7:3261"},
                        .acknowledged = true},
                       {.group = {.tag = {}, .portal = {}, .address = {}}}};
  legacy.cache.gap = true;
  legacy.cache.absent = {{.token = "cafe", .owed = true}, {.token = "beef", .owed = false}};
  return state;
}

/// As the store would pass them: any descriptors will do.
std::vector<InheritedSockets::Named> sockets(const std::vector<std::string>& names) {
  std::vector<InheritedSockets::Named> made;
  for (const std::string& name : names) made.emplace_back(name, net::UniqueFd(::socket(AF_UNIX, SOCK_STREAM, 0)));
  return made;
}

std::string with(std::string text, const std::string& what, const std::string& instead) {
  const std::size_t at = text.find(what);
  REQUIRE(at != std::string::npos);
  return text.replace(at, what.size(), instead);
}

}  // namespace

TEST_CASE("kept state: there and back") {
  const shard::KeptState before = a_state();
  const shard::KeptState after = app::parse_kept_state(app::kept_state_text(before), sockets({app::client_name(0)}));
  REQUIRE(after.clients.size() == 1);
  const shard::KeptClient &was = before.clients[0], &is = after.clients[0];
  CHECK(is.fd);
  CHECK(nbd::keeps_promises(is.connection.info, was.connection.info));
  CHECK(nbd::keeps_promises(was.connection.info, is.connection.info));
  CHECK(is.connection.info.name == was.connection.info.name);
  CHECK(is.connection.structured);
  CHECK(is.connection.standing == nbd::LossStanding::owed);
  CHECK(is.connection.token == "f00d");
  CHECK(is.connection.unread == was.connection.unread);
  CHECK(is.iqn == was.iqn);
  CHECK(is.lun == was.lun);
  REQUIRE(after.exports.size() == 1);
  CHECK(after.exports[0].iqn == before.exports[0].iqn);
  CHECK(after.exports[0].lun == before.exports[0].lun);
  CHECK(after.exports[0].cache.seen_at == 123);
  CHECK(after.exports[0].cache.cache.unflushed() == 5);
  CHECK(after.exports[0].cache.cache.debts == 2);
  CHECK(after.exports[0].cache.cache.debt_writes == 7);
  CHECK(after.exports[0].cache.gap);
  CHECK(after.exports[0].cache.writes_left);
  REQUIRE(after.exports[0].cache.absent.size() == 2);
  CHECK(after.exports[0].cache.absent[0].token == "cafe");
  CHECK(after.exports[0].cache.absent[0].owed);
  CHECK_FALSE(after.exports[0].cache.absent[1].owed);
  REQUIRE(after.exports[0].cache.left.size() == 2);
  const initiator::LeftWrites& left = after.exports[0].cache.left[0];
  CHECK(left.group.tag == 7);
  CHECK(left.group.portal == initiator::Portal{"array", 3261});
  CHECK(left.group.address == "10.0.0.7:3261");
  CHECK(left.acknowledged);
  CHECK_FALSE(after.exports[0].cache.left[1].group.tag);
  CHECK_FALSE(after.exports[0].cache.left[1].acknowledged);
  CHECK(app::kept_state_text(after) == app::kept_state_text(before));
}

TEST_CASE("kept state: a release that knew of no clients that come back has left it") {
  const std::string text = app::kept_state_text(a_state());
  std::string old = with(text, R"("token":"f00d",)", "");
  const std::size_t at = old.find(R"(,"absent":[)");
  REQUIRE(at != std::string::npos);
  old.erase(at, old.find(']', at) + 1 - at);
  const shard::KeptState state = app::parse_kept_state(old, sockets({app::client_name(0)}));
  REQUIRE(state.clients.size() == 1);
  CHECK(state.clients[0].connection.token.empty());
  REQUIRE(state.exports.size() == 1);
  CHECK(state.exports[0].cache.absent.empty());
  CHECK(state.exports[0].cache.cache.unflushed() == 5);
}

TEST_CASE("kept state: of the release before nobody knows where its writes were left") {
  const std::string text = app::kept_state_text(a_state());
  const std::size_t from = text.find("\"left\":["), to = text.find(']', from);
  REQUIRE(to != std::string::npos);
  const shard::KeptState state = app::parse_kept_state(text.substr(0, from) + text.substr(to + 2), {});
  REQUIRE(state.exports.size() == 1);
  CHECK(state.exports[0].cache.writes_left);
  CHECK(state.exports[0].cache.left.empty());
}

TEST_CASE("kept state: every client finds its own socket") {
  shard::KeptState three = a_state();
  for (const char* name : {"b", "c"}) three.clients.emplace_back().connection.info.name = name;
  auto passed = sockets({app::client_name(2), app::client_name(0)});  // one has gone, the others come in any order
  const int second = passed[0].second.get(), zeroth = passed[1].second.get();
  const shard::KeptState state = app::parse_kept_state(app::kept_state_text(three), std::move(passed));
  REQUIRE(state.clients.size() == 2);
  CHECK(state.clients[0].fd.get() == zeroth);
  CHECK(state.clients[0].connection.info.name == "vol \"ä\"");
  CHECK(state.clients[1].fd.get() == second);
  CHECK(state.clients[1].connection.info.name == "c");
}

TEST_CASE("kept state: what a client is owed that has gone meanwhile is left to its export") {
  for (const auto standing : {nbd::LossStanding::owed, nbd::LossStanding::told, nbd::LossStanding::newcomer}) {
    shard::KeptState state = a_state();
    state.clients[0].connection.standing = standing;
    CHECK(app::parse_kept_state(app::kept_state_text(state), sockets({app::client_name(0)}))
              .exports[0]
              .cache.cache.debts == 2);
    const shard::KeptState alone = app::parse_kept_state(app::kept_state_text(state), {});
    CHECK(alone.clients.empty());
    CHECK(alone.exports[0].cache.cache.debts == (standing == nbd::LossStanding::owed ? 3 : 2));
    state.exports.clear();  // nothing of it is known: no harm
    CHECK(app::parse_kept_state(app::kept_state_text(state), {}).exports.empty());
  }
}

TEST_CASE("kept state: of the release before, what that did not know of has its safe meaning") {
  const std::string text =
      R"({"version":4,"clients":[{"export":{"name":"vol","disk":{"designator":"","serial":""},"size":4096,)"
      R"("read_only":false,"flush":true,"fua":true,"trim":false,"write_zeroes":true,"multi_conn":true,)"
      R"("min_block":1,"max_payload":1048576},"iqn":"iqn.2026-11.io.nbdgw:t","lun":1,"structured":true,)"
      R"("standing":"told","unread":""}],)"
      R"("exports":[{"iqn":"iqn.2026-11.io.nbdgw:t","lun":1,"cache":{"seen_at":123,)"
      R"("reports":1,"acknowledged":9,"flushed":4,"doubted_from":6,"doubted_to":8,"debts":2,"debt_writes":7,)"
      R"("writes_left":true,"gap":false,"disk":{"designator":"","serial":""},"path_was_up":true,)"
      R"("login_is_silent":false,"reset_is_silent":false}}]})";
  const shard::KeptState state = app::parse_kept_state(text, sockets({app::client_name(0)}));
  REQUIRE(state.clients.size() == 1);
  CHECK(state.clients[0].connection.token.empty());
  REQUIRE(state.exports.size() == 1);
  const bridge::CacheLegacy& cache = state.exports[0].cache;
  CHECK(cache.cache.debts == 2);
  CHECK(cache.writes_left);
  CHECK(cache.left.empty());  // any login is taken for the end, and the LUN is reset
  CHECK(cache.absent.empty());
}

TEST_CASE("kept state: what is not ours is refused") {
  const std::string good = app::kept_state_text(a_state());
  const auto refused = [](const std::string& text) {
    CHECK_THROWS_AS(app::parse_kept_state(text, sockets({app::client_name(0)})), std::runtime_error);
  };
  refused("");
  refused("[]");
  refused("{}");
  for (std::size_t length = 1; length < good.size(); length += 7) refused(good.substr(0, length));
  refused(with(good, "\"version\":4", "\"version\":3"));
  refused(with(good, "\"standing\":\"owed\"", "\"standing\":\"owes\""));
  refused(with(good, "\"standing\":\"owed\"", "\"standing\":2"));
  refused(with(good, "\"debts\":2", "\"debts\":-1"));
  refused(with(good, "\"tag\":7", "\"tag\":65536"));
  refused(with(good, "\"debts\":2", "\"debts\":" + std::to_string(bridge::kMaxDebtsLeft + 1)));
  refused(with(good, "\"debts\":2", "\"debts\":4294967298"));
  refused(with(good, "\"debt_writes\":7", "\"debt_writes\":10"));
  refused(with(good, "\"doubted_from\":6", "\"doubted_from\":9"));
  refused(with(good, "\"acknowledged\":9", "\"acknowledged\":18446744073709551615"));
  refused(with(good, "\"gap\":true", "\"gap\":1"));
  refused(with(good, "\"unread\":\"0025ff\"", "\"unread\":\"0025f\""));
  refused(with(good, "\"unread\":\"0025ff\"", "\"unread\":\"zz\""));
  refused(with(good, "\"unread\":\"0025ff\"", "\"unread\":\"" + std::string(2 * nbd::kMaxUnread + 2, '0') + "\""));
  refused(with(good, "\"structured\":true", "\"structured\":1"));
  refused(with(good, "\"min_block\":1", "\"min_block\":4294967296"));
  refused(with(good, "\"flushed\":4", "\"flushed\":10"));
  refused(with(good, "\"acknowledged\":9", "\"acknowledged\":-1"));
  refused(with(good, "\"size\"", "\"sizes\""));
}

TEST_CASE("kept state: requests that are passed on, which the release before leaves alone") {
  shard::KeptState before = a_state();
  std::vector<std::uint8_t>& unread = before.clients[0].connection.unread;
  unread.assign(nbd::kMaxUnread, 7);
  CHECK(app::client_name(0, before.clients[0].connection) == app::client_name(0));
  unread.assign(nbd::kMaxUnread + 1, 7);
  const std::string name = app::client_name(0, before.clients[0].connection);
  CHECK(name != app::client_name(0));
  const std::string text = app::kept_state_text(before);
  const shard::KeptState after = app::parse_kept_state(text, sockets({name}));
  REQUIRE(after.clients.size() == 1);
  CHECK(after.clients[0].connection.unread == unread);
  // That release looks for the socket under the old name, and takes the client for one that has gone.
  const shard::KeptState old = app::parse_kept_state(text, sockets({app::client_name(0)}));
  CHECK(old.clients.empty());
  CHECK(old.exports[0].cache.cache.debts == 3);
  unread.assign(nbd::kMostPassedOn + 1, 7);
  CHECK_THROWS_AS(app::parse_kept_state(app::kept_state_text(before), sockets({name})), std::runtime_error);
}
