#include "gateway/admin/config_json.hpp"

#include <boost/json.hpp>

#include "config/address.hpp"
#include "config/names.hpp"
#include "config/units.hpp"

namespace nbdgw::admin {

namespace json = boost::json;

namespace {

const char* name_of(config::PowerOnAttention meaning) noexcept {
  switch (meaning) {
    case config::PowerOnAttention::fail_flush:
      return "fail_flush";
    case config::PowerOnAttention::ignore:
      return "ignore";
    case config::PowerOnAttention::always:
      return "always";
  }
  return "unknown";
}

const char* name_of(config::Digest digest) noexcept {
  switch (digest) {
    case config::Digest::none:
      return "none";
    case config::Digest::prefer_crc32c:
      return "prefer-crc32c";
    case config::Digest::crc32c:
      return "crc32c";
  }
  return "?";
}

const char* name_of(config::ChapAlgorithm algorithm) noexcept {
  switch (algorithm) {
    case config::ChapAlgorithm::md5:
      return "md5";
    case config::ChapAlgorithm::sha1:
      return "sha1";
    case config::ChapAlgorithm::sha256:
      return "sha256";
    case config::ChapAlgorithm::sha3_256:
      return "sha3-256";
  }
  return "?";
}

template <typename Address>
json::array addresses(const std::vector<Address>& list) {
  json::array out;
  for (const Address& each : list) out.emplace_back(config::to_string(each));
  return out;
}

json::object listen(const config::Listen& section) {
  json::object out{{"nbd", addresses(section.nbd)}};
  if (!section.admin.empty()) out["admin"] = addresses(section.admin);
  return out;
}

json::object admin(const config::Admin& section) {
  json::object out;
  if (!section.token_file.empty()) out["token_file"] = section.token_file;
  if (section.tls) {
    json::object tls{{"certificate_file", section.tls->certificate.path}, {"key_file", section.tls->key.path}};
    if (section.tls->client_ca) tls["client_ca_file"] = section.tls->client_ca->path;
    out["tls"] = std::move(tls);
  }
  return out;
}

json::object limits(const config::Limits& section) {
  return {{"connections", section.connections},
          {"handshake_timeout", config::format_duration(section.handshake_timeout)},
          {"in_flight_per_connection", section.in_flight_per_connection},
          {"memory", config::format_size(section.memory)},
          {"stall_timeout", config::format_duration(section.stall_timeout)}};
}

json::object chap(const config::Chap& section) {
  json::object out{{"user", section.credentials.user}, {"secret_file", section.credentials.secret_file}};
  if (section.mutual)
    out["mutual"] = json::object{{"user", section.mutual->user}, {"secret_file", section.mutual->secret_file}};
  json::array algorithms;
  for (const config::ChapAlgorithm each : section.algorithms) algorithms.emplace_back(name_of(each));
  out["algorithms"] = std::move(algorithms);
  return out;
}

json::object timeouts(const config::TargetTimeouts& section) {
  using config::format_duration;
  return {{"command", format_duration(section.command)},
          {"slow_command", format_duration(section.slow_command)},
          {"abort", format_duration(section.abort)},
          {"lu_reset", format_duration(section.lu_reset)},
          {"target_reset", format_duration(section.target_reset)},
          {"nop_interval", format_duration(section.nop_interval)},
          {"nop_timeout", format_duration(section.nop_timeout)},
          {"login", format_duration(section.login)},
          {"logout", format_duration(section.logout)},
          {"replacement", format_duration(section.replacement)}};
}

json::object target(const config::Target& section) {
  json::object out{{"name", section.name},
                   {"iqn", section.iqn},
                   {"portals", addresses(section.portals)},
                   {"connections", section.connections},
                   {"header_digest", name_of(section.header_digest)},
                   {"data_digest", name_of(section.data_digest)}};
  if (section.chap) out["auth"] = json::object{{"chap", chap(*section.chap)}};
  out["immediate_data"] = section.immediate_data;
  out["initial_r2t"] = section.initial_r2t;
  out["first_burst"] = config::format_size(section.first_burst);
  out["max_burst"] = config::format_size(section.max_burst);
  out["max_recv_data_segment"] = config::format_size(section.max_recv_data_segment);
  out["queue_depth"] = section.queue_depth;
  out["retries"] = section.retries;
  out["fast_abort"] = section.fast_abort;
  out["after_reinstatement"] = section.after_reinstatement == config::AfterReinstatement::trust ? "trust" : "reset";
  out["other_group"] = section.other_group == config::OtherGroup::trust ? "trust" : "prove";
  out["after_silence"] = section.after_silence == config::AfterSilence::trust ? "trust" : "look";
  out["time2wait"] = section.time2wait == config::Time2Wait::negotiated ? "negotiated" : "ignore";
  out["on_path_loss"] = section.on_path_loss == config::PathLoss::hold ? "hold" : "fail";
  out["power_on_attention"] = name_of(section.power_on_attention);
  out["timeouts"] = timeouts(section.timeouts);
  return out;
}

json::object exported(const config::Export& section, const config::Config& config) {
  json::object out{{"name", section.name}, {"target", config.targets[section.target].name}, {"lun", section.lun}};
  if (!section.description.empty()) out["description"] = section.description;
  out["read_only"] = section.read_only;
  out["required"] = section.required;
  out["same_disk"] = section.same_disk == config::SameDisk::refuse ? "refuse" : "share";
  return out;
}

}  // namespace

json::object to_json(const config::Config& config) {
  json::object out{{"listen", listen(config.listen)}};
  if (json::object section = admin(config.admin); !section.empty()) out["admin"] = std::move(section);
  out["limits"] = limits(config.limits);
  if (config.workers == 0)
    out["workers"] = "auto";
  else
    out["workers"] = config.workers;
  if (!config.state_dir.empty()) out["state_dir"] = config.state_dir;
  out["log"] = json::object{{"level", config::kLogLevels[static_cast<std::size_t>(config.log.level)]},
                            {"format", config::kLogFormats[static_cast<std::size_t>(config.log.format)]}};
  out["initiator"] = json::object{{"name", config.initiator.name}};
  json::array targets, exports;
  for (const config::Target& each : config.targets) targets.push_back(target(each));
  for (const config::Export& each : config.exports) exports.push_back(exported(each, config));
  out["targets"] = std::move(targets);
  out["exports"] = std::move(exports);
  return out;
}

}  // namespace nbdgw::admin
