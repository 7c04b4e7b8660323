#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "proto/iscsi/negotiation.hpp"
#include "proto/iscsi/pdu.hpp"
#include "proto/iscsi/text.hpp"

namespace nbdgw::iscsi_target {

class Server;
class Session;

/// Text requests in the full feature phase, one exchange at a time on a connection (RFC 7143 sections 11.10, 11.11):
/// a request that goes on over several PDUs, and an answer that does.
class TextExchange {
 public:
  struct Reply {
    const char* violation = nullptr;  // what is wrong with the request
    bool final = false;
    bool continues = false;
    std::uint32_t ttt = proto::iscsi::kReservedTag;
    std::string_view text{};  // valid until the next request
  };

  /// `address`: the portal for TargetAddress. A MaxRecvDataSegmentLength that the initiator declares goes to
  /// `parameters`, whose present value bounds the answer's pieces.
  Reply on_request(const proto::iscsi::TextRequest& request, std::string_view text, const Server& server,
                   const Session& session, std::string_view address, proto::iscsi::ConnectionParameters& parameters);

 private:
  Reply next_piece(bool initiator_is_done, std::uint32_t limit);
  const char* answer_pairs(const Server& server, const Session& session, std::string_view address,
                           proto::iscsi::ConnectionParameters& parameters);
  void send_targets(std::string_view which, const Server& server, const Session& session, std::string_view address);
  void add(std::string_view key, std::string_view value);
  void reset() noexcept;

  proto::iscsi::TextAccumulator incoming_;
  std::string answer_;
  std::size_t sent_ = 0;
  bool answering_ = false;
  std::uint32_t ttt_ = 0;
  bool open_ = false;  // ttt_ was handed out: the exchange goes on
};

}  // namespace nbdgw::iscsi_target
