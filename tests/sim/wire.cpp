#include <cerrno>
#include <utility>

#include "tests/sim/network.hpp"
#include "tests/sim/socket.hpp"

namespace nbdgw::sim {
namespace {

/// When TCP gives up a host that has vanished: after its keepalives, or after sending the same data again and again.
constexpr Micros kKeepAliveLimit = 120 * proto::kSecond;
constexpr Micros kRetransmitLimit = 924 * proto::kSecond;
/// What a model leaves behind on a path that stands still arrives when that goes on.
constexpr Micros kStallLeft = 10 * proto::kSecond;

}  // namespace

std::string Wire::state() const {
  std::string text = "connection " + std::to_string(id()) + (socket_.fd < 0 ? ", which the gateway has closed" : "");
  text += ", " + std::to_string(socket_.in.held()) + " bytes to the gateway (" +
          std::to_string(socket_.in.arrived()) + " there, of " + std::to_string(socket_.low_water) + " wanted), " +
          std::to_string(socket_.out.held()) + " from it";
  if (socket_.fd >= 0 && (socket_.interest & EPOLLIN) == 0) text += ", from which the gateway reads nothing";
  if (!socket_.reads) text += ", from which the client reads nothing";
  if (socket_.stalled) text += ", stands still";
  if (socket_.vanished) text += ", vanished";
  return text;
}

std::uint64_t Wire::id() const noexcept {
  return socket_.id;
}

std::size_t Wire::backlog() const noexcept {
  return socket_.in.held();
}

void Wire::send(Bytes bytes) {
  const Piece piece(bytes);
  send(std::span(&piece, 1));
}

void Wire::send(std::span<const Piece> pieces) {
  std::size_t bytes = 0;
  for (const Piece& piece : pieces) bytes += piece.size();
  if (bytes == 0 || socket_.in_end || socket_.vanished) return;
  if (socket_.fd < 0) {  // the gateway has closed it: its TCP answers with a reset
    network_.plan_model_reset(socket_);
    return;
  }
  if (socket_.state == Socket::State::dead) return;
  for (const Piece& piece : pieces) socket_.in.put(piece);
  socket_.in.end_of_put();
  network_.plan_arrivals(socket_, true, bytes);
}

void Wire::read(bool on) {
  socket_.reads = on;
  if (on) network_.plan_delivery(socket_);
}

void Wire::half_close() {
  if (std::exchange(socket_.in_end, true)) return;
  network_.plan_end(socket_, true);
}

void Wire::close() {
  half_close();
  Socket& socket = socket_;  // this goes with it
  socket.peer = nullptr;
  if (socket.stalled) {
    network_.timeline_.after(kStallLeft, [&network = network_, id = socket.id] {
      Socket* const again = network.find_id(id);
      if (again != nullptr) again->wire->stall(false);
    });
  }
  network_.deliver(socket);
}

void Wire::reset() {
  Socket& socket = socket_;
  socket.peer = nullptr;
  network_.plan_gateway_reset(socket, ECONNRESET, socket.habits.delay);
  network_.release(socket);
}

void Wire::vanish() {
  Socket& socket = socket_;
  socket.peer = nullptr;
  socket.vanished = true;
  network_.plan_gateway_reset(socket, ETIMEDOUT, socket.out.held() > 0 ? kRetransmitLimit : kKeepAliveLimit);
  network_.release(socket);
}

void Wire::stall(bool yes) {
  Socket& socket = socket_;
  if (std::exchange(socket.stalled, yes) == yes || yes) return;
  const std::size_t in = std::exchange(socket.in_owed, 0);
  const std::size_t out = std::exchange(socket.out_owed, 0);
  if (in > 0) network_.plan_owed(socket, true, in);
  if (out > 0) network_.plan_owed(socket, false, out);
  if (std::exchange(socket.in_end_owed, false)) network_.plan_end(socket, true);
  if (std::exchange(socket.out_end_owed, false)) network_.plan_end(socket, false);
}

}  // namespace nbdgw::sim
