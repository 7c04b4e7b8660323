#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "gateway/nbd/backend.hpp"
#include "gateway/nbd/close_reason.hpp"
#include "gateway/nbd/counters.hpp"
#include "gateway/nbd/directory.hpp"
#include "proto/nbd/constants.hpp"
#include "proto/nbd/option_payload.hpp"
#include "proto/time.hpp"

namespace nbdgw::nbd {

/// Longest option data that is taken; a longer option costs the connection. Enough for a name of 4096 bytes and every
/// query that makes sense.
inline constexpr std::uint32_t kMaxOptionLength = 64 * 1024;

/// Options that one handshake may have, beside one for each export in the directory.
inline constexpr std::size_t kMaxOptions = 32;

/// Replies that may wait for a client that does not read, in bytes: beyond it the next option is not looked at.
inline constexpr std::size_t kMaxHandshakeBacklog = 64 * 1024;

/// The fixed newstyle handshake of a server (NBD protocol, "Newstyle negotiation"), as a step machine: takes whole
/// messages, appends what is to be sent to a string, and stops where an export is named until it is told about it.
class Handshake {
 public:
  enum class State : std::uint8_t {
    client_flags,
    options,
    waiting_for_export,
    done,     // an export is chosen: the transmission begins
    closing,  // flush the output and close: see close_reason()
  };

  /// Appends the greeting to `output`, which must outlive the object.
  Handshake(ExportDirectoryPtr directory, std::string& output, Counters& counters, proto::Micros timeout,
            proto::Micros now);

  State state() const noexcept { return state_; }
  CloseReason close_reason() const noexcept { return close_reason_; }
  /// Structured replies were negotiated.
  bool structured() const noexcept { return structured_; }
  /// What the client has said of itself.
  const Attaching& client() const noexcept { return client_; }

  /// Takes one message from the front of `bytes`. Returns its length, or 0 if more bytes, or another event, are
  /// needed.
  std::size_t consume(std::span<const std::uint8_t> bytes, proto::Micros now);

  std::optional<std::string_view> wants_export() const noexcept;
  void export_found(const ExportInfo& info, proto::Micros now);
  void export_unknown(std::string_view text, proto::Micros now);
  void export_shut(std::string_view text, proto::Micros now);
  void export_waiting(std::string_view text);

  /// From now on every option but ABORT gets ERR_SHUTDOWN.
  void begin_drain(proto::Micros now);

  proto::Micros next_deadline() const noexcept { return deadline_; }
  void on_deadline(proto::Micros now);

 private:
  void enter(State state);
  void close(CloseReason reason);
  std::size_t take_client_flags(std::span<const std::uint8_t> bytes);
  std::size_t take_option(std::span<const std::uint8_t> bytes, proto::Micros now);
  void answer_option(std::span<const std::uint8_t> data, proto::Micros now);
  void answer_list();
  void answer_structured_reply();
  void answer_info_or_go(std::span<const std::uint8_t> data, proto::Micros now);
  void answer_list_meta_context(std::span<const std::uint8_t> data, proto::Micros now);
  void answer_export_name(std::span<const std::uint8_t> data, proto::Micros now);
  void want_export(std::string_view name, proto::Micros now);
  void end_wait(proto::Micros now);
  void refuse_option(proto::nbd::Reply error, CloseReason reason, std::string_view text);
  void send_infos(const ExportInfo& info);
  void send_contexts(const ExportInfo& info);
  void send_export_name_reply(const ExportInfo& info);
  void reply(proto::nbd::Reply type, std::span<const std::uint8_t> data = {});
  void reply_error(proto::nbd::Reply type, std::string_view text);

  ExportDirectoryPtr directory_;
  std::string& output_;
  Counters& counters_;
  const proto::Micros timeout_;
  State state_ = State::client_flags;
  CloseReason close_reason_ = CloseReason::none;
  bool fixed_newstyle_ = false;
  bool no_zeroes_ = false;
  bool structured_ = false;
  bool draining_ = false;
  std::size_t options_left_;
  proto::nbd::Option option_{};           // the one being answered
  proto::nbd::RequestedInfos requested_;  // of INFO or GO
  bool identity_requested_ = false;       // of LIST_META_CONTEXT
  Attaching client_;
  std::string export_name_;
  std::string waiting_text_;
  proto::Micros wait_began_at_ = 0;
  proto::Micros deadline_;
};

/// The transmission flags that describe an export (NBD protocol, "Transmission flags").
std::uint16_t transmission_flags(const ExportInfo& info, bool structured) noexcept;

}  // namespace nbdgw::nbd
