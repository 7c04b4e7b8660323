#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "gateway/initiator/error.hpp"
#include "gateway/initiator/pdu_reader.hpp"
#include "gateway/initiator/pdu_stream.hpp"
#include "gateway/initiator/settings.hpp"
#include "proto/engine.hpp"
#include "proto/random.hpp"
#include "proto/time.hpp"

namespace nbdgw::initiator {

/// A target that a portal told of.
struct DiscoveredTarget {
  std::string name;
  std::vector<std::string> addresses;  // "host:port,portal-group-tag", as told
};

/// One discovery session (RFC 7143 section 4.3 and appendix C): log in, ask SendTargets=All, log out. Has the
/// contract of Connection towards its shell, for one socket; finished() when it has come to an end, well or not.
/// The answer may be long, in any number of Text Responses; each is read as it comes.
class Discovery final : private PduHandler {
 public:
  /// What a portal may tell: enough for all that a storage system can have, and little for whoever asks it. Whoever
  /// tells more does not come to an end.
  static constexpr std::size_t kMaxTargets = 65536;
  static constexpr std::size_t kMaxText = 16 * 1024 * 1024;
  /// And how long it may take to do so, although something comes all the time.
  static constexpr proto::Micros kMaxDuration = 300 * proto::kSecond;

  /// `settings.target_name` is ignored; portals[0] is where the shell connects.
  Discovery(SessionSettings settings, proto::RandomSource& random);

  /// The shell begins to connect.
  void setup(proto::Micros now);
  void on_connected(proto::Micros now);
  void on_disconnected(const std::string& why, proto::Micros now);
  std::size_t rx_buffers(std::span<iovec> out) noexcept { return stream_.rx_buffers(out); }
  void on_received(std::size_t bytes, proto::Micros now);
  std::size_t tx_buffers(std::span<iovec> out) noexcept { return stream_.send_queue().tx_buffers(out); }
  void on_sent(std::size_t bytes, proto::Micros now);
  bool wants_tx() const noexcept { return !stream_.send_queue().empty(); }
  proto::Micros next_deadline() const noexcept { return finished_ ? proto::kNever : deadline_; }
  void on_deadline(proto::Micros now);

  bool finished() const noexcept { return finished_; }
  /// Empty when all went well.
  const std::string& failure() const noexcept { return failure_; }
  const std::vector<DiscoveredTarget>& targets() const noexcept { return targets_; }

 private:
  enum class State : std::uint8_t { connecting, login, text, logout };

  Placement place(const proto::iscsi::Bhs&) override { return {}; }
  ConnectionError complete_pdu(const ReceivedPdu& pdu, proto::Micros now) override;
  ConnectionError login_response(const ReceivedPdu& pdu);
  ConnectionError text_response(const ReceivedPdu& pdu, proto::Micros now);
  bool take_text(std::string_view text, bool last);
  bool read_targets(std::string_view text);
  void send_text(std::uint32_t ttt, std::uint64_t lun, std::string_view text);
  void fail(std::string why);

  SessionSettings settings_;
  proto::RandomSource& random_;
  State state_ = State::connecting;
  bool finished_ = false;
  std::string failure_;
  std::string detail_;
  proto::Micros deadline_ = proto::kNever;
  proto::Micros end_ = proto::kNever;  // of all patience
  std::uint32_t cmd_sn_ = 1;
  PduStream stream_;
  std::size_t text_length_ = 0;  // received so far
  std::string unread_;           // a pair of which the end has not come
  std::vector<DiscoveredTarget> targets_;
};

static_assert(proto::StreamEngine<Discovery>);

}  // namespace nbdgw::initiator
