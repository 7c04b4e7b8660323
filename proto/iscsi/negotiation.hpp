#pragma once

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "proto/iscsi/constants.hpp"
#include "proto/iscsi/text.hpp"

/// The keys of login and text negotiation and how a value comes out of an offer and an answer (RFC 7143 sections 6.2
/// and 13). Nothing here knows whether it serves an initiator or a target: one side offers, the other answers, and
/// both compute the same result.
namespace nbdgw::proto::iscsi {

enum class Key : std::uint8_t {
  // Operational, negotiated
  header_digest,
  data_digest,
  max_connections,
  initial_r2t,
  immediate_data,
  max_recv_data_segment_length,
  max_burst_length,
  first_burst_length,
  default_time2wait,
  default_time2retain,
  max_outstanding_r2t,
  data_pdu_in_order,
  data_sequence_in_order,
  error_recovery_level,
  task_reporting,
  protocol_level,
  // Obsolete
  if_marker,
  of_marker,
  if_mark_int,
  of_mark_int,
  // Names, and what only one side says
  send_targets,
  target_name,
  initiator_name,
  target_alias,
  initiator_alias,
  target_address,
  target_portal_group_tag,
  session_type,
  // Security
  auth_method,
  chap_a,
  chap_i,
  chap_c,
  chap_n,
  chap_r,
  unknown,
};
inline constexpr std::size_t kKeyCount = static_cast<std::size_t>(Key::unknown);

/// How the result follows from the two values (section 6.2.2).
enum class KeyFunction : std::uint8_t { declarative, minimum, maximum, logical_or, logical_and, list, obsolete };
/// When a key may appear (section 13, "Use"): while a connection logs in; only on the leading connection of a
/// session; only in the full feature phase; at any time.
enum class KeyUse : std::uint8_t { initialize, leading, full_feature, all };
enum class KeyScope : std::uint8_t { connection, session };
enum class KeySender : std::uint8_t { initiator, target, both };

/// A row of section 13.
struct KeyRule {
  Key key{};
  std::string_view name;
  KeyFunction function{};
  KeyUse use{};
  KeyScope scope{};
  KeySender sender{};
  bool irrelevant_in_discovery = false;
  std::uint32_t minimum = 0;  // of a number
  std::uint32_t maximum = 0;
  std::uint32_t initial = 0;  // the default; of a boolean 0 or 1

  constexpr bool is_boolean() const noexcept {
    return function == KeyFunction::logical_or || function == KeyFunction::logical_and;
  }
  constexpr bool is_number() const noexcept {
    return function == KeyFunction::minimum || function == KeyFunction::maximum;
  }
};

/// The row of a key (any but `unknown`).
const KeyRule& rule(Key key) noexcept;
/// The key of this name, or Key::unknown. Names are compared exactly (section 6.1: they are case sensitive).
Key find_key(std::string_view name) noexcept;

enum class NegotiationError : std::uint8_t {
  none,
  not_a_number,
  out_of_range,
  not_a_boolean,
  not_offered,        // the answer to a list is none of the values offered
  nothing_in_common,  // the list that was offered has none that we take
  refused,            // answered "Reject"
  repeated,           // negotiated a second time on this login
  wrong_phase,        // a key that has no place in a login, or not on this connection
  no_room,            // the answer does not fit the buffer
};

/// One line of text on what is wrong.
const char* describe(NegotiationError error) noexcept;

template <typename T>
struct Parsed {
  T value{};
  NegotiationError error = NegotiationError::none;

  explicit operator bool() const noexcept { return error == NegotiationError::none; }
};

/// Decimal without leading zeroes, or hexadecimal after 0x (section 6.1), within [minimum, maximum].
Parsed<std::uint32_t> parse_number(std::string_view text, std::uint32_t minimum, std::uint32_t maximum) noexcept;
/// "Yes" or "No", spelled so.
Parsed<bool> parse_boolean(std::string_view text) noexcept;
/// Whether a comma-separated list has this value.
bool list_contains(std::string_view list, std::string_view value) noexcept;
/// The first value of `offered` that is also in `mine`, empty when there is none: the offerer's order decides.
std::string_view first_common(std::string_view offered, std::string_view mine) noexcept;

/// The result for a number (minimum, maximum): symmetric in the two values.
std::uint32_t combine(KeyFunction function, std::uint32_t one, std::uint32_t other) noexcept;

enum class Digest : std::uint8_t { none, crc32c };
enum class TaskReporting : std::uint8_t { rfc3720, response_fence, fast_abort };

/// Negotiated values of a session; the initial ones are the defaults of section 13. Lengths in bytes, times in
/// seconds.
struct SessionParameters {
  std::uint32_t max_connections = 1;
  bool initial_r2t = true;
  bool immediate_data = true;
  std::uint32_t max_burst_length = 262144;
  std::uint32_t first_burst_length = 65536;
  std::uint32_t default_time2wait = 2;
  std::uint32_t default_time2retain = 20;
  std::uint32_t max_outstanding_r2t = 1;
  bool data_pdu_in_order = true;
  bool data_sequence_in_order = true;
  std::uint32_t error_recovery_level = 0;
  std::uint32_t protocol_level = 1;
  TaskReporting task_reporting = TaskReporting::rfc3720;

  bool operator==(const SessionParameters&) const = default;
};

/// Negotiated values of one connection.
struct ConnectionParameters {
  std::uint32_t own_max_recv_data_segment_length = kDefaultMaxRecvDataSegmentLength;   // what we take
  std::uint32_t peer_max_recv_data_segment_length = kDefaultMaxRecvDataSegmentLength;  // what we may send
  Digest header_digest = Digest::none;
  Digest data_digest = Digest::none;

  bool operator==(const ConnectionParameters&) const = default;
};

/// What one side would like: its offers, and the limits of its answers.
struct OperationalWishes {
  SessionParameters session;
  std::uint32_t max_recv_data_segment_length = 262144;
  std::string header_digest = "None";  // a list in order of preference, as in "CRC32C,None"
  std::string data_digest = "None";
  std::string task_reporting = "RFC3720";
};

/// The operational keys of one login, from the view of one side. The engine hands over every pair that comes; keys
/// that are no operational ones (names, security) it gets back.
class OperationalNegotiation {
 public:
  struct Kind {
    /// The first connection of the session. On the others the session's values stand: `session` of the wishes must be
    /// what was negotiated, and an offer of such a key is answered with that value.
    bool leading = true;
    /// Keys that mean nothing there are neither offered nor negotiated, but answered "Irrelevant".
    bool discovery = false;
  };

  enum class Receipt : std::uint8_t {
    settled,     // taken; an answer was written if one is due
    for_engine,  // a name, a security key or the like: not looked at
    failed,      // error() tells why; where the RFC wants it, key=Reject was written
  };

  OperationalNegotiation(const OperationalWishes& wishes, Kind kind);

  /// Writes our value of a negotiated key. What the peer says of it next is the answer.
  bool offer(Key key, TextWriter& out);
  /// Writes everything that this kind of connection may offer, our MaxRecvDataSegmentLength included; a value that is
  /// the default anyway is left out where silence means the same to every target (TaskReporting, iSCSIProtocolLevel).
  bool offer_all(TextWriter& out);
  /// Declares our MaxRecvDataSegmentLength, once: later calls do nothing.
  bool declare_max_recv_data_segment_length(TextWriter& out);

  /// Takes a pair from the peer: the answer to our offer, an offer (the answer goes to `answers`), or a declaration.
  Receipt receive(const KeyValue& pair, TextWriter& answers);
  NegotiationError error() const noexcept { return error_; }

  /// Whether an offer is not answered yet that must be: section 6.2.2 lets the answer be left out where the offer
  /// alone decides.
  bool awaiting_answers() const noexcept;
  /// For a peer that never answers them: the offers that awaiting_answers() speaks of come to what an answer with the
  /// key's default (section 13) would have come to. Returns which those are.
  std::vector<Key> settle_with_defaults();

  bool is_offered(Key key) const noexcept { return offered_.test(static_cast<std::size_t>(key)); }
  bool is_settled(Key key) const noexcept { return settled_.test(static_cast<std::size_t>(key)); }

  /// The results so far. FirstBurstLength is never above MaxBurstLength (section 13.14).
  SessionParameters session() const noexcept;
  const ConnectionParameters& connection() const noexcept { return connection_; }

 private:
  Receipt fail(NegotiationError error) noexcept;
  Receipt take_answer(const KeyRule& rule, std::string_view value);
  Receipt take_offer(const KeyRule& rule, std::string_view value, TextWriter& answers);
  Receipt take_peer_segment_length(std::string_view value);
  Receipt answer_obsolete(const KeyRule& rule, TextWriter& answers);
  Receipt written(bool fitted) noexcept;
  bool write_value(const KeyRule& rule, const SessionParameters& from, TextWriter& out);
  std::string_view wished_list(Key key) const noexcept;
  bool is_frozen(const KeyRule& rule) const noexcept;
  bool decides_alone(const KeyRule& rule) const noexcept;
  bool is_awaited(const KeyRule& rule) const noexcept;

  OperationalWishes wishes_;
  Kind kind_;
  SessionParameters session_;
  ConnectionParameters connection_;
  std::bitset<kKeyCount> offered_;
  std::bitset<kKeyCount> settled_;
  bool declared_ = false;
  NegotiationError error_ = NegotiationError::none;
};

}  // namespace nbdgw::proto::iscsi
