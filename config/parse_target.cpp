#include "config/parse_target.hpp"

#include <algorithm>

#include "config/address.hpp"
#include "config/keys.hpp"
#include "config/names.hpp"
#include "config/secret.hpp"

namespace nbdgw::config {

namespace {

using proto::kSecond;

constexpr std::uint64_t kMaxConnections = 32;
constexpr std::uint64_t kMaxQueueDepth = 1024;
constexpr std::uint64_t kMinBurst = 512;  // RFC 7143 sections 13.12 to 13.14
constexpr std::uint64_t kMaxBurst = (1 << 24) - 1;
constexpr std::size_t kMaxPortals = 32;
constexpr std::size_t kMaxChapUser = 255;  // the longest value of a text key (section 6.1)
/// What is longer than that is not patience but a slip of the pen: a client that waits gets no sign of life
/// meanwhile.
constexpr proto::Micros kLongestTimeout = 600 * kSecond;
/// A disk under load may well take a few hundred milliseconds; with less than this, healthy commands would be aborted
/// and healthy targets reset.
constexpr proto::Micros kShortestRung = kSecond;
/// Pings closer together, or with less time for the answer, cost more than they find out.
constexpr proto::Micros kShortestPing = 100 * proto::kMillisecond;
constexpr proto::Micros kLongestReplacement = 24 * 3600 * kSecond;
constexpr std::uint64_t kMaxRetries = 100;

constexpr std::array<std::string_view, 3> kDigestWords{"none", "prefer-crc32c", "crc32c"};
constexpr std::array kDigests{Digest::none, Digest::prefer_crc32c, Digest::crc32c};
constexpr std::array<std::string_view, 2> kPathLossWords{"fail", "hold"};
constexpr std::array kPathLosses{PathLoss::fail, PathLoss::hold};
constexpr std::array<std::string_view, 3> kPowerOnWords{"fail_flush", "ignore", "always"};
constexpr std::array kPowerOns{PowerOnAttention::fail_flush, PowerOnAttention::ignore, PowerOnAttention::always};
constexpr std::array<std::string_view, 2> kReinstatementWords{"reset", "trust"};
constexpr std::array kReinstatements{AfterReinstatement::reset, AfterReinstatement::trust};
constexpr std::array<std::string_view, 2> kSilenceWords{"look", "trust"};
constexpr std::array kSilences{AfterSilence::look, AfterSilence::trust};
constexpr std::array<std::string_view, 2> kOtherGroupWords{"prove", "trust"};
constexpr std::array kOtherGroups{OtherGroup::prove, OtherGroup::trust};
constexpr std::array<std::string_view, 2> kTime2WaitWords{"ignore", "negotiated"};
constexpr std::array kTime2Waits{Time2Wait::ignore, Time2Wait::negotiated};
constexpr std::array<std::string_view, 4> kAlgorithmWords{"sha3-256", "sha256", "sha1", "md5"};
constexpr std::array kAlgorithms{ChapAlgorithm::sha3_256, ChapAlgorithm::sha256, ChapAlgorithm::sha1,
                                 ChapAlgorithm::md5};

void parse_portals(const Section& section, Target& target) {
  const auto values =
      section.required("portals", "[\"192.0.2.10:3260\"]").list("portals such as \"192.0.2.10:3260\"");
  if (!values) return;
  if (values->size() > kMaxPortals) {
    section.get("portals").error("has " + std::to_string(values->size()) + " portals; at most " +
                                 std::to_string(kMaxPortals) + " are used");
    return;
  }
  for (const Value& value : *values) {
    const auto text = value.text();
    if (!text) continue;
    Portal portal;
    if (const std::string wrong = parse_portal(*text, portal); !wrong.empty()) {
      value.error(in_quotes(*text) + ": " + wrong);
    } else if (std::find(target.portals.begin(), target.portals.end(), portal) != target.portals.end()) {
      value.error(in_quotes(*text) + " is in the list twice; for more connections raise `connections`");
    } else {
      target.portals.push_back(portal);
    }
  }
}

void parse_credentials(const Section& section, const std::string& config_file, const FileReader& reader,
                       ChapCredentials& credentials) {
  const Value user = section.required("user", "storage-user");
  if (auto name = user.text()) {
    if (name->size() > kMaxChapUser || !check_description(*name).empty()) {
      user.error("expected at most " + std::to_string(kMaxChapUser) + " bytes of UTF-8 without control characters");
    }
    credentials.user = *std::move(name);
  }
  if (auto secret = read_secret(section.required("secret_file", "/etc/nbdgw/array.secret"), config_file, reader)) {
    credentials.secret = std::move(secret->text);
    credentials.secret_file = std::move(secret->path);
  }
}

void parse_algorithms(const Value& value, Chap& chap) {
  const auto values = value.list("CHAP algorithms such as sha256");
  if (!values) return;
  chap.algorithms.clear();
  for (const Value& element : *values) {
    const auto index = element.choice(kAlgorithmWords);
    if (!index) continue;
    if (std::find(chap.algorithms.begin(), chap.algorithms.end(), kAlgorithms[*index]) != chap.algorithms.end()) {
      element.error(std::string(kAlgorithmWords[*index]) + " is in the list twice");
    } else {
      chap.algorithms.push_back(kAlgorithms[*index]);
    }
  }
}

void parse_auth(const Value& value, const std::string& config_file, const FileReader& reader, Target& target) {
  const auto auth = value.section(keys::kAuth);
  if (!auth) return;
  const auto section = auth->required("chap", "{user: storage-user, secret_file: array.secret}").section(keys::kChap);
  if (!section) return;
  Chap& chap = target.chap.emplace();
  parse_credentials(*section, config_file, reader, chap.credentials);
  parse_algorithms(section->get("algorithms"), chap);
  const Value mutual = section->get("mutual");
  if (const auto keys = mutual.section(keys::kMutual)) {
    parse_credentials(*keys, config_file, reader, chap.mutual.emplace());
    if (!chap.mutual->secret.empty() && chap.mutual->secret == chap.credentials.secret) {
      mutual.error(
          "both directions have the same secret; RFC 7143 section 9.2.1 wants two, or a false target could "
          "answer with our own response");
    }
  }
}

void parse_negotiation(const Section& section, Target& target) {
  assign(target.connections, section.get("connections").integer(1, kMaxConnections));
  if (const auto index = section.get("header_digest").choice(kDigestWords)) target.header_digest = kDigests[*index];
  if (const auto index = section.get("data_digest").choice(kDigestWords)) target.data_digest = kDigests[*index];
  assign(target.immediate_data, section.get("immediate_data").boolean());
  assign(target.initial_r2t, section.get("initial_r2t").boolean());
  assign(target.first_burst, section.get("first_burst").size(kMinBurst, kMaxBurst));
  assign(target.max_burst, section.get("max_burst").size(kMinBurst, kMaxBurst));
  assign(target.max_recv_data_segment, section.get("max_recv_data_segment").size(kMinBurst, kMaxBurst));
  assign(target.queue_depth, section.get("queue_depth").integer(1, kMaxQueueDepth));
  if (target.first_burst > target.max_burst) {
    // Either may be the default: complain about the one that was written.
    const Value& value = section.get("first_burst").given() ? section.get("first_burst") : section.get("max_burst");
    value.error("first_burst (" + std::to_string(target.first_burst) + " bytes) must not be above max_burst (" +
                std::to_string(target.max_burst) + " bytes)");
  }
}

void parse_timeouts(const Section& section, TargetTimeouts& timeouts) {
  assign(timeouts.command, section.get("command").duration(kShortestRung, kLongestTimeout));
  assign(timeouts.slow_command, section.get("slow_command").duration(kShortestRung, kLongestTimeout));
  assign(timeouts.abort, section.get("abort").duration(kShortestRung, kLongestTimeout));
  assign(timeouts.lu_reset, section.get("lu_reset").duration(kShortestRung, kLongestTimeout));
  assign(timeouts.target_reset, section.get("target_reset").duration(kShortestRung, kLongestTimeout));
  assign(timeouts.nop_interval,
         section.get("nop_interval").duration_or_zero("never", kShortestPing, kLongestTimeout));
  assign(timeouts.nop_timeout, section.get("nop_timeout").duration(kShortestPing, kLongestTimeout));
  assign(timeouts.login, section.get("login").duration(kSecond, kLongestTimeout));
  assign(timeouts.logout, section.get("logout").duration(kSecond, kLongestTimeout));
  assign(timeouts.replacement, section.get("replacement").duration(kSecond, kLongestReplacement));
}

void parse_recovery(const Section& section, Target& target) {
  assign(target.retries, section.get("retries").integer(1, kMaxRetries));
  assign(target.fast_abort, section.get("fast_abort").boolean());
  if (const auto index = section.get("after_reinstatement").choice(kReinstatementWords)) {
    target.after_reinstatement = kReinstatements[*index];
  }
  if (const auto index = section.get("after_silence").choice(kSilenceWords)) {
    target.after_silence = kSilences[*index];
  }
  if (const auto index = section.get("other_group").choice(kOtherGroupWords)) {
    target.other_group = kOtherGroups[*index];
  }
  if (const auto index = section.get("time2wait").choice(kTime2WaitWords)) target.time2wait = kTime2Waits[*index];
  if (const auto index = section.get("on_path_loss").choice(kPathLossWords))
    target.on_path_loss = kPathLosses[*index];
  if (const auto index = section.get("power_on_attention").choice(kPowerOnWords)) {
    target.power_on_attention = kPowerOns[*index];
  }
  const auto timeouts = section.get("timeouts").section(keys::kTimeouts);
  if (!timeouts) return;
  parse_timeouts(*timeouts, target.timeouts);
  if (const Value replacement = timeouts->get("replacement");
      replacement.given() && target.on_path_loss == PathLoss::hold) {
    replacement.warning("has no effect: with on_path_loss: hold, requests wait for as long as it takes");
  }
}

}  // namespace

Target parse_target(const Section& section, const std::string& config_file, const FileReader& reader) {
  Target target;
  const Value name = section.required("name", "array");
  if (auto text = name.text()) {
    if (const std::string wrong = check_target_name(*text); !wrong.empty())
      name.error(in_quotes(*text) + ": " + wrong);
    target.name = *std::move(text);
  }
  const Value iqn = section.required("iqn", "iqn.2003-01.org.linux-iscsi.array:t1");
  if (auto text = iqn.text()) {
    if (const std::string wrong = check_iscsi_name(*text, NameOf::target); !wrong.empty()) {
      iqn.error(in_quotes(*text) + ": " + wrong);
    }
    target.iqn = *std::move(text);
  }
  parse_portals(section, target);
  parse_negotiation(section, target);
  parse_auth(section.get("auth"), config_file, reader, target);
  parse_recovery(section, target);
  return target;
}

}  // namespace nbdgw::config
