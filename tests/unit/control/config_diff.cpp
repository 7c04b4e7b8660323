#include "gateway/control/config_diff.hpp"

#include <doctest/doctest.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

using namespace nbdgw;
using control::ChangeEffect;
using control::ConfigChange;
using control::ConfigDiff;
using Kind = control::ConfigChange::Kind;

namespace {

config::Target target(const std::string& name) {
  config::Target made;
  made.name = name;
  made.iqn = "iqn.2026-11.io.nbdgw:" + name;
  made.portals = {{"192.0.2.1", 3260}};
  return made;
}

config::Export on(std::uint32_t target, const std::string& name, std::uint16_t lun) {
  config::Export made;
  made.name = name;
  made.target = target;
  made.lun = lun;
  return made;
}

/// Two targets in use and one that is not.
config::Config base() {
  config::Config config;
  config.listen.nbd.push_back({.kind = config::Endpoint::Kind::tcp, .host = "127.0.0.1", .port = 10809, .path = {}});
  config.initiator.name = "iqn.2026-11.io.nbdgw:test";
  config.targets = {target("a"), target("b"), target("spare")};
  config.exports = {on(0, "vol0", 1), on(0, "vol1", 2), on(1, "vol2", 1)};
  return config;
}

using Edit = std::function<void(config::Config&)>;

ConfigDiff after(const Edit& edit) {
  config::Config next = base();
  edit(next);
  return control::diff(base(), next);
}

/// The only change that an edit comes to.
ConfigChange single(const Edit& edit) {
  const ConfigDiff diff = after(edit);
  REQUIRE(diff.changes.size() == 1);
  CHECK(diff.needs_restart.empty());
  return diff.changes[0];
}

struct KeyCase {
  const char* key;
  ChangeEffect effect;
  Edit edit;
};

bool names_key(const ConfigChange& change, const std::string& key) {
  return change.detail == key || change.detail.starts_with(key + ";");
}

}  // namespace

TEST_CASE("the same configuration, read again, changes nothing") {
  CHECK(control::diff(base(), base()).empty());
}

TEST_CASE("every key of a target is found, and known to need a new session or not") {
  constexpr auto kInPlace = ChangeEffect::in_place;
  constexpr auto kReplaced = ChangeEffect::replaced;
  const auto edit = [](auto change) { return [change](config::Config& c) { change(c.targets[1]); }; };
  const std::vector<KeyCase> cases{
      {"iqn", kReplaced, edit([](auto& t) { t.iqn += "x"; })},
      {"portals", kReplaced, edit([](auto& t) {
         t.portals.push_back({"192.0.2.2", 3260});
       })},
      {"connections", kReplaced, edit([](auto& t) { t.connections = 2; })},
      {"header_digest", kReplaced, edit([](auto& t) { t.header_digest = config::Digest::crc32c; })},
      {"data_digest", kReplaced, edit([](auto& t) { t.data_digest = config::Digest::crc32c; })},
      {"auth", kReplaced, edit([](auto& t) { t.chap.emplace().credentials.user = "me"; })},
      {"immediate_data", kReplaced, edit([](auto& t) { t.immediate_data = false; })},
      {"initial_r2t", kReplaced, edit([](auto& t) { t.initial_r2t = true; })},
      {"first_burst", kReplaced, edit([](auto& t) { t.first_burst = 65536; })},
      {"max_burst", kReplaced, edit([](auto& t) { t.max_burst = 65536; })},
      {"max_recv_data_segment", kReplaced, edit([](auto& t) { t.max_recv_data_segment = 65536; })},
      {"queue_depth", kInPlace, edit([](auto& t) { t.queue_depth = 7; })},
      {"retries", kInPlace, edit([](auto& t) { t.retries = 1; })},
      {"fast_abort", kInPlace, edit([](auto& t) { t.fast_abort = false; })},
      {"after_reinstatement", kInPlace,
       edit([](auto& t) { t.after_reinstatement = config::AfterReinstatement::trust; })},
      {"after_silence", kInPlace, edit([](auto& t) { t.after_silence = config::AfterSilence::trust; })},
      {"other_group", kInPlace, edit([](auto& t) { t.other_group = config::OtherGroup::trust; })},
      {"time2wait", kInPlace, edit([](auto& t) { t.time2wait = config::Time2Wait::negotiated; })},
      {"on_path_loss", kInPlace, edit([](auto& t) { t.on_path_loss = config::PathLoss::hold; })},
      {"power_on_attention", kInPlace,
       edit([](auto& t) { t.power_on_attention = config::PowerOnAttention::ignore; })},
      {"timeouts.command", kInPlace, edit([](auto& t) { t.timeouts.command += 1; })},
      {"timeouts.slow_command", kInPlace, edit([](auto& t) { t.timeouts.slow_command += 1; })},
      {"timeouts.abort", kInPlace, edit([](auto& t) { t.timeouts.abort += 1; })},
      {"timeouts.lu_reset", kInPlace, edit([](auto& t) { t.timeouts.lu_reset += 1; })},
      {"timeouts.target_reset", kInPlace, edit([](auto& t) { t.timeouts.target_reset += 1; })},
      {"timeouts.nop_interval", kInPlace, edit([](auto& t) { t.timeouts.nop_interval += 1; })},
      {"timeouts.nop_timeout", kInPlace, edit([](auto& t) { t.timeouts.nop_timeout += 1; })},
      {"timeouts.login", kInPlace, edit([](auto& t) { t.timeouts.login += 1; })},
      {"timeouts.logout", kInPlace, edit([](auto& t) { t.timeouts.logout += 1; })},
      {"timeouts.replacement", kInPlace, edit([](auto& t) { t.timeouts.replacement += 1; })}};
  for (const KeyCase& each : cases) {
    CAPTURE(each.key);
    const ConfigDiff diff = after(each.edit);
    REQUIRE(!diff.changes.empty());
    CHECK(diff.changes[0].object == "target b");
    CHECK(diff.changes[0].kind == Kind::changed);
    CHECK(names_key(diff.changes[0], each.key));
    CHECK(diff.changes[0].effect == each.effect);
    // A new session takes its exports along.
    REQUIRE(diff.changes.size() == (each.effect == kReplaced ? 2 : 1));
    if (each.effect != kReplaced) continue;
    CHECK(diff.changes[1].object == "export vol2");
    CHECK(names_key(diff.changes[1], "its target"));
    CHECK(diff.changes[1].effect == kReplaced);
  }
}

TEST_CASE("every key of an export is found, and known to send clients away or not") {
  const auto edit = [](auto change) { return [change](config::Config& c) { change(c.exports[1]); }; };
  const std::vector<KeyCase> cases{
      {"target", ChangeEffect::replaced, edit([](auto& e) { e.target = 1; })},
      {"lun", ChangeEffect::replaced, edit([](auto& e) { e.lun = 3; })},
      {"read_only", ChangeEffect::replaced, edit([](auto& e) { e.read_only = true; })},
      {"description", ChangeEffect::in_place, edit([](auto& e) { e.description = "a disk"; })},
      {"required", ChangeEffect::in_place, edit([](auto& e) { e.required = false; })},
      {"same_disk", ChangeEffect::in_place, edit([](auto& e) { e.same_disk = config::SameDisk::refuse; })}};
  for (const KeyCase& each : cases) {
    CAPTURE(each.key);
    const ConfigChange change = single(each.edit);
    CHECK(change.object == "export vol1");
    CHECK(change.kind == Kind::changed);
    CHECK(names_key(change, each.key));
    CHECK(change.effect == each.effect);
  }
}

TEST_CASE("several keys of an object are one change, with the strongest effect") {
  const ConfigChange change = single([](config::Config& c) {
    c.exports[0].description = "new";
    c.exports[0].read_only = true;
  });
  CHECK(change.detail.starts_with("description, read_only;"));
  CHECK(change.effect == ChangeEffect::replaced);
  CHECK(describe(change).starts_with("changed export vol0 (description, read_only; "));
}

TEST_CASE("what came and what went") {
  const ConfigDiff diff = after([](config::Config& c) {
    c.targets.push_back(target("c"));
    c.exports.erase(c.exports.begin() + 2);
    c.targets.erase(c.targets.begin() + 1);  // the places of the others change
    c.exports.push_back(on(2, "vol3", 5));
  });
  std::vector<std::string> texts;
  for (const ConfigChange& change : diff.changes) texts.push_back(describe(change));
  CHECK(texts ==
        std::vector<std::string>{"removed target b", "added target c", "removed export vol2", "added export vol3"});
}

TEST_CASE("another name is another object, even with all else the same") {
  const ConfigDiff diff = after([](config::Config& c) { c.targets[1].name = "z"; });
  std::vector<std::string> texts;
  for (const ConfigChange& change : diff.changes) texts.push_back(describe(change));
  REQUIRE(texts.size() == 3);
  CHECK(texts[0] == "removed target b");
  CHECK(texts[1] == "added target z");
  CHECK(texts[2].starts_with("changed export vol2 (target;"));
}

TEST_CASE("a secret that changes sends nobody away: the next login uses it") {
  const auto with = [](const std::string& secret, const std::string& mutual) {
    config::Config config = base();
    config::Chap& chap = config.targets[1].chap.emplace();
    chap.credentials = {.user = "me", .secret = secret};
    if (!mutual.empty()) chap.mutual = config::ChapCredentials{.user = "it", .secret = mutual};
    return config;
  };
  for (const config::Config& next : {with("another secret", "mutual secret"), with("a secret", "another one")}) {
    const ConfigDiff diff = control::diff(with("a secret", "mutual secret"), next);
    REQUIRE(diff.changes.size() == 1);
    CHECK(describe(diff.changes[0]) == "changed target b (auth.chap (a secret))");
    CHECK(diff.changes[0].effect == ChangeEffect::in_place);
  }
  // That the target must prove itself is more than a secret.
  const ConfigDiff diff = control::diff(with("a secret", ""), with("a secret", "mutual secret"));
  REQUIRE(diff.changes.size() == 2);
  CHECK(diff.changes[0].effect == ChangeEffect::replaced);
}

TEST_CASE("the admin server takes another token or certificate while it runs, but not another kind of access") {
  config::Config from = base();
  from.admin.token = "a-token-of-sixteen";
  from.admin.tls = {{"c", "certificate"}, {"k", "key"}, std::nullopt};
  const auto changed = [&](auto edit) {
    config::Config next = from;
    edit(next.admin);
    return next;
  };
  const auto check_in_place = [&](const config::Config& next, const std::string& keys) {
    const ConfigDiff diff = control::diff(from, next);
    REQUIRE(diff.changes.size() == 1);
    CHECK(describe(diff.changes[0]) == "changed admin (" + keys + ")");
    CHECK(diff.changes[0].effect == ChangeEffect::in_place);
    CHECK(diff.needs_restart.empty());
    CHECK(control::without_restart(from, next) == next);
  };
  check_in_place(changed([](auto& a) { a.token = "another-token-of-16"; }), "token_file");
  check_in_place(changed([](auto& a) { a.tls->certificate.text = "another"; }), "tls");
  check_in_place(changed([](auto& a) {
                   a.token = "another-token-of-16";
                   a.tls->key = {"elsewhere", "another"};
                 }),
                 "token_file, tls");
  const auto check_restart = [&](const config::Config& next, const char* key) {
    const ConfigDiff diff = control::diff(from, next);
    CHECK(diff.changes.empty());
    CHECK(diff.needs_restart == std::vector<std::string>{key});
    CHECK(control::without_restart(from, next) == from);
  };
  check_restart(changed([](auto& a) { a.token.clear(); }), "admin.token_file");
  check_restart(changed([](auto& a) { a.tls.reset(); }), "admin.tls");
  check_restart(changed([](auto& a) { a.tls->client_ca = config::PemFile{"a", "authority"}; }), "admin.tls");
}

TEST_CASE("a target that no export uses is changed without any effect") {
  const ConfigChange change = single([](config::Config& c) { c.targets[2].connections = 1; });
  CHECK(change.object == "target spare");
  CHECK(change.effect == ChangeEffect::none);
}

TEST_CASE("the order of the exports is what LIST shows, and says which one is the default") {
  const ConfigChange change = single([](config::Config& c) { std::swap(c.exports[0], c.exports[2]); });
  CHECK(change.object == "exports");
  CHECK(change.detail == "their order; the default export is vol2");
  // An export that is added at the end changes nobody's place; one at the front is the default now.
  CHECK(after([](config::Config& c) { c.exports.push_back(on(1, "last", 9)); }).changes.size() == 1);
  CHECK(after([](config::Config& c) { c.exports.insert(c.exports.begin(), on(1, "first", 9)); }).changes.size() == 2);
}

TEST_CASE("limits and the log level change while the gateway runs; the rest is read at the start, and stays") {
  CHECK(single([](config::Config& c) {
          c.limits.connections = 5;
          c.limits.handshake_timeout = 1;
          c.limits.in_flight_per_connection = 1;
          c.limits.stall_timeout = 1;
        }).detail == "connections, handshake_timeout, in_flight_per_connection, stall_timeout");
  CHECK(single([](config::Config& c) { c.log.level = config::LogLevel::debug; }).object == "log");

  const std::vector<std::pair<const char*, Edit>> cases{
      {"listen.nbd", [](config::Config& c) { c.listen.nbd.pop_back(); }},
      {"listen.admin", [](config::Config& c) { c.listen.admin.emplace_back(); }},
      {"admin.token_file", [](config::Config& c) { c.admin.token = "another"; }},
      {"admin.tls", [](config::Config& c) { c.admin.tls.emplace(); }},
      {"limits.memory", [](config::Config& c) { c.limits.memory *= 2; }},
      {"workers", [](config::Config& c) { c.workers = 3; }},
      {"state_dir", [](config::Config& c) { c.state_dir = "/run/here"; }},
      {"log.format", [](config::Config& c) { c.log.format = config::LogFormat::json; }},
      {"initiator.name", [](config::Config& c) { c.initiator.name += "x"; }}};
  for (const auto& [key, edit] : cases) {
    CAPTURE(key);
    const ConfigDiff diff = after(edit);
    CHECK(diff.changes.empty());
    CHECK(diff.needs_restart == std::vector<std::string>{key});
    config::Config next = base();
    edit(next);
    CHECK(control::without_restart(base(), next) == base());
  }
}
