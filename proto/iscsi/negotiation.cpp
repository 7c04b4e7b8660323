#include "proto/iscsi/negotiation.hpp"

#include <algorithm>
#include <charconv>

#include "proto/assert.hpp"

namespace nbdgw::proto::iscsi {

namespace {

constexpr std::string_view kReject = "Reject";
constexpr std::string_view kIrrelevant = "Irrelevant";
constexpr std::string_view kNotUnderstood = "NotUnderstood";

/// Where a session keeps the value of a key, as one type for numbers and booleans.
std::uint32_t load(const SessionParameters& session, Key key) noexcept {
  switch (key) {
    case Key::max_connections:
      return session.max_connections;
    case Key::initial_r2t:
      return session.initial_r2t;
    case Key::immediate_data:
      return session.immediate_data;
    case Key::max_burst_length:
      return session.max_burst_length;
    case Key::first_burst_length:
      return session.first_burst_length;
    case Key::default_time2wait:
      return session.default_time2wait;
    case Key::default_time2retain:
      return session.default_time2retain;
    case Key::max_outstanding_r2t:
      return session.max_outstanding_r2t;
    case Key::data_pdu_in_order:
      return session.data_pdu_in_order;
    case Key::data_sequence_in_order:
      return session.data_sequence_in_order;
    case Key::error_recovery_level:
      return session.error_recovery_level;
    case Key::protocol_level:
      return session.protocol_level;
    default:
      NBDGW_ASSERT(false, "a key with a number or a boolean in the session");
  }
}

void store(SessionParameters& session, Key key, std::uint32_t value) noexcept {
  switch (key) {
    case Key::max_connections:
      session.max_connections = value;
      return;
    case Key::initial_r2t:
      session.initial_r2t = value != 0;
      return;
    case Key::immediate_data:
      session.immediate_data = value != 0;
      return;
    case Key::max_burst_length:
      session.max_burst_length = value;
      return;
    case Key::first_burst_length:
      session.first_burst_length = value;
      return;
    case Key::default_time2wait:
      session.default_time2wait = value;
      return;
    case Key::default_time2retain:
      session.default_time2retain = value;
      return;
    case Key::max_outstanding_r2t:
      session.max_outstanding_r2t = value;
      return;
    case Key::data_pdu_in_order:
      session.data_pdu_in_order = value != 0;
      return;
    case Key::data_sequence_in_order:
      session.data_sequence_in_order = value != 0;
      return;
    case Key::error_recovery_level:
      session.error_recovery_level = value;
      return;
    case Key::protocol_level:
      session.protocol_level = value;
      return;
    default:
      NBDGW_ASSERT(false, "a key with a number or a boolean in the session");
  }
}

std::string_view task_reporting_name(TaskReporting reporting) noexcept {
  switch (reporting) {
    case TaskReporting::rfc3720:
      return "RFC3720";
    case TaskReporting::response_fence:
      return "ResponseFence";
    case TaskReporting::fast_abort:
      return "FastAbort";
  }
  return "RFC3720";
}

/// Stores the one value that a list came to. False for a value that we have no meaning for.
bool store_choice(SessionParameters& session, ConnectionParameters& connection, Key key,
                  std::string_view choice) noexcept {
  if (key == Key::task_reporting) {
    for (const auto each : {TaskReporting::rfc3720, TaskReporting::response_fence, TaskReporting::fast_abort}) {
      if (choice != task_reporting_name(each)) continue;
      session.task_reporting = each;
      return true;
    }
    return false;
  }
  if (choice != "None" && choice != "CRC32C") return false;
  const Digest digest = choice == "None" ? Digest::none : Digest::crc32c;
  (key == Key::header_digest ? connection.header_digest : connection.data_digest) = digest;
  return true;
}

Parsed<std::uint32_t> parse_value(const KeyRule& rule, std::string_view text) noexcept {
  if (!rule.is_boolean()) return parse_number(text, rule.minimum, rule.maximum);
  const auto flag = parse_boolean(text);
  return {flag.value, flag.error};
}

/// The operational keys come first in the enumeration.
bool is_operational(Key key) noexcept {
  return key <= Key::of_mark_int;
}

}  // namespace

const char* describe(NegotiationError error) noexcept {
  switch (error) {
    case NegotiationError::none:
      return "no error";
    case NegotiationError::not_a_number:
      return "the value is not a number";
    case NegotiationError::out_of_range:
      return "the number is out of the range of the key";
    case NegotiationError::not_a_boolean:
      return "the value is neither Yes nor No";
    case NegotiationError::not_offered:
      return "the answer is none of the values offered";
    case NegotiationError::nothing_in_common:
      return "none of the values offered is supported";
    case NegotiationError::refused:
      return "the offer was answered with Reject";
    case NegotiationError::repeated:
      return "the key was negotiated before in this login";
    case NegotiationError::wrong_phase:
      return "the key has no place here";
    case NegotiationError::no_room:
      return "the answers do not fit one data segment";
  }
  return "unknown error";
}

Parsed<std::uint32_t> parse_number(std::string_view text, std::uint32_t minimum, std::uint32_t maximum) noexcept {
  const bool hex = text.starts_with("0x") || text.starts_with("0X");
  const std::string_view digits = hex ? text.substr(2) : text;
  if (digits.empty() || (!hex && digits.size() > 1 && digits.front() == '0'))
    return {0, NegotiationError::not_a_number};
  std::uint64_t value = 0;
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), value, hex ? 16 : 10);
  if (parsed.ec == std::errc::invalid_argument || parsed.ptr != digits.data() + digits.size())
    return {0, NegotiationError::not_a_number};
  if (parsed.ec != std::errc{} || value < minimum || value > maximum) return {0, NegotiationError::out_of_range};
  return {static_cast<std::uint32_t>(value), NegotiationError::none};
}

Parsed<bool> parse_boolean(std::string_view text) noexcept {
  if (text == "Yes") return {true, NegotiationError::none};
  if (text == "No") return {false, NegotiationError::none};
  return {false, NegotiationError::not_a_boolean};
}

bool list_contains(std::string_view list, std::string_view value) noexcept {
  return !first_common(list, value).empty();
}

std::string_view first_common(std::string_view offered, std::string_view mine) noexcept {
  while (!offered.empty()) {
    const std::string_view each = offered.substr(0, offered.find(','));
    for (std::string_view rest = mine; !each.empty() && !rest.empty();) {
      const std::string_view candidate = rest.substr(0, rest.find(','));
      if (candidate == each) return each;
      rest.remove_prefix(std::min(candidate.size() + 1, rest.size()));
    }
    offered.remove_prefix(std::min(each.size() + 1, offered.size()));
  }
  return {};
}

std::uint32_t combine(KeyFunction function, std::uint32_t one, std::uint32_t other) noexcept {
  switch (function) {
    case KeyFunction::minimum:
    case KeyFunction::logical_and:
      return std::min(one, other);
    case KeyFunction::maximum:
    case KeyFunction::logical_or:
      return std::max(one, other);
    case KeyFunction::declarative:
    case KeyFunction::list:
    case KeyFunction::obsolete:
      break;
  }
  NBDGW_ASSERT(false, "only numbers and booleans are combined");
}

OperationalNegotiation::OperationalNegotiation(const OperationalWishes& wishes, Kind kind)
    : wishes_(wishes), kind_(kind) {
  // A joining connection keeps what the leading one negotiated; a leading one starts from the defaults.
  if (!kind.leading) session_ = wishes.session;
}

OperationalNegotiation::Receipt OperationalNegotiation::fail(NegotiationError error) noexcept {
  error_ = error;
  return Receipt::failed;
}

OperationalNegotiation::Receipt OperationalNegotiation::written(bool fitted) noexcept {
  return fitted ? Receipt::settled : fail(NegotiationError::no_room);
}

std::string_view OperationalNegotiation::wished_list(Key key) const noexcept {
  return key == Key::header_digest ? wishes_.header_digest
         : key == Key::data_digest ? wishes_.data_digest
                                   : wishes_.task_reporting;
}

/// Values that are not for this connection to change.
bool OperationalNegotiation::is_frozen(const KeyRule& rule) const noexcept {
  return rule.use == KeyUse::leading && !kind_.leading;
}

/// Section 6.2.2: "and" with No, "or" with Yes. The peer may leave the answer out.
bool OperationalNegotiation::decides_alone(const KeyRule& rule) const noexcept {
  if (!rule.is_boolean() || is_frozen(rule)) return false;
  return (load(wishes_.session, rule.key) != 0) == (rule.function == KeyFunction::logical_or);
}

bool OperationalNegotiation::is_awaited(const KeyRule& rule) const noexcept {
  return is_offered(rule.key) && !is_settled(rule.key) && !decides_alone(rule);
}

bool OperationalNegotiation::awaiting_answers() const noexcept {
  for (std::size_t i = 0; i < kKeyCount; ++i) {
    if (is_awaited(rule(static_cast<Key>(i)))) return true;
  }
  return false;
}

std::vector<Key> OperationalNegotiation::settle_with_defaults() {
  std::vector<Key> keys;
  for (std::size_t i = 0; i < kKeyCount; ++i) {
    const KeyRule& row = rule(static_cast<Key>(i));
    if (!is_awaited(row)) continue;
    keys.push_back(row.key);
    settled_.set(i);
    // What a list is about is None, or as it was in RFC 3720, until something else is agreed upon.
    if (row.function == KeyFunction::list || is_frozen(row)) continue;
    store(session_, row.key, combine(row.function, load(wishes_.session, row.key), row.initial));
  }
  return keys;
}

bool OperationalNegotiation::write_value(const KeyRule& rule, const SessionParameters& from, TextWriter& out) {
  const std::uint32_t value = load(from, rule.key);
  return rule.is_boolean() ? out.add_boolean(rule.name, value != 0) : out.add_number(rule.name, value);
}

bool OperationalNegotiation::offer(Key key, TextWriter& out) {
  const KeyRule& row = rule(key);
  NBDGW_ASSERT(is_operational(key) && row.function != KeyFunction::obsolete, "a key that can be offered");
  if (key == Key::max_recv_data_segment_length) return declare_max_recv_data_segment_length(out);
  const bool fitted = row.function == KeyFunction::list ? out.add(row.name, wished_list(key))
                                                        : write_value(row, wishes_.session, out);
  if (!fitted) return false;
  offered_.set(static_cast<std::size_t>(key));
  if (decides_alone(row)) store(session_, key, load(wishes_.session, key));
  return true;
}

bool OperationalNegotiation::offer_all(TextWriter& out) {
  for (std::size_t i = 0; i < kKeyCount; ++i) {
    const KeyRule& row = rule(static_cast<Key>(i));
    if (!is_operational(row.key) || row.function == KeyFunction::obsolete || is_frozen(row)) continue;
    if (kind_.discovery && row.irrelevant_in_discovery) continue;
    if (row.key == Key::task_reporting && wishes_.task_reporting == "RFC3720") continue;
    if (row.key == Key::protocol_level && wishes_.session.protocol_level == row.initial) continue;
    if (!offer(row.key, out)) return false;
  }
  return true;
}

bool OperationalNegotiation::declare_max_recv_data_segment_length(TextWriter& out) {
  if (declared_) return true;
  if (!out.add_number(rule(Key::max_recv_data_segment_length).name, wishes_.max_recv_data_segment_length))
    return false;
  connection_.own_max_recv_data_segment_length = wishes_.max_recv_data_segment_length;
  declared_ = true;
  return true;
}

OperationalNegotiation::Receipt OperationalNegotiation::receive(const KeyValue& pair, TextWriter& answers) {
  const Key key = find_key(pair.key);
  if (key == Key::unknown) {
    // Also the answer to an answer would be one: "NotUnderstood" is never answered.
    if (pair.value == kNotUnderstood) return Receipt::settled;
    return written(answers.add(pair.key, kNotUnderstood));
  }
  if (!is_operational(key)) return Receipt::for_engine;
  const std::size_t index = static_cast<std::size_t>(key);
  if (settled_.test(index)) return fail(NegotiationError::repeated);
  settled_.set(index);
  const KeyRule& row = rule(key);
  if (offered_.test(index)) return take_answer(row, pair.value);
  if (row.function == KeyFunction::obsolete) return answer_obsolete(row, answers);
  if (key == Key::max_recv_data_segment_length) return take_peer_segment_length(pair.value);
  return take_offer(row, pair.value, answers);
}

OperationalNegotiation::Receipt OperationalNegotiation::take_peer_segment_length(std::string_view value) {
  const KeyRule& row = rule(Key::max_recv_data_segment_length);
  const auto length = parse_number(value, row.minimum, row.maximum);
  if (!length) return fail(length.error);
  connection_.peer_max_recv_data_segment_length = length.value;
  return Receipt::settled;
}

/// Section 13.25: markers are answered No or Reject, their intervals Reject. "No" is what older initiators insist on.
OperationalNegotiation::Receipt OperationalNegotiation::answer_obsolete(const KeyRule& row, TextWriter& answers) {
  const bool marker = row.key == Key::if_marker || row.key == Key::of_marker;
  return written(answers.add(row.name, marker ? "No" : kReject));
}

OperationalNegotiation::Receipt OperationalNegotiation::take_answer(const KeyRule& row, std::string_view value) {
  if (value == kReject) return fail(NegotiationError::refused);
  // The value in force stays: of a leading connection the default.
  if (value == kIrrelevant || value == kNotUnderstood) return Receipt::settled;
  if (row.function == KeyFunction::list) {
    if (value.find(',') != std::string_view::npos || !list_contains(wished_list(row.key), value) ||
        !store_choice(session_, connection_, row.key, value))
      return fail(NegotiationError::not_offered);
    return Receipt::settled;
  }
  const auto parsed = parse_value(row, value);
  if (!parsed) return fail(parsed.error);
  if (!is_frozen(row)) store(session_, row.key, combine(row.function, load(wishes_.session, row.key), parsed.value));
  return Receipt::settled;
}

OperationalNegotiation::Receipt OperationalNegotiation::take_offer(const KeyRule& row, std::string_view value,
                                                                   TextWriter& answers) {
  if (kind_.discovery && row.irrelevant_in_discovery) return written(answers.add(row.name, kIrrelevant));
  if (row.function == KeyFunction::list) {
    const std::string_view mine =
        is_frozen(row) ? task_reporting_name(session_.task_reporting) : wished_list(row.key);
    const std::string_view choice = first_common(value, mine);
    if (choice.empty() || !store_choice(session_, connection_, row.key, choice)) {
      answers.add(row.name, kReject);
      return fail(NegotiationError::nothing_in_common);
    }
    return written(answers.add(row.name, choice));
  }
  const auto parsed = parse_value(row, value);
  if (!parsed) {
    answers.add(row.name, kReject);
    return fail(parsed.error);
  }
  if (!is_frozen(row)) store(session_, row.key, combine(row.function, load(wishes_.session, row.key), parsed.value));
  return written(write_value(row, session_, answers));
}

SessionParameters OperationalNegotiation::session() const noexcept {
  SessionParameters result = session_;
  result.first_burst_length = std::min(result.first_burst_length, result.max_burst_length);
  return result;
}

}  // namespace nbdgw::proto::iscsi
