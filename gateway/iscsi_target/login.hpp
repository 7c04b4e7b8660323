#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "gateway/iscsi_target/login_security.hpp"
#include "gateway/iscsi_target/session.hpp"
#include "proto/iscsi/negotiation.hpp"
#include "proto/iscsi/pdu.hpp"
#include "proto/iscsi/text.hpp"

namespace nbdgw::iscsi_target {

class Server;

/// The login phase of one connection, request by request (RFC 7143 sections 6.3 and 11.12): who it is, who it is
/// allowed to be, and the operational keys. It makes no session: Server::admit() does that with what came out.
class Login {
 public:
  /// The answer to one login request.
  struct Reply {
    proto::iscsi::LoginStatus status = proto::iscsi::LoginStatus::success;
    std::string reason;  // with any other status: what is wrong
    bool transit = false;
    proto::iscsi::LoginStage current_stage{};
    proto::iscsi::LoginStage next_stage{};
    std::string_view text;  // valid until the next request
    bool complete = false;  // the full feature phase follows, if the server admits the connection
  };

  /// `portal_group_tag`: of where the initiator has connected to.
  Login(Server& server, std::uint16_t portal_group_tag);

  Reply on_request(const proto::iscsi::LoginRequest& request, std::string_view text);

  // Of a complete login:
  const SessionIdentity& identity() const noexcept { return identity_; }
  std::uint16_t tsih() const noexcept { return first_.tsih; }  // 0: a new session
  std::uint16_t cid() const noexcept { return first_.cid; }
  std::uint32_t cmd_sn() const noexcept { return first_.cmd_sn; }
  proto::iscsi::SessionParameters session_parameters() const noexcept;
  proto::iscsi::ConnectionParameters connection_parameters() const noexcept;

 private:
  /// The names that the first request tells (section 6.3.1).
  struct Names {
    std::string initiator;
    std::string target;
    bool discovery = false;
    bool bad_session_type = false;
  };

  Reply fail(proto::iscsi::LoginStatus status, std::string reason);
  std::optional<Reply> check_request(const proto::iscsi::LoginRequest& request);
  std::optional<Reply> read_pairs();
  std::optional<Reply> take_pair(const proto::iscsi::KeyValue& pair);
  bool take_name(proto::iscsi::Key key, std::string_view value);
  std::optional<Reply> identify();
  std::optional<Reply> check_session();
  Reply move_on(const proto::iscsi::LoginRequest& request);
  bool has_to_insist();
  void start_operational();

  Server& server_;
  std::optional<proto::iscsi::LoginRequest> seen_;
  proto::iscsi::LoginRequest first_{};
  proto::iscsi::LoginStage stage_{};
  std::uint32_t requests_ = 0;
  bool identified_ = false;
  Names names_;
  SessionIdentity identity_;
  proto::iscsi::TextAccumulator incoming_;
  std::array<char, proto::iscsi::kDefaultMaxRecvDataSegmentLength> outgoing_bytes_;
  proto::iscsi::TextWriter outgoing_{outgoing_bytes_};
  const std::uint16_t portal_group_tag_;
  SecurityStage security_;
  std::optional<proto::iscsi::OperationalNegotiation> operational_;
};

}  // namespace nbdgw::iscsi_target
