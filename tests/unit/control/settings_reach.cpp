// That a key of the configuration reaches whoever it is for, at the start and in a reload: one that is read, checked
// and compared, and then forgotten on its way, would be noticed by nobody.
#include <doctest/doctest.h>

#include <map>
#include <string>
#include <string_view>

#include "config/keys.hpp"
#include "config/parse.hpp"
#include "gateway/control/config_diff.hpp"
#include "gateway/initiator/session.hpp"
#include "gateway/shard/session_settings.hpp"

using namespace nbdgw;

namespace {

/// For each key of a target, and of its timeouts, a value that is neither the default nor what `kBase` has.
const std::map<std::string_view, const char*> kOthers{
    {"iqn", "iqn.2026-11.io.nbdgw:other"},
    {"portals", "['192.0.2.9:3260']"},
    {"connections", "3"},
    {"header_digest", "crc32c"},
    {"data_digest", "crc32c"},
    {"auth", "{chap: {user: somebody, secret_file: /secret}}"},
    {"immediate_data", "false"},
    {"initial_r2t", "true"},
    {"first_burst", "64KiB"},
    {"max_burst", "512KiB"},
    {"max_recv_data_segment", "128KiB"},
    {"queue_depth", "200"},
    {"retries", "3"},
    {"fast_abort", "false"},
    {"after_reinstatement", "trust"},
    {"other_group", "trust"},
    {"after_silence", "trust"},
    {"time2wait", "negotiated"},
    {"on_path_loss", "hold"},
    {"power_on_attention", "always"},
};
const std::map<std::string_view, const char*> kOtherTimeouts{
    {"command", "16s"},     {"slow_command", "91s"}, {"abort", "11s"}, {"lu_reset", "16s"}, {"target_reset", "31s"},
    {"nop_interval", "6s"}, {"nop_timeout", "6s"},   {"login", "16s"}, {"logout", "16s"},   {"replacement", "121s"},
};
const std::map<std::string, std::string> kBase{
    {"name", "array"}, {"iqn", "iqn.2026-11.io.nbdgw:array"}, {"portals", "['192.0.2.1:3260']"}};

struct Secrets final : config::FileReader {
  config::FileContent read(const std::string&, std::size_t) const override {
    return {"twelve-bytes-or-more", 0600, ""};
  }
};

config::Config parse(const std::map<std::string, std::string>& target) {
  std::string text =
      "listen: {nbd: ['tcp://127.0.0.1:0']}\ninitiator: {name: iqn.2026-11.io.nbdgw:host}\ntargets:\n- {";
  for (const auto& [key, value] : target) text += key + ": " + value + ", ";
  text += "}\nexports:\n- {name: vol0, target: " + target.at("name") + ", lun: 1}\n";
  config::ParseResult result = config::parse(text, "x", Secrets());
  for (const config::Problem& problem : result.errors) MESSAGE(problem.to_string());
  REQUIRE(result.config);
  return *result.config;
}

struct NoRandom final : proto::RandomSource {
  void fill(std::span<std::uint8_t> bytes) override { std::fill(bytes.begin(), bytes.end(), std::uint8_t{0}); }
};

void check_reaches(const std::map<std::string, std::string>& changed) {
  const config::Config before = parse(kBase), after = parse(changed);
  const initiator::SessionSettings from = shard::session_settings(before, 0), to = shard::session_settings(after, 0);
  const bool of_export =
      shard::export_config(before, before.exports[0]) != shard::export_config(after, after.exports[0]);
  CHECK((from != to || of_export));
  if (control::session_differs(before.targets[0], after.targets[0])) return;  // a session of its own
  NoRandom random;
  initiator::Session session(from, {}, random);
  session.retune(to);
  CHECK(session.settings() == to);
}

}  // namespace

TEST_CASE("settings: every key of a target reaches its session or exports, and in a reload, too") {
  for (const std::string_view key : config::keys::kTarget) {
    if (key == "timeouts" || key == "name") continue;  // another name is another target
    CAPTURE(key);
    REQUIRE(kOthers.contains(key));
    auto changed = kBase;
    changed[std::string(key)] = kOthers.at(key);
    check_reaches(changed);
  }
  for (const std::string_view key : config::keys::kTimeouts) {
    CAPTURE(key);
    REQUIRE(kOtherTimeouts.contains(key));
    auto changed = kBase;
    changed["timeouts"] = "{" + std::string(key) + ": " + kOtherTimeouts.at(key) + "}";
    check_reaches(changed);
  }
}

TEST_CASE("settings: a secret that was changed is the session's next one") {
  auto changed = kBase;
  changed["auth"] = kOthers.at("auth");
  config::Config before = parse(changed), after = before;
  after.targets[0].chap->credentials.secret = "another-secret-of-it";
  REQUIRE_FALSE(control::session_differs(before.targets[0], after.targets[0]));
  NoRandom random;
  initiator::Session session(shard::session_settings(before, 0), {}, random);
  session.retune(shard::session_settings(after, 0));
  CHECK(session.settings() == shard::session_settings(after, 0));
}
