#include "gateway/control/config_diff.hpp"

#include <algorithm>

#include "proto/assert.hpp"

namespace nbdgw::control {
namespace {

using Kind = ConfigChange::Kind;

/// What a change of these keys means, for people.
std::string detail_of(const std::string& keys, ChangeEffect effect) {
  if (effect != ChangeEffect::replaced) return keys;
  return keys + "; it is made anew, its clients are sent away and may come back";
}

/// Collects the keys in which two objects differ, and what follows for the object as a whole.
class Keys {
 public:
  template <typename T>
  Keys& compare(const char* key, const T& a, const T& b, ChangeEffect effect) {
    if (a == b) return *this;
    if (!text_.empty()) text_ += ", ";
    text_ += key;
    effect_ = std::max(effect_, effect);
    return *this;
  }
  const std::string& text() const noexcept { return text_; }
  ChangeEffect effect() const noexcept { return effect_; }

 private:
  std::string text_;
  ChangeEffect effect_ = ChangeEffect::none;
};

/// A secret alone is no reason for another login: it is for the next one, and until then nobody is asked for it.
std::optional<config::Chap> without_secrets(std::optional<config::Chap> chap) {
  if (!chap) return chap;
  chap->credentials.secret.clear();
  if (chap->mutual) chap->mutual->secret.clear();
  return chap;
}

/// What a session is logged in with: another login must follow.
Keys session_keys(const config::Target& a, const config::Target& b) {
  constexpr auto kEffect = ChangeEffect::replaced;
  Keys keys;
  keys.compare("iqn", a.iqn, b.iqn, kEffect)
      .compare("portals", a.portals, b.portals, kEffect)
      .compare("connections", a.connections, b.connections, kEffect)
      .compare("header_digest", a.header_digest, b.header_digest, kEffect)
      .compare("data_digest", a.data_digest, b.data_digest, kEffect)
      .compare("auth", without_secrets(a.chap), without_secrets(b.chap), kEffect)
      .compare("immediate_data", a.immediate_data, b.immediate_data, kEffect)
      .compare("initial_r2t", a.initial_r2t, b.initial_r2t, kEffect)
      .compare("first_burst", a.first_burst, b.first_burst, kEffect)
      .compare("max_burst", a.max_burst, b.max_burst, kEffect)
      .compare("max_recv_data_segment", a.max_recv_data_segment, b.max_recv_data_segment, kEffect);
  return keys;
}

Keys target_keys(const config::Target& a, const config::Target& b) {
  constexpr auto kEffect = ChangeEffect::in_place;
  const config::TargetTimeouts& s = a.timeouts;
  const config::TargetTimeouts& t = b.timeouts;
  Keys keys = session_keys(a, b);
  if (without_secrets(a.chap) == without_secrets(b.chap))
    keys.compare("auth.chap (a secret)", a.chap, b.chap, kEffect);
  keys.compare("queue_depth", a.queue_depth, b.queue_depth, kEffect)
      .compare("retries", a.retries, b.retries, kEffect)
      .compare("fast_abort", a.fast_abort, b.fast_abort, kEffect)
      .compare("after_reinstatement", a.after_reinstatement, b.after_reinstatement, kEffect)
      .compare("other_group", a.other_group, b.other_group, kEffect)
      .compare("after_silence", a.after_silence, b.after_silence, kEffect)
      .compare("time2wait", a.time2wait, b.time2wait, kEffect)
      .compare("on_path_loss", a.on_path_loss, b.on_path_loss, kEffect)
      .compare("power_on_attention", a.power_on_attention, b.power_on_attention, kEffect)
      .compare("timeouts.command", s.command, t.command, kEffect)
      .compare("timeouts.slow_command", s.slow_command, t.slow_command, kEffect)
      .compare("timeouts.abort", s.abort, t.abort, kEffect)
      .compare("timeouts.lu_reset", s.lu_reset, t.lu_reset, kEffect)
      .compare("timeouts.target_reset", s.target_reset, t.target_reset, kEffect)
      .compare("timeouts.nop_interval", s.nop_interval, t.nop_interval, kEffect)
      .compare("timeouts.nop_timeout", s.nop_timeout, t.nop_timeout, kEffect)
      .compare("timeouts.login", s.login, t.login, kEffect)
      .compare("timeouts.logout", s.logout, t.logout, kEffect)
      .compare("timeouts.replacement", s.replacement, t.replacement, kEffect);
  NBDGW_ASSERT(keys.text().empty() == (a == b), "every key of a target is compared");
  return keys;
}

void diff_targets(const config::Config& from, const config::Config& to, std::vector<ConfigChange>& changes) {
  for (const config::Target& old : from.targets) {
    if (target_named(to, old.name) != nullptr) continue;
    changes.push_back({.kind = Kind::removed, .object = "target " + old.name, .detail = {}});
  }
  for (const config::Target& target : to.targets) {
    const config::Target* const old = target_named(from, target.name);
    if (old == nullptr) {
      changes.push_back({.kind = Kind::added, .object = "target " + target.name, .detail = {}});
      continue;
    }
    const Keys keys = target_keys(*old, target);
    if (keys.text().empty()) continue;
    const bool runs = is_used(from, *old) && is_used(to, target);
    const ChangeEffect effect = runs ? keys.effect() : ChangeEffect::none;
    changes.push_back({.kind = Kind::changed,
                       .object = "target " + target.name,
                       .detail = detail_of(keys.text(), effect),
                       .effect = effect});
  }
}

Keys export_keys(const config::Config& from, const config::Export& a, const config::Config& to,
                 const config::Export& b) {
  Keys keys;
  // What clients have been told of the disk cannot be taken back while they are attached.
  keys.compare("target", target_of(from, a).name, target_of(to, b).name, ChangeEffect::replaced)
      .compare("lun", a.lun, b.lun, ChangeEffect::replaced)
      .compare("description", a.description, b.description, ChangeEffect::in_place)
      .compare("read_only", a.read_only, b.read_only, ChangeEffect::replaced)
      .compare("required", a.required, b.required, ChangeEffect::in_place)
      .compare("same_disk", a.same_disk, b.same_disk, ChangeEffect::in_place);
  config::Export same_target = b;
  same_target.target = a.target;
  NBDGW_ASSERT(a == same_target || !keys.text().empty(), "every key of an export is compared");
  return keys;
}

void diff_exports(const config::Config& from, const config::Config& to, std::vector<ConfigChange>& changes) {
  std::vector<std::string> stayed_from;
  for (const config::Export& old : from.exports) {
    if (export_named(to, old.name) != nullptr) {
      stayed_from.push_back(old.name);
    } else {
      changes.push_back({.kind = Kind::removed, .object = "export " + old.name, .detail = {}});
    }
  }
  std::vector<std::string> stayed_to;
  for (const config::Export& exported : to.exports) {
    const config::Export* const old = export_named(from, exported.name);
    if (old == nullptr) {
      changes.push_back({.kind = Kind::added, .object = "export " + exported.name, .detail = {}});
      continue;
    }
    stayed_to.push_back(exported.name);
    const Keys keys = export_keys(from, *old, to, exported);
    const bool new_session = session_differs(target_of(from, *old), target_of(to, exported));
    if (keys.text().empty() && !new_session) continue;
    const ChangeEffect effect = new_session ? ChangeEffect::replaced : keys.effect();
    changes.push_back({.kind = Kind::changed,
                       .object = "export " + exported.name,
                       .detail = detail_of(keys.text().empty() ? "its target" : keys.text(), effect),
                       .effect = effect});
  }
  if (stayed_from != stayed_to ||
      (!from.exports.empty() && !to.exports.empty() && from.exports.front().name != to.exports.front().name)) {
    changes.push_back({.kind = Kind::changed,
                       .object = "exports",
                       .detail = "their order; the default export is " + to.exports.front().name,
                       .effect = ChangeEffect::in_place});
  }
}

/// The admin server goes on with other secrets of the same kind: it asks for what it has asked for, and nothing else.
bool token_is_renewed(const config::Admin& from, const config::Admin& to) {
  return !from.token.empty() && !to.token.empty();
}
bool tls_is_renewed(const config::Admin& from, const config::Admin& to) {
  return from.tls && to.tls && from.tls->client_ca.has_value() == to.tls->client_ca.has_value();
}

void diff_admin(const config::Admin& from, const config::Admin& to, ConfigDiff& found) {
  Keys renewed;  // what is in the files counts
  if (token_is_renewed(from, to)) {
    renewed.compare("token_file", from.token, to.token, ChangeEffect::in_place);
  } else if (from.token != to.token) {
    found.needs_restart.emplace_back("admin.token_file");
  }
  if (tls_is_renewed(from, to)) {
    renewed.compare("tls", from.tls, to.tls, ChangeEffect::in_place);
  } else if (from.tls != to.tls) {
    found.needs_restart.emplace_back("admin.tls");
  }
  if (renewed.text().empty()) return;
  found.changes.push_back(
      {.kind = Kind::changed, .object = "admin", .detail = renewed.text(), .effect = renewed.effect()});
}

void diff_rest(const config::Config& from, const config::Config& to, ConfigDiff& found) {
  Keys limits;
  limits.compare("connections", from.limits.connections, to.limits.connections, ChangeEffect::in_place)
      .compare("handshake_timeout", from.limits.handshake_timeout, to.limits.handshake_timeout,
               ChangeEffect::in_place)
      .compare("in_flight_per_connection", from.limits.in_flight_per_connection, to.limits.in_flight_per_connection,
               ChangeEffect::in_place)
      .compare("stall_timeout", from.limits.stall_timeout, to.limits.stall_timeout, ChangeEffect::in_place);
  if (!limits.text().empty()) {
    found.changes.push_back(
        {.kind = Kind::changed, .object = "limits", .detail = limits.text(), .effect = limits.effect()});
  }
  if (from.log.level != to.log.level) {
    found.changes.push_back(
        {.kind = Kind::changed, .object = "log", .detail = "level", .effect = ChangeEffect::in_place});
  }
  const auto at_start = [&found](const char* key, const auto& a, const auto& b) {
    if (a != b) found.needs_restart.emplace_back(key);
  };
  at_start("listen.nbd", from.listen.nbd, to.listen.nbd);
  at_start("listen.admin", from.listen.admin, to.listen.admin);
  diff_admin(from.admin, to.admin, found);
  at_start("limits.memory", from.limits.memory, to.limits.memory);
  at_start("workers", from.workers, to.workers);
  at_start("log.format", from.log.format, to.log.format);
  at_start("state_dir", from.state_dir, to.state_dir);
  at_start("initiator.name", from.initiator.name, to.initiator.name);
}

}  // namespace

ConfigDiff diff(const config::Config& in_force, const config::Config& next) {
  ConfigDiff found;
  diff_targets(in_force, next, found.changes);
  diff_exports(in_force, next, found.changes);
  diff_rest(in_force, next, found);
  return found;
}

config::Config without_restart(const config::Config& in_force, config::Config next) {
  next.listen = in_force.listen;
  if (!token_is_renewed(in_force.admin, next.admin)) {
    next.admin.token = in_force.admin.token;
    next.admin.token_file = in_force.admin.token_file;
  }
  if (!tls_is_renewed(in_force.admin, next.admin)) next.admin.tls = in_force.admin.tls;
  next.limits.memory = in_force.limits.memory;
  next.workers = in_force.workers;
  next.log.format = in_force.log.format;
  next.state_dir = in_force.state_dir;
  next.initiator = in_force.initiator;
  return next;
}

bool session_differs(const config::Target& a, const config::Target& b) {
  return !session_keys(a, b).text().empty();
}

const config::Target* target_named(const config::Config& config, const std::string& name) noexcept {
  const auto found = std::ranges::find(config.targets, name, &config::Target::name);
  return found == config.targets.end() ? nullptr : &*found;
}

const config::Export* export_named(const config::Config& config, const std::string& name) noexcept {
  const auto found = std::ranges::find(config.exports, name, &config::Export::name);
  return found == config.exports.end() ? nullptr : &*found;
}

bool is_used(const config::Config& config, const config::Target& target) noexcept {
  return std::ranges::any_of(config.exports, [&](const config::Export& exported) {
    return target_of(config, exported).name == target.name;
  });
}

const char* to_string(ConfigChange::Kind kind) noexcept {
  switch (kind) {
    case Kind::added:
      return "added";
    case Kind::changed:
      return "changed";
    case Kind::removed:
      return "removed";
  }
  return "?";
}

std::string describe(const ConfigChange& change) {
  std::string text = to_string(change.kind) + (" " + change.object);
  if (!change.detail.empty()) text += " (" + change.detail + ")";
  return text;
}

}  // namespace nbdgw::control
