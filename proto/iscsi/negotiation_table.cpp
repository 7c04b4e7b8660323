#include <algorithm>
#include <array>

#include "proto/iscsi/negotiation.hpp"

namespace nbdgw::proto::iscsi {

namespace {

using F = KeyFunction;
using U = KeyUse;
using C = KeyScope;
using S = KeySender;

constexpr std::uint32_t kMinSegment = 512;
constexpr std::uint32_t kMaxSegment = kMaxDataSegmentLength;

constexpr KeyRule row(Key key, std::string_view name, F function, U use, C scope, S sender, bool irrelevant = false,
                      std::uint32_t minimum = 0, std::uint32_t maximum = 0, std::uint32_t initial = 0) {
  return {key, name, function, use, scope, sender, irrelevant, minimum, maximum, initial};
}

// clang-format off
constexpr std::array<KeyRule, kKeyCount> kRules{
  row(Key::header_digest, "HeaderDigest", F::list, U::initialize, C::connection, S::both),
  row(Key::data_digest, "DataDigest", F::list, U::initialize, C::connection, S::both),
  row(Key::max_connections, "MaxConnections", F::minimum, U::leading, C::session, S::both, true, 1, 65535, 1),
  row(Key::initial_r2t, "InitialR2T", F::logical_or, U::leading, C::session, S::both, true, 0, 1, 1),
  row(Key::immediate_data, "ImmediateData", F::logical_and, U::leading, C::session, S::both, true, 0, 1, 1),
  row(Key::max_recv_data_segment_length, "MaxRecvDataSegmentLength", F::declarative, U::all, C::connection, S::both,
      false, kMinSegment, kMaxSegment, kDefaultMaxRecvDataSegmentLength),
  row(Key::max_burst_length, "MaxBurstLength", F::minimum, U::leading, C::session, S::both, true, kMinSegment,
      kMaxSegment, 262144),
  row(Key::first_burst_length, "FirstBurstLength", F::minimum, U::leading, C::session, S::both, true, kMinSegment,
      kMaxSegment, 65536),
  row(Key::default_time2wait, "DefaultTime2Wait", F::maximum, U::leading, C::session, S::both, false, 0, 3600, 2),
  row(Key::default_time2retain, "DefaultTime2Retain", F::minimum, U::leading, C::session, S::both, false, 0, 3600, 20),
  row(Key::max_outstanding_r2t, "MaxOutstandingR2T", F::minimum, U::leading, C::session, S::both, true, 1, 65535, 1),
  row(Key::data_pdu_in_order, "DataPDUInOrder", F::logical_or, U::leading, C::session, S::both, true, 0, 1, 1),
  row(Key::data_sequence_in_order, "DataSequenceInOrder", F::logical_or, U::leading, C::session, S::both, true, 0, 1,
      1),
  row(Key::error_recovery_level, "ErrorRecoveryLevel", F::minimum, U::leading, C::session, S::both, false, 0, 2, 0),
  row(Key::task_reporting, "TaskReporting", F::list, U::leading, C::session, S::both, true),
  row(Key::protocol_level, "iSCSIProtocolLevel", F::minimum, U::leading, C::session, S::both, true, 0, 31, 1),

  row(Key::if_marker, "IFMarker", F::obsolete, U::initialize, C::connection, S::both),
  row(Key::of_marker, "OFMarker", F::obsolete, U::initialize, C::connection, S::both),
  row(Key::if_mark_int, "IFMarkInt", F::obsolete, U::initialize, C::connection, S::both),
  row(Key::of_mark_int, "OFMarkInt", F::obsolete, U::initialize, C::connection, S::both),

  row(Key::send_targets, "SendTargets", F::declarative, U::full_feature, C::session, S::initiator),
  row(Key::target_name, "TargetName", F::declarative, U::all, C::session, S::both),
  row(Key::initiator_name, "InitiatorName", F::declarative, U::initialize, C::session, S::initiator),
  row(Key::target_alias, "TargetAlias", F::declarative, U::all, C::session, S::target),
  row(Key::initiator_alias, "InitiatorAlias", F::declarative, U::all, C::session, S::initiator),
  row(Key::target_address, "TargetAddress", F::declarative, U::all, C::session, S::target),
  row(Key::target_portal_group_tag, "TargetPortalGroupTag", F::declarative, U::initialize, C::session, S::target,
      false, 0, 65535),
  row(Key::session_type, "SessionType", F::declarative, U::leading, C::session, S::initiator),

  row(Key::auth_method, "AuthMethod", F::list, U::initialize, C::connection, S::both),
  row(Key::chap_a, "CHAP_A", F::list, U::initialize, C::connection, S::both),
  row(Key::chap_i, "CHAP_I", F::declarative, U::initialize, C::connection, S::both, false, 0, 255),
  row(Key::chap_c, "CHAP_C", F::declarative, U::initialize, C::connection, S::both),
  row(Key::chap_n, "CHAP_N", F::declarative, U::initialize, C::connection, S::both),
  row(Key::chap_r, "CHAP_R", F::declarative, U::initialize, C::connection, S::both),
};
// clang-format on

constexpr bool in_order() {
  for (std::size_t i = 0; i < kRules.size(); ++i)
    if (kRules[i].key != static_cast<Key>(i)) return false;
  return true;
}
static_assert(in_order(), "a row for each key, in the order of the enumeration");

}  // namespace

const KeyRule& rule(Key key) noexcept {
  return kRules[static_cast<std::size_t>(key)];
}

Key find_key(std::string_view name) noexcept {
  const auto* found =
      std::find_if(kRules.begin(), kRules.end(), [&](const KeyRule& row) { return row.name == name; });
  return found == kRules.end() ? Key::unknown : found->key;
}

}  // namespace nbdgw::proto::iscsi
