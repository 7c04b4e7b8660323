// That a key of the configuration reaches whoever it is for, at the start and in a reload: one that is read, checked
// and compared, and then forgotten on its way, would be noticed by nobody.
#include <doctest/doctest.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "config/keys.hpp"
#include "config/parse.hpp"
#include "gateway/control/config_diff.hpp"
#include "gateway/net/resolver.hpp"
#include "gateway/shard/event_log.hpp"
#include "gateway/shard/session_settings.hpp"
#include "gateway/shard/worker.hpp"

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
/// The same for an export.
const std::map<std::string_view, const char*> kOtherExport{
    {"target", "spare"},   {"lun", "2"},          {"description", "another"},
    {"read_only", "true"}, {"required", "false"}, {"same_disk", "refuse"},
};
using Keys = std::map<std::string, std::string>;
const Keys kBase{{"name", "array"}, {"iqn", "iqn.2026-11.io.nbdgw:array"}, {"portals", "['192.0.2.1:3260']"}};
const Keys kExport{{"name", "vol0"}, {"target", "array"}, {"lun", "1"}};

struct Secrets final : config::FileReader {
  config::FileContent read(const std::string&, std::size_t) const override {
    return {"twelve-bytes-or-more", 0600, ""};
  }
};

std::string flow(const Keys& keys) {
  std::string text = "- {";
  for (const auto& [key, value] : keys) text += key + ": " + value + ", ";
  return text + "}\n";
}

config::Config parse(const Keys& target, const Keys& exported = kExport) {
  const std::string text =
      "listen: {nbd: ['tcp://127.0.0.1:0']}\n"
      "initiator: {name: iqn.2026-11.io.nbdgw:host}\n"
      "targets:\n" +
      flow(target) +
      "- {name: spare, iqn: 'iqn.2026-11.io.nbdgw:spare', portals: ['192.0.2.2:3260']}\n"
      "exports:\n" +
      flow(exported);
  config::ParseResult result = config::parse(text, "x", Secrets());
  for (const config::Problem& problem : result.errors) MESSAGE(problem.to_string());
  REQUIRE(result.config);
  return *result.config;
}

/// All that the session and the export of a configuration, the first ones in it, are to go by.
struct Settings {
  explicit Settings(const config::Config& config)
      : target(config.targets[config.exports[0].target].name),
        session(shard::session_settings(config, config.exports[0].target)),
        exported(shard::export_config(config, config.exports[0])),
        required(config.exports[0].required) {}
  bool operator==(const Settings&) const = default;

  std::string target;
  initiator::SessionSettings session;
  bridge::ExportConfig exported;
  bool required;
};

/// A session with an export, which go by what they were made with or have taken over. Their thread never runs.
class Running {
 public:
  explicit Running(const Settings& with) : worker_(0, options(with), disks_) {
    shard::WorkOrder order;
    order.new_targets.push_back({.settings = with.session, .number = 1});
    order.new_exports.push_back({.config = with.exported, .required = with.required, .target = with.target});
    worker_.carry_out(std::move(order), resolver_, events_, 0);
  }

  void tune(const Settings& to) {
    shard::WorkOrder order;
    order.tuned_targets.push_back({.driver = worker_.drivers[0].get(), .settings = to.session});
    order.tuned_exports.push_back({&exported(), to.exported, to.required});
    worker_.carry_out(std::move(order), resolver_, events_, 0);
  }

  void check(const Settings& in_force) {
    CHECK(worker_.drivers[0]->session().settings() == in_force.session);
    CHECK(exported().exported().config() == in_force.exported);
    CHECK(exported().exported().info().description == in_force.exported.description);
    CHECK(exported().required() == in_force.required);
  }

 private:
  static shard::ShardOptions options(const Settings& with) {
    shard::ShardOptions options;
    options.initiator_name = with.session.initiator_name;
    return options;
  }
  shard::SessionExport& exported() { return *worker_.exports[0]; }

  boost::asio::io_context control_;
  net::Resolver resolver_{control_};
  shard::EventLog events_;
  shard::DiskRegister disks_;
  shard::Worker worker_;
};

bool makes_anew(const control::ConfigDiff& diff) {
  return std::ranges::any_of(diff.changes, [](const control::ConfigChange& change) {
    return change.effect == control::ChangeEffect::replaced;
  });
}

/// Of two configurations in which one key differs.
void check_reaches(const config::Config& before, const config::Config& after) {
  const control::ConfigDiff diff = control::diff(before, after);
  CHECK_FALSE(diff.changes.empty());
  const Settings from(before), to(after);
  CHECK(from != to);
  if (makes_anew(diff)) return;
  Running running(from);
  running.check(from);
  running.tune(to);
  running.check(to);
}

}  // namespace

TEST_CASE("settings: every key of a target reaches its session or exports, and in a reload, too") {
  const config::Config before = parse(kBase);
  for (const std::string_view key : config::keys::kTarget) {
    if (key == "timeouts" || key == "name") continue;  // another name is another target
    CAPTURE(key);
    REQUIRE(kOthers.contains(key));
    Keys changed = kBase;
    changed[std::string(key)] = kOthers.at(key);
    check_reaches(before, parse(changed));
  }
  for (const std::string_view key : config::keys::kTimeouts) {
    CAPTURE(key);
    REQUIRE(kOtherTimeouts.contains(key));
    Keys changed = kBase;
    changed["timeouts"] = "{" + std::string(key) + ": " + kOtherTimeouts.at(key) + "}";
    check_reaches(before, parse(changed));
  }
}

TEST_CASE("settings: every key of an export reaches it, and in a reload, too") {
  const config::Config before = parse(kBase);
  for (const std::string_view key : config::keys::kExport) {
    if (key == "name") continue;  // another name is another export
    CAPTURE(key);
    REQUIRE(kOtherExport.contains(key));
    Keys changed = kExport;
    changed[std::string(key)] = kOtherExport.at(key);
    check_reaches(before, parse(kBase, changed));
  }
}

TEST_CASE("settings: a secret that was changed is the session's next one") {
  Keys changed = kBase;
  changed["auth"] = kOthers.at("auth");
  const config::Config before = parse(changed);
  config::Config after = before;
  after.targets[0].chap->credentials.secret = "another-secret-of-it";
  REQUIRE_FALSE(control::session_differs(before.targets[0], after.targets[0]));
  check_reaches(before, after);
}
