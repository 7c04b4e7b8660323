#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "config/model.hpp"
#include "gateway/attach/block_device.hpp"
#include "gateway/attach/dial.hpp"
#include "gateway/attach/link_watch.hpp"
#include "gateway/attach/nbd_control.hpp"
#include "gateway/attach/policy.hpp"
#include "gateway/attach/record.hpp"

namespace nbdgw::attach {

/// How often a gateway that answers is asked whether the disk has grown.
inline constexpr proto::Micros kAskInterval = 10 * proto::kSecond;
/// How long a connection may take to be made.
inline constexpr proto::Micros kConnectLimit = 3 * proto::kSecond;
/// A device that somebody else detaches looks like one whose connection has died, for a moment. Who resumes then is
/// taken by the gateway for one that has come from elsewhere.
inline constexpr proto::Micros kDetachSeen = 100 * proto::kMillisecond;
/// And the handshake: a gateway that was just started lets a client wait for its target, 10 s by itself. Who says
/// nothing for longer may be something else that has taken the connection, and will never say anything.
inline constexpr proto::Micros kHandshakeLimit = 30 * proto::kSecond;

/// Where an export is to be had.
struct Source {
  std::vector<config::Endpoint> addresses;  // tried in turn
  std::string exported;
};

/// Keeps a device of the kernel's NBD driver connected, whatever becomes of the gateway: when its connection dies, it
/// makes another one, looks whether the same disk is there, and hands it to the kernel, which sends again what was
/// not answered. Everything on the thread that runs `io`.
class Keeper {
 public:
  /// `link`: the socket that the kernel was given; or nothing is known of it, after a death of the keeper before.
  Keeper(boost::asio::io_context& io, NbdControl& control, BlockDevice device, Source source, RecordFile& file,
         Record record, LinkWatch link);

  /// Until it is cancelled, or somebody else has detached the device.
  boost::asio::awaitable<void> keep();

  LinkWatch& link() noexcept { return link_; }

 private:
  boost::asio::awaitable<void> wait_for_death();
  boost::asio::awaitable<void> bring_back();
  boost::asio::awaitable<void> ask_for_growth();
  boost::asio::awaitable<void> sleep_until(proto::Micros at);
  bool offer(CallResult reply);
  bool hand_over(int socket, std::uint64_t size);
  void take_size(std::uint64_t size);
  void complain(const std::string& what);
  bool detached() const;
  const config::Endpoint& next_address() noexcept;

  boost::asio::io_context& io_;
  NbdControl& control_;
  const BlockDevice device_;
  const Source source_;
  RecordFile& file_;
  Record record_;
  LinkWatch link_;
  boost::asio::posix::stream_descriptor news_;  // of the driver
  OfferTimes offers_;
  std::size_t at_ = 0;  // of the addresses, the last one that was tried
  std::size_t next_at_ = 0;
  std::string complained_;  // of what, last
  bool known_dead_ = false;
};

/// What a device is called in the kernel: the export, and the disk behind it.
std::string kernel_identity(const Record& record);
/// The export in such a name; empty: it is none.
std::string export_of(const std::string& kernel_identity);

}  // namespace nbdgw::attach
