#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/initiator/error.hpp"
#include "gateway/initiator/settings.hpp"
#include "proto/iscsi/chap.hpp"
#include "proto/iscsi/negotiation.hpp"
#include "proto/iscsi/pdu.hpp"
#include "proto/iscsi/text.hpp"
#include "proto/random.hpp"

namespace nbdgw::initiator {

/// Who logs in, beside the settings of the session.
struct LoginIdentity {
  proto::iscsi::Isid isid{};
  std::uint16_t tsih = 0;  // 0: the leading connection of a new session (or of one to be reinstated)
  std::uint16_t cid = 0;
  /// Joining connections: what the leading one negotiated.
  proto::iscsi::SessionParameters session{};

  bool leading() const noexcept { return tsih == 0; }
};

/// The login exchange of one connection, without a socket: request() gives what to send, on_response() takes what
/// came back, until it is done or has failed (RFC 7143 section 6.3).
class Login {
 public:
  enum class Step : std::uint8_t { send, done, redirected, failed };

  /// A peer that never comes to an end of its negotiation is given up after this many responses.
  static constexpr int kMaxResponses = 24;

  Login(const SessionSettings& settings, const LoginIdentity& identity, proto::RandomSource& random);

  /// The next request's header without its tags and sequence numbers; text() is its data segment.
  proto::iscsi::LoginRequest request() const;
  std::string_view text() const noexcept { return out_.text(); }

  Step on_response(const proto::iscsi::LoginResponse& response, std::string_view text);
  /// Ends it, for what is wrong outside of its text.
  Step fail(ConnectionError error, std::string detail = {});

  // Step::failed and redirected: why; `status` is what the target answered, success if it was not its refusal.
  ConnectionError error() const noexcept { return error_; }
  const std::string& detail() const noexcept { return detail_; }
  proto::iscsi::LoginStatus status() const noexcept { return status_; }
  /// Of the target's end, once its first response has told it.
  std::optional<std::uint16_t> portal_group_tag() const noexcept { return portal_group_tag_; }
  // Step::redirected.
  const Portal& redirect() const noexcept { return redirect_; }
  bool redirect_is_permanent() const noexcept { return status_ == proto::iscsi::LoginStatus::redirect_permanent; }
  // Step::done.
  proto::iscsi::SessionParameters session() const noexcept;
  /// Keys that we offered and the target left without an answer, in a list for people; for them the defaults hold
  /// (RFC 7143 section 13).
  std::string unanswered() const;
  const proto::iscsi::ConnectionParameters& connection() const noexcept { return negotiation_.connection(); }
  std::uint16_t tsih() const noexcept { return identity_.tsih; }

 private:
  enum class State : std::uint8_t { method, algorithm, response, security_end, operational };

  Step refused(const proto::iscsi::LoginResponse& response, std::string_view text);
  bool read_pairs(std::string_view text);
  void begin_operational();
  Step step(const proto::iscsi::LoginResponse& response);
  Step method_chosen(bool transit);
  Step answer_challenge();
  Step verify_target(bool transit);
  Step security_ended(bool transit);
  Step operational(bool transit);
  Step check_digests();
  bool is_unanswered(proto::iscsi::Key key) const noexcept;
  bool wants_chap() const noexcept { return !settings_.chap.user.empty(); }
  bool wants_mutual() const noexcept { return wants_chap() && !settings_.chap.mutual_user.empty(); }
  const std::string* find(proto::iscsi::Key key) const;

  const SessionSettings& settings_;
  LoginIdentity identity_;
  proto::RandomSource& random_;
  State state_ = State::method;
  bool transit_ = false;
  int responses_ = 0;
  std::array<char, proto::iscsi::kDefaultMaxRecvDataSegmentLength> buffer_{};
  proto::iscsi::TextWriter out_;
  proto::iscsi::TextAccumulator in_;
  std::vector<std::pair<proto::iscsi::Key, std::string>> received_;  // names and security keys of one response
  proto::iscsi::OperationalNegotiation negotiation_;
  std::vector<proto::iscsi::Key> unanswered_;

  std::array<std::uint8_t, 16> challenge_{};  // ours to the target, mutual CHAP
  std::uint8_t challenge_id_ = 0;
  proto::iscsi::ChapAlgorithm algorithm_{};

  ConnectionError error_ = ConnectionError::none;
  std::string detail_;
  proto::iscsi::LoginStatus status_ = proto::iscsi::LoginStatus::success;
  Portal redirect_;
  std::optional<std::uint16_t> portal_group_tag_;
};

/// What a target's refusal means, for people.
const char* describe(proto::iscsi::LoginStatus status) noexcept;

/// Takes "host:port[,tag]" or "[v6]:port[,tag]" apart (RFC 7143 section 13.8); the port may be left out.
std::optional<Portal> parse_target_address(std::string_view text);

}  // namespace nbdgw::initiator
