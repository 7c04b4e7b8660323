#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "proto/nbd/messages.hpp"

namespace nbdgw::attach {

/// Longest reply to an option that is taken, bytes; whoever sends a longer one is no server for us.
inline constexpr std::size_t kMaxReply = 64 * 1024;

/// What a server tells of an export to who would attach it.
struct Offer {
  std::uint64_t size = 0;  // bytes
  std::uint16_t flags = 0;
  std::uint32_t block = 1;  // smallest length and alignment of a request, bytes
  std::string identity;     // of the disk; empty: the server does not know it
};

/// The client's side of the fixed newstyle handshake (NBD protocol, "Newstyle negotiation"), as the kernel needs it:
/// no structured replies. Takes whole messages, and appends what is to be sent to output().
class Negotiation {
 public:
  enum class Purpose : std::uint8_t {
    go,      // the transmission begins
    resume,  // the same, of an attachment that has lost its connection
    ask,     // about the export, and nothing else
  };
  enum class State : std::uint8_t {
    running,
    agreed,   // offer() is what was told; with `go` the next byte sent is a request
    refused,  // reason() says why. The server is there, and says no, or is none of ours
  };

  /// `token`: by which the attachment is known again; empty, with `ask`: it is none.
  Negotiation(std::string export_name, std::string token, Purpose purpose);

  State state() const noexcept { return state_; }
  const Offer& offer() const noexcept { return offer_; }
  const std::string& reason() const noexcept { return reason_; }
  std::string& output() noexcept { return output_; }

  /// Takes one message from the front of `bytes`. Returns its length, or 0 if more bytes are needed.
  std::size_t consume(std::span<const std::uint8_t> bytes);

 private:
  enum class Step : std::uint8_t { greeting, contexts, infos, farewell };

  std::size_t take_greeting(std::span<const std::uint8_t> bytes);
  std::size_t take_reply(std::span<const std::uint8_t> bytes);
  void on_reply(const proto::nbd::OptionReply& header, std::span<const std::uint8_t> data);
  void on_context(std::span<const std::uint8_t> data);
  void on_info(std::span<const std::uint8_t> data);
  void on_ack();
  void on_error(proto::nbd::Reply type, std::string_view text);
  void ask(proto::nbd::Option option, std::string_view data);
  void ask_for_contexts();
  void ask_for_infos();
  void refuse(std::string reason);

  const std::string export_name_;
  const std::string token_;
  const Purpose purpose_;
  State state_ = State::running;
  Step step_ = Step::greeting;
  proto::nbd::Option asked_{};
  bool told_identity_ = false;
  bool told_size_ = false;
  Offer offer_;
  std::string reason_;
  std::string output_;
};

}  // namespace nbdgw::attach
