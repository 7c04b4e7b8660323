#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tests/sim/network.hpp"

namespace nbdgw::sim {

/// What a client wants of a connection.
struct LinkWishes {
  std::string exported;
  bool structured = false;  // replies
};

/// The commands and flags of NBD_REQUESTs (NBD protocol, "Request types").
enum class NbdCommand : std::uint16_t {
  read = 0,
  write = 1,
  disc = 2,
  flush = 3,
  trim = 4,
  cache = 5,
  write_zeroes = 6
};
inline constexpr std::uint16_t kFua = 1;

inline constexpr std::uint64_t kFromStart = ~std::uint64_t{0};

class NbdLink;

/// Who makes requests on links. Called from NbdLink::on_bytes(); must not destroy the link there.
class LinkOwner {
 public:
  /// The handshake is over: the export's size and transmission flags.
  virtual void on_attached(NbdLink& link, std::uint64_t size, std::uint16_t flags) = 0;
  /// Where the data of a READ's answer goes that is about to come: `length` bytes from that offset of the disk on, or
  /// (kFromStart) from the beginning of the request. Empty
  /// memory: nobody has asked for that.
  virtual Place data_of(NbdLink& link, std::uint64_t cookie, std::uint64_t offset, std::uint32_t length) = 0;
  /// A READ's answer has no data (a hole): zeroes.
  virtual void on_hole(NbdLink& link, std::uint64_t cookie, std::uint64_t offset, std::uint32_t length) = 0;
  /// The answer is complete. For simple replies it is asked first how much data follows (read_length()).
  virtual void on_reply(NbdLink& link, std::uint64_t cookie, std::uint32_t error) = 0;
  virtual std::uint32_t read_length(NbdLink& link, std::uint64_t cookie) = 0;
  /// It is no more: nothing more comes. The owner may destroy it later.
  virtual void on_lost(NbdLink& link, const std::string& why, bool by_gateway) = 0;
  /// The gateway has broken the protocol.
  virtual void on_nonsense(NbdLink& link, const std::string& what) = 0;

 protected:
  ~LinkOwner() = default;
};

/// A client's connection: handshake and framing (NBD protocol, fixed newstyle), nothing else.
class NbdLink final : public Peer {
 public:
  enum class State : std::uint8_t { greeting, options, attached, lost };

  NbdLink(LinkOwner& owner, LinkWishes wishes) : owner_(owner), wishes_(std::move(wishes)) {}
  /// Its end of the connection, right after it was made.
  void set_wire(Wire& wire) noexcept {
    wire_ = &wire;
    id_ = wire.id();
  }
  /// It has stood still: the gateway may have cut it off, in the middle of a message, too.
  void may_be_cut_off() noexcept { may_be_cut_off_ = true; }
  /// A number that no other connection has.
  std::uint64_t id() const noexcept { return id_; }

  State state() const noexcept { return state_; }
  /// Null once it is lost.
  Wire* wire() noexcept { return wire_; }

  void request(NbdCommand command, std::uint16_t flags, std::uint64_t cookie, std::uint64_t offset,
               std::uint32_t length, const Piece& payload = {});
  /// Ends it from here.
  enum class Goodbye : std::uint8_t { disconnect, close, reset, vanish };
  void drop(Goodbye how);

  void on_bytes(Wire& wire, const Piece& bytes, bool more) override;
  void on_end(Wire& wire, End how) override;

 private:
  void lose(const std::string& why, bool by_gateway);
  void nonsense(const std::string& what);
  std::size_t wanted() const noexcept;
  void on_header();
  void on_greeting();
  void on_option_reply();
  void on_option_body();
  void on_reply_header();
  void on_simple_reply();
  void on_chunk();
  void on_chunk_body();
  void end_of_data();
  void send_option(std::uint32_t option, std::span<const std::uint8_t> body);
  void ask_for_export();

  LinkOwner& owner_;
  const LinkWishes wishes_;
  Wire* wire_ = nullptr;
  std::uint64_t id_ = 0;
  bool may_be_cut_off_ = false;
  State state_ = State::greeting;

  ByteBuffer header_;     // what has come of the next header, or small body
  std::size_t body_ = 0;  // bytes of the body that follows the header in header_
  std::uint64_t size_ = 0;
  std::uint16_t flags_ = 0;

  // Of the answer that is coming in.
  Place data_;  // what is left to be filled
  std::uint64_t cookie_ = 0;
  std::uint32_t error_ = 0;
  bool last_ = true;
  std::vector<std::uint8_t> scratch_;  // of requests that are sent
};

}  // namespace nbdgw::sim
