#pragma once

#include <sys/uio.h>

#include <concepts>
#include <cstddef>
#include <span>

#include "proto/time.hpp"

/// What a pure engine and the shell that drives it agree on: an engine knows bytes and time, a shell sockets and
/// clocks.
namespace nbdgw::proto {

/// Entries that a shell offers to rx_buffers(): enough for 1 MiB of payload in 64 KiB blocks, and for headers around
/// it.
inline constexpr std::size_t kRxIovecs = 64;
/// Entries that it offers to tx_buffers(): what sendmsg(2) takes at once (UIO_MAXIOV).
inline constexpr std::size_t kTxIovecs = 1024;

/// Takes what a peer sends. `rx_buffers()` says where the next bytes shall go (entries filled; 0: none are wanted
/// now), `on_received()` that so many have come, into those entries in order.
template <typename Engine>
concept ReceivingEngine = requires(Engine& engine, std::span<iovec> room, std::size_t bytes, Micros now) {
  { engine.rx_buffers(room) } -> std::same_as<std::size_t>;
  { engine.on_received(bytes, now) } -> std::same_as<void>;
};

/// Has something for its peer. What is to be sent is pulled, so that many messages leave at once: `tx_buffers()`
/// shows it (entries filled; 0: nothing now), valid until `on_sent()` tells that so many bytes have left.
template <typename Engine>
concept SendingEngine = requires(Engine& engine, std::span<iovec> out, std::size_t bytes, Micros now) {
  { engine.tx_buffers(out) } -> std::same_as<std::size_t>;
  { engine.on_sent(bytes, now) } -> std::same_as<void>;
};

/// Acts when time passes: at next_deadline() (kNever: not by itself) it wants on_deadline().
template <typename Engine>
concept TimedEngine = requires(Engine& engine, const Engine& asked, Micros now) {
  { asked.next_deadline() } -> std::same_as<Micros>;
  { engine.on_deadline(now) } -> std::same_as<void>;
};

/// One end of a connection.
template <typename Engine>
concept StreamEngine = ReceivingEngine<Engine> && SendingEngine<Engine> && TimedEngine<Engine>;

}  // namespace nbdgw::proto
