#include "gateway/initiator/login.hpp"

#include <algorithm>
#include <charconv>
#include <span>
#include <utility>

#include "gateway/initiator/portal_group.hpp"
#include "gateway/initiator/task.hpp"

namespace nbdgw::initiator {

using proto::iscsi::Key;
using proto::iscsi::LoginStage;
using proto::iscsi::LoginStatus;
using proto::iscsi::OperationalNegotiation;

namespace {

std::string digest_list(DigestOffer offer) {
  switch (offer) {
    case DigestOffer::none:
      return "None";
    case DigestOffer::prefer_none:
      return "None,CRC32C";
    case DigestOffer::prefer_crc32c:
      return "CRC32C,None";
    case DigestOffer::require_crc32c:
      return "CRC32C";
  }
  return "None";
}

proto::iscsi::OperationalWishes wishes_of(const SessionSettings& settings, const LoginIdentity& identity) {
  proto::iscsi::OperationalWishes wishes;
  if (identity.leading()) {
    wishes.session.max_connections = settings.connections;
    wishes.session.initial_r2t = settings.initial_r2t;
    wishes.session.immediate_data = settings.immediate_data;
    wishes.session.max_burst_length = settings.max_burst_length;
    wishes.session.first_burst_length = std::min(settings.first_burst_length, settings.max_burst_length);
    // What a task has room for, less the place of the unsolicited data that may still be waiting there.
    wishes.session.max_outstanding_r2t = std::min<std::uint32_t>(settings.max_outstanding_r2t, Task::kMaxR2ts - 1);
    // Nothing is kept at the target for a connection to be recovered: at level 0 the session is.
    wishes.session.default_time2wait = 0;
    wishes.session.default_time2retain = 0;
  } else {
    wishes.session = identity.session;
  }
  wishes.max_recv_data_segment_length = settings.max_recv_data_segment_length;
  wishes.header_digest = digest_list(settings.header_digest);
  wishes.data_digest = digest_list(settings.data_digest);
  return wishes;
}

}  // namespace

Login::Login(const SessionSettings& settings, const LoginIdentity& identity, proto::RandomSource& random)
    : settings_(settings),
      identity_(identity),
      random_(random),
      out_(buffer_),
      negotiation_(wishes_of(settings, identity),
                   {.leading = identity.leading(), .discovery = settings.target_name.empty()}) {
  out_.add("InitiatorName", settings.initiator_name);
  if (!settings.target_name.empty()) out_.add("TargetName", settings.target_name);
  out_.add("SessionType", settings.target_name.empty() ? "Discovery" : "Normal");
  out_.add("AuthMethod", wants_mutual() ? "CHAP" : wants_chap() ? "CHAP,None" : "None");
  transit_ = !wants_chap();
}

proto::iscsi::LoginRequest Login::request() const {
  const bool security = state_ != State::operational;
  return {.transit = transit_,
          .current_stage = security ? LoginStage::security : LoginStage::operational,
          // Without T the field is reserved, that is zero (section 11.12.3).
          .next_stage = !transit_  ? LoginStage::security
                        : security ? LoginStage::operational
                                   : LoginStage::full_feature,
          .data_length = static_cast<std::uint32_t>(out_.size()),
          .isid = identity_.isid,
          .tsih = identity_.tsih,
          .cid = identity_.cid};
}

Login::Step Login::fail(ConnectionError error, std::string detail) {
  error_ = error;
  detail_ = std::move(detail);
  return Step::failed;
}

const std::string* Login::find(Key key) const {
  const auto found =
      std::find_if(received_.begin(), received_.end(), [&](const auto& pair) { return pair.first == key; });
  return found == received_.end() ? nullptr : &found->second;
}

Login::Step Login::refused(const proto::iscsi::LoginResponse& response, std::string_view text) {
  status_ = response.status;
  if (status_ == LoginStatus::redirect_temporary || status_ == LoginStatus::redirect_permanent) {
    proto::iscsi::TextReader reader(text);
    for (proto::iscsi::KeyValue pair; reader.next(pair);) {
      if (proto::iscsi::find_key(pair.key) != Key::target_address) continue;
      if (auto portal = parse_target_address(pair.value)) {
        redirect_ = *portal;
        fail(ConnectionError::redirected, "to " + portal_text(redirect_));
        return Step::redirected;
      }
    }
    return fail(ConnectionError::login_refused, "redirected, but without a usable TargetAddress");
  }
  const bool credentials =
      status_ == LoginStatus::authentication_failure || status_ == LoginStatus::authorization_failure;
  std::string detail = describe(status_);
  if (!settings_.target_name.empty()) detail += ", target " + settings_.target_name;
  return fail(credentials ? ConnectionError::authentication : ConnectionError::login_refused, std::move(detail));
}

Login::Step Login::on_response(const proto::iscsi::LoginResponse& response, std::string_view text) {
  if (++responses_ > kMaxResponses) return fail(ConnectionError::login_negotiation, "the negotiation does not end");
  if (response.status != LoginStatus::success) return refused(response, text);
  if (response.version_active != 0) return fail(ConnectionError::protocol, "unknown iSCSI version");
  const bool security = state_ != State::operational;
  if (response.current_stage != (security ? LoginStage::security : LoginStage::operational)) {
    return fail(ConnectionError::protocol, "the target answered for another login stage");
  }
  if (!in_.append(text)) return fail(ConnectionError::login_negotiation, "the target's text does not end");
  if (response.continues) {
    if (response.transit) return fail(ConnectionError::protocol, "login response with both T and C");
    out_.clear();
    transit_ = false;
    return Step::send;
  }
  out_.clear();
  if (!read_pairs(in_.text())) return Step::failed;
  in_.clear();
  if (const std::string* tag = find(Key::target_portal_group_tag)) {
    const auto number = proto::iscsi::parse_number(*tag, 0, 0xffff);
    if (number && !portal_group_tag_) portal_group_tag_ = static_cast<std::uint16_t>(number.value);
  }
  return step(response);
}

bool Login::read_pairs(std::string_view text) {
  received_.clear();
  proto::iscsi::TextReader reader(text);
  for (proto::iscsi::KeyValue pair; reader.next(pair);) {
    switch (negotiation_.receive(pair, out_)) {
      case OperationalNegotiation::Receipt::settled:
        break;
      case OperationalNegotiation::Receipt::for_engine:
        received_.emplace_back(proto::iscsi::find_key(pair.key), std::string(pair.value));
        break;
      case OperationalNegotiation::Receipt::failed:
        fail(ConnectionError::login_negotiation, std::string(pair.key) + "=" + std::string(pair.value.substr(0, 64)) +
                                                     ": " + proto::iscsi::describe(negotiation_.error()));
        return false;
    }
  }
  if (reader.error() != proto::iscsi::TextError::none) {
    fail(ConnectionError::login_negotiation, proto::iscsi::describe(reader.error()));
    return false;
  }
  return true;
}

Login::Step Login::step(const proto::iscsi::LoginResponse& response) {
  if (response.transit && !transit_) return fail(ConnectionError::protocol, "the target left the stage unasked");
  if (response.transit) {
    const LoginStage asked = state_ == State::operational ? LoginStage::full_feature : LoginStage::operational;
    if (response.next_stage != asked) return fail(ConnectionError::protocol, "the target went to another stage");
  }
  switch (state_) {
    case State::method:
      return method_chosen(response.transit);
    case State::algorithm:
      return answer_challenge();
    case State::response:
      return verify_target(response.transit);
    case State::security_end:
      return security_ended(response.transit);
    case State::operational:
      break;
  }
  const Step outcome = operational(response.transit);
  if (outcome != Step::done) return outcome;
  if (identity_.leading()) {
    if (response.tsih == 0) return fail(ConnectionError::protocol, "the target gave the session no TSIH");
    identity_.tsih = response.tsih;
  } else if (response.tsih != 0 && response.tsih != identity_.tsih) {
    // A connection of another session: our CmdSN and tags would mean something else there.
    return fail(ConnectionError::protocol, "the target put the connection into another session");
  }
  return outcome;
}

Login::Step Login::method_chosen(bool transit) {
  const std::string* method = find(Key::auth_method);
  if (method != nullptr && *method == "CHAP" && wants_chap()) {
    if (transit) return fail(ConnectionError::protocol, "the target left the security stage before CHAP");
    out_.add("CHAP_A", proto::iscsi::chap_algorithm_list(settings_.chap.algorithms));
    transit_ = false;
    state_ = State::algorithm;
    return Step::send;
  }
  if (method != nullptr && *method != "None") {
    return fail(ConnectionError::authentication,
                "the target wants the authentication method " + method->substr(0, 64) +
                    (wants_chap() ? "" : "; give it CHAP credentials (auth.chap in the configuration)"));
  }
  if (wants_mutual())
    return fail(ConnectionError::authentication, "the target does not do CHAP, but must prove itself");
  state_ = State::security_end;
  return security_ended(transit);
}

Login::Step Login::answer_challenge() {
  const std::string* number = find(Key::chap_a);
  const std::string* identifier = find(Key::chap_i);
  const std::string* challenge_text = find(Key::chap_c);
  if (number == nullptr || identifier == nullptr || challenge_text == nullptr) {
    return fail(ConnectionError::authentication, "the target's CHAP challenge lacks CHAP_A, CHAP_I or CHAP_C");
  }
  if (wants_mutual() && settings_.chap.mutual_secret == settings_.chap.secret) {
    // RFC 7143 section 9.2.1: whoever knows one direction's answers would know the other's.
    return fail(ConnectionError::authentication, "the CHAP secrets of the two directions must not be the same");
  }
  const auto algorithm_number = proto::iscsi::parse_number(*number, 0, 255);
  const auto id = proto::iscsi::parse_number(*identifier, 0, 255);
  std::array<std::uint8_t, proto::iscsi::kMaxChapChallengeLength> challenge;
  const auto length = proto::iscsi::decode_binary(*challenge_text, challenge);
  const auto& mine = settings_.chap.algorithms;
  const auto algorithm = static_cast<proto::iscsi::ChapAlgorithm>(algorithm_number.value);
  if (!algorithm_number || std::find(mine.begin(), mine.end(), algorithm) == mine.end()) {
    return fail(ConnectionError::authentication, "the target chose a CHAP algorithm that was not offered");
  }
  if (!id || !length) return fail(ConnectionError::authentication, "the target's CHAP challenge is malformed");
  algorithm_ = algorithm;
  const auto answer = proto::iscsi::chap_response(algorithm_, static_cast<std::uint8_t>(id.value),
                                                  settings_.chap.secret, std::span(challenge).first(*length));
  if (!answer) return fail(ConnectionError::authentication, "the CHAP algorithm is not available on this machine");
  out_.add("CHAP_N", settings_.chap.user);
  out_.add("CHAP_R", proto::iscsi::encode_hex(answer->view()));
  if (wants_mutual()) {
    random_.fill(challenge_);
    random_.fill({&challenge_id_, 1});
    out_.add_number("CHAP_I", challenge_id_);
    out_.add("CHAP_C", proto::iscsi::encode_hex(challenge_));
    // A target that only sends our own challenge back would let us compute its answer for it.
    if (std::ranges::equal(std::span(challenge).first(*length), challenge_)) {
      return fail(ConnectionError::authentication, "the target reflected our CHAP challenge");
    }
  }
  transit_ = true;
  state_ = State::response;
  return Step::send;
}

Login::Step Login::verify_target(bool transit) {
  if (wants_mutual()) {
    const std::string* name = find(Key::chap_n);
    const std::string* response_text = find(Key::chap_r);
    if (name == nullptr || response_text == nullptr) {
      return fail(ConnectionError::authentication, "the target did not prove itself (no CHAP_N and CHAP_R)");
    }
    std::array<std::uint8_t, proto::iscsi::kMaxChapDigestLength> response;
    const auto length = proto::iscsi::decode_binary(*response_text, response);
    const auto expected =
        proto::iscsi::chap_response(algorithm_, challenge_id_, settings_.chap.mutual_secret, challenge_);
    if (*name != settings_.chap.mutual_user || !length || !expected ||
        !proto::iscsi::constant_time_equal(expected->view(), std::span(response).first(*length))) {
      return fail(ConnectionError::authentication, "the target's own CHAP name or response is wrong");
    }
  }
  state_ = State::security_end;
  return security_ended(transit);
}

Login::Step Login::security_ended(bool transit) {
  if (transit) {
    begin_operational();
  } else {
    transit_ = true;  // ask (again) to leave the stage
  }
  return Step::send;
}

void Login::begin_operational() {
  state_ = State::operational;
  negotiation_.offer_all(out_);
  transit_ = true;
}

Login::Step Login::operational(bool transit) {
  if (!transit) {
    transit_ = true;
    return Step::send;
  }
  unanswered_ = negotiation_.settle_with_defaults();
  return check_digests();
}

/// A digest that is required must have been agreed upon: also an answer such as Irrelevant, or none, leaves it out.
Login::Step Login::check_digests() {
  struct Wanted {
    Key key;
    DigestOffer offer;
    proto::iscsi::Digest agreed;
  };
  for (const Wanted& each : {Wanted{Key::header_digest, settings_.header_digest, connection().header_digest},
                             Wanted{Key::data_digest, settings_.data_digest, connection().data_digest}}) {
    if (each.offer != DigestOffer::require_crc32c || each.agreed == proto::iscsi::Digest::crc32c) continue;
    const std::string name(proto::iscsi::rule(each.key).name);
    return fail(ConnectionError::login_negotiation, is_unanswered(each.key)
                                                        ? "the target left " + name + " unanswered, which is required"
                                                        : "the target does not do the " + name + " that is required");
  }
  return Step::done;
}

bool Login::is_unanswered(Key key) const noexcept {
  return std::find(unanswered_.begin(), unanswered_.end(), key) != unanswered_.end();
}

proto::iscsi::SessionParameters Login::session() const noexcept {
  proto::iscsi::SessionParameters agreed = negotiation_.session();
  // The defaults would allow immediate data, and unsolicited data up to 64 KiB. But whoever does not know the key may
  // not know the data, and nobody minds to be sent less of it.
  if (is_unanswered(Key::immediate_data)) agreed.immediate_data = false;
  if (is_unanswered(Key::first_burst_length)) agreed.initial_r2t = true;
  return agreed;
}

std::string Login::unanswered() const {
  std::string names;
  for (const Key key : unanswered_) {
    if (!names.empty()) names += ", ";
    names += proto::iscsi::rule(key).name;
  }
  return names;
}

std::optional<Portal> parse_target_address(std::string_view text) {
  text = text.substr(0, text.find(','));
  Portal portal;
  if (!text.empty() && text.front() == '[') {
    const std::size_t end = text.find(']');
    if (end == std::string_view::npos) return std::nullopt;
    portal.host = text.substr(1, end - 1);
    text.remove_prefix(end + 1);
  } else {
    const std::size_t colon = text.rfind(':');
    portal.host = text.substr(0, colon);
    text.remove_prefix(std::min(colon, text.size()));
  }
  if (portal.host.empty() || portal.host.size() > 255) return std::nullopt;
  if (text.empty()) return portal;
  if (text.front() != ':') return std::nullopt;
  text.remove_prefix(1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), portal.port);
  if (error != std::errc{} || end != text.data() + text.size() || portal.port == 0) return std::nullopt;
  return portal;
}

}  // namespace nbdgw::initiator
