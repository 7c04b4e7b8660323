// The text keys of a login (RFC 7143 section 13).
#include <algorithm>
#include <charconv>

#include "tests/sim/target/array.hpp"
#include "tests/sim/target/target_login.hpp"

namespace nbdgw::sim {

void TargetLogin::add(std::string_view key, std::string_view value) {
  out_.append(key).append("=").append(value);
  out_.push_back('\0');
}

std::uint32_t TargetLogin::number_of(const Pair& pair, std::uint32_t least, std::uint32_t most) {
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(pair.value.data(), pair.value.data() + pair.value.size(), value);
  if (error == std::errc() && end == pair.value.data() + pair.value.size() && value >= least && value <= most) {
    return value;
  }
  array_.checker.complain(connection_, "login: " + std::string(pair.key) + "=" + std::string(pair.value));
  return least;
}

bool TargetLogin::yes(const Pair& pair) {
  if (pair.value != "Yes" && pair.value != "No") {
    array_.checker.complain(connection_, "login: " + std::string(pair.key) + "=" + std::string(pair.value));
  }
  return pair.value == "Yes";
}

void TargetLogin::negotiate() {
  if (!portal_told_) {
    portal_told_ = true;
    add("TargetPortalGroupTag", connection_.controller().options().group_tag);
  }
  for (const Pair& pair : pairs_) {
    if (offered_ && pair.key != "MaxRecvDataSegmentLength") continue;  // answers to what was offered
    if (negotiate_connection(pair) || negotiate_session(pair)) continue;
    const bool about_names = pair.key == "InitiatorName" || pair.key == "TargetName" || pair.key == "SessionType" ||
                             pair.key == "InitiatorAlias";
    if (!about_names) add(pair.key, "NotUnderstood");
  }
}

bool TargetLogin::negotiate_connection(const Pair& pair) {
  if (pair.key == "AuthMethod") {
    if (pair.value.find("None") == std::string_view::npos) {
      array_.checker.complain(connection_, "login: AuthMethod=" + std::string(pair.value));
    }
    add(pair.key, "None");
  } else if (pair.key == "HeaderDigest") {
    negotiate_digest(pair, terms_.header_digest);
  } else if (pair.key == "DataDigest") {
    negotiate_digest(pair, terms_.data_digest);
  } else if (pair.key == "MaxRecvDataSegmentLength") {
    terms_.segment = number_of(pair, 512, 0xffffff);
  } else {
    return false;
  }
  return true;
}

void TargetLogin::negotiate_digest(const Pair& pair, bool& agreed) {
  // The first one in the list that the target wants, too.
  const std::size_t crc = pair.value.find("CRC32C");
  const std::size_t none = pair.value.find("None");
  const bool only = none == std::string_view::npos;
  agreed = crc != std::string_view::npos && (only || (array_.habits().digests && crc < none));
  add(pair.key, agreed ? "CRC32C" : "None");
}

bool TargetLogin::negotiate_session(const Pair& pair) {
  const TargetHabits& habits = array_.habits();
  const auto least = [&](std::uint32_t& agreed, std::uint32_t mine, std::uint32_t from, std::uint32_t to) {
    agreed = std::min(number_of(pair, from, to), mine);
    add(pair.key, agreed);
    return true;
  };
  const auto logical = [&](bool& agreed, bool value) {
    agreed = value;
    add(pair.key, value ? "Yes" : "No");
    return true;
  };
  std::uint32_t ignored = 0;
  bool in_order = true;
  if (pair.key == "MaxConnections") return least(session_.max_connections, habits.max_connections, 1, 65535);
  if (pair.key == "MaxBurstLength") return least(session_.max_burst, habits.max_burst, 512, 0xffffff);
  if (pair.key == "FirstBurstLength") return least(session_.first_burst, habits.first_burst, 512, 0xffffff);
  if (pair.key == "MaxOutstandingR2T") return least(session_.max_r2t, habits.max_r2t, 1, 65535);
  if (pair.key == "DefaultTime2Retain") return least(ignored, 20, 0, 3600);
  if (pair.key == "ErrorRecoveryLevel") return least(ignored, 0, 0, 2);
  if (pair.key == "DefaultTime2Wait") {
    add(pair.key, std::max(number_of(pair, 0, 3600), kTime2Wait));
    return true;
  }
  if (pair.key == "InitialR2T") return logical(session_.initial_r2t, yes(pair) || habits.initial_r2t);
  if (pair.key == "ImmediateData") return logical(session_.immediate_data, yes(pair) && habits.immediate_data);
  if (pair.key == "DataPDUInOrder" || pair.key == "DataSequenceInOrder") {
    yes(pair);
    return logical(in_order, true);
  }
  if (!habits.knows_new_keys) return false;
  if (pair.key == "TaskReporting") {
    add(pair.key, "RFC3720");
    return true;
  }
  if (pair.key == "iSCSIProtocolLevel") return least(ignored, 1, 0, 31);
  return false;
}

}  // namespace nbdgw::sim
