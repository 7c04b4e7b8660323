#include "tests/sim/network.hpp"

#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "tests/sim/socket.hpp"

namespace nbdgw::sim {
namespace {

/// TCP gives up a connection attempt that nobody answers after so long.
constexpr Micros kSynLimit = 127 * proto::kSecond;

}  // namespace

Network::Network(Timeline& timeline, Random random) : timeline_(timeline), random_(random) {}
Network::~Network() = default;

Socket* Network::find(int fd) noexcept {
  const auto index = static_cast<std::size_t>(fd - kFirstFd);
  return index < by_fd_.size() ? by_fd_[index] : nullptr;
}

Socket* Network::find_id(std::uint64_t id) noexcept {
  const auto found = all_.find(id);
  return found == all_.end() ? nullptr : found->second.get();
}

/// The lowest number that is free, as the kernel does it: a number that was closed comes back at once.
Socket& Network::add(int kind) {
  const std::uint64_t id = next_id_++;
  Socket& socket = *all_.emplace(id, std::make_unique<Socket>(id, static_cast<Socket::Kind>(kind))).first->second;
  socket.habits = habits_;
  if (kind == Socket::tcp && habits_.uneven > 0) {
    socket.in_delay = random_.spread(1, habits_.uneven);
    socket.out_delay = random_.spread(1, habits_.uneven);
  }
  socket.heard_at = timeline_.now();
  const auto free = std::ranges::find(by_fd_, nullptr);
  socket.fd = kFirstFd + static_cast<int>(free - by_fd_.begin());
  if (free == by_fd_.end()) {
    by_fd_.push_back(&socket);
  } else {
    *free = &socket;
  }
  return socket;
}

std::size_t Network::open_descriptors() const noexcept {
  return by_fd_.size() - static_cast<std::size_t>(std::ranges::count(by_fd_, nullptr));
}

bool Network::holds_dead_hosts() const noexcept {
  return std::ranges::any_of(by_fd_, [](const Socket* each) {
    return each != nullptr && each->dialled && each->vanished && each->state == Socket::State::connected &&
           each->out.held() > 0;
  });
}

Network::Dialled Network::dial(Peer& peer, std::size_t room) {
  Socket& socket = add(Socket::tcp);
  socket.dialled = true;
  if (room > 0) socket.habits.room = room;
  socket.state = Socket::State::connected;
  socket.peer = &peer;
  socket.wire.reset(new Wire(*this, socket));
  return {.fd = socket.fd, .wire = socket.wire.get()};
}

// ---- connecting ----

int Network::socket(int type) {
  return add((type & 0xf) == SOCK_STREAM ? Socket::tcp : Socket::datagram).fd;
}

int Network::connect(int fd, const sockaddr* address) {
  Socket& socket = *find(fd);
  if (socket.kind == Socket::datagram) return 0;
  const auto& v4 = *reinterpret_cast<const sockaddr_in*>(address);
  const std::uint32_t ip = ntohl(v4.sin_addr.s_addr);
  std::string text = std::to_string(ip >> 24) + "." + std::to_string((ip >> 16) & 255) + "." +
                     std::to_string((ip >> 8) & 255) + "." + std::to_string(ip & 255) + ":" +
                     std::to_string(ntohs(v4.sin_port));
  socket.state = Socket::State::connecting;
  timeline_.at(arrival(socket, false), [this, id = socket.id, text = std::move(text)] {
    Socket* const again = find_id(id);
    if (again != nullptr && again->fd >= 0) on_syn(*again, text);
  });
  errno = EINPROGRESS;
  return -1;
}

void Network::on_syn(Socket& socket, const std::string& address) {
  const auto found = acceptors_.find(address);
  Acceptor* const acceptor = found == acceptors_.end() ? nullptr : found->second;
  const auto answer = acceptor == nullptr ? Acceptor::Answer::refuse : acceptor->on_connect();
  int error = 0;
  Micros when = arrival(socket, true);
  if (answer == Acceptor::Answer::refuse) error = ECONNREFUSED;
  if (answer == Acceptor::Answer::silence) {
    error = ETIMEDOUT;
    when = timeline_.now() + kSynLimit;
  }
  if (answer == Acceptor::Answer::accept) {
    socket.wire.reset(new Wire(*this, socket));
    socket.peer = &acceptor->on_connected(*socket.wire);
  }
  timeline_.at(when, [this, id = socket.id, error] {
    Socket* const again = find_id(id);
    if (again != nullptr && again->fd >= 0) connect_over(*again, error);
  });
}

void Network::connect_over(Socket& socket, int error) {
  if (socket.state != Socket::State::connecting) return;
  socket.state = error == 0 ? Socket::State::connected : Socket::State::dead;
  socket.error = error;
  socket.heard_at = timeline_.now();
  changed(socket);
}

// ---- bytes on their way ----

/// When what is sent now arrives: never before what was sent earlier.
Micros Network::arrival(Socket& socket, bool inwards) {
  Micros& last = inwards ? socket.in_last : socket.out_last;
  const Micros jitter = socket.habits.jitter == 0 ? 0 : random_.between(0, socket.habits.jitter);
  const Micros delay = socket.habits.delay + (inwards ? socket.in_delay : socket.out_delay);
  last = std::max(last, timeline_.now() + delay + jitter);
  return last;
}

/// Pieces break anywhere. Those that arrive at the same time are one event.
void Network::plan_arrivals(Socket& socket, bool inwards, std::size_t bytes) {
  std::deque<std::size_t>& pieces = inwards ? socket.in_pieces : socket.out_pieces;
  Micros when = 0;
  std::size_t count = 0;
  while (bytes > 0) {
    std::size_t piece = bytes;
    if (piece > socket.habits.piece) piece = 1 + random_.below(socket.habits.piece);
    bytes -= piece;
    Micros& last = inwards ? socket.in_last : socket.out_last;
    last = arrival(socket, inwards) + static_cast<Micros>(piece) * socket.habits.pace / 65536;
    if (count > 0 && last != when) {
      plan_pieces(socket, inwards, when, count);
      count = 0;
    }
    when = last;
    if (count > 0 && inwards) {  // the gateway sees no difference; a model is called for each
      pieces.back() += piece;
      continue;
    }
    pieces.push_back(piece);
    ++count;
  }
  if (count > 0) plan_pieces(socket, inwards, when, count);
}

/// The next so many of them.
void Network::plan_pieces(Socket& socket, bool inwards, Micros when, std::size_t count) {
  timeline_.at(when, [this, id = socket.id, inwards, count] {
    for (std::size_t i = 0; i < count; ++i) {
      Socket* const again = find_id(id);
      if (again == nullptr) return;
      std::deque<std::size_t>& pieces = inwards ? again->in_pieces : again->out_pieces;
      const std::size_t piece = pieces.front();
      pieces.pop_front();
      on_arrival(*again, inwards, piece);
    }
  });
}

void Network::on_arrival(Socket& socket, bool inwards, std::size_t bytes) {
  if (socket.vanished) return;
  Pipe& pipe = inwards ? socket.in : socket.out;
  bytes = std::min(bytes, pipe.held() - pipe.arrived());  // what a reset has cut is not there any more
  if (socket.stalled) {
    (inwards ? socket.in_owed : socket.out_owed) += bytes;
    return;
  }
  socket.heard_at = timeline_.now();
  pipe.arrive(bytes);
  if (inwards) {
    changed(socket);
  } else {
    deliver(socket);
  }
}

void Network::plan_end(Socket& socket, bool inwards) {
  timeline_.at(arrival(socket, inwards), [this, id = socket.id, inwards] {
    Socket* const again = find_id(id);
    if (again != nullptr) on_end_arrival(*again, inwards);
  });
}

void Network::on_end_arrival(Socket& socket, bool inwards) {
  if (socket.vanished) return;
  if (socket.stalled) {
    (inwards ? socket.in_end_owed : socket.out_end_owed) = true;
    return;
  }
  if (inwards) {
    socket.in_ended = true;
    tell_of_end(socket);
    changed(socket);
  } else {
    socket.out_ended = true;
    deliver(socket);
  }
}

/// To the model, as far as it reads.
void Network::deliver(Socket& socket) {
  if (socket.delivering) return;
  if (socket.peer == nullptr) {  // nobody is there: TCP answers for it
    const bool had = socket.out.arrived() > 0;
    socket.out.clear();
    if (had && !socket.stalled) reset_gateway(socket, socket.in_end ? EPIPE : ECONNRESET);
    return release(socket);
  }
  socket.delivering = true;
  for (bool more = false; socket.peer != nullptr && (socket.reads || more) && socket.out.arrived() > 0;) {
    const Piece piece = socket.out.front();
    more = socket.out.front_goes_on();
    socket.peer->on_bytes(*socket.wire, piece, more);
    socket.out.consume(piece.size());
  }
  socket.delivering = false;
  if (socket.peer != nullptr && socket.reads && socket.out_ended && socket.out.held() == 0) {
    socket.out_ended = false;
    socket.peer->on_end(*socket.wire, End::closed);
  }
  if (socket.peer != nullptr && socket.reads && socket.reset_owed) reset_model(socket);
  if (socket.peer == nullptr) socket.out.clear();
  changed(socket);
  release(socket);
}

void Network::plan_owed(Socket& socket, bool inwards, std::size_t bytes) {
  (inwards ? socket.in_pieces : socket.out_pieces).push_back(bytes);
  plan_pieces(socket, inwards, arrival(socket, inwards), 1);
}

void Network::plan_delivery(Socket& socket) {
  timeline_.after(0, [this, id = socket.id] {
    Socket* const again = find_id(id);
    if (again != nullptr) deliver(*again);
  });
}

void Network::plan_gateway_reset(Socket& socket, int error, Micros delay) {
  timeline_.after(delay, [this, id = socket.id, error] {
    Socket* const again = find_id(id);
    if (again != nullptr) reset_gateway(*again, error);
  });
}

void Network::plan_model_reset(Socket& socket) {
  timeline_.at(arrival(socket, false), [this, id = socket.id] {
    Socket* const again = find_id(id);
    if (again == nullptr || again->vanished) return;
    reset_model(*again);
    release(*again);
  });
}

void Network::tell_of_end(const Socket& socket) const {
  if (socket.dialled && on_client_end_) on_client_end_(socket.id);
}

/// The gateway's TCP is told that the connection is no more.
void Network::reset_gateway(Socket& socket, int error) {
  if (socket.state == Socket::State::dead || socket.fd < 0) return;
  socket.state = Socket::State::dead;
  tell_of_end(socket);
  socket.error = error;
  socket.in.cut();
  if (!socket.delivering) socket.out.clear();
  changed(socket);
}

/// The model's TCP is told so.
void Network::reset_model(Socket& socket) {
  if (socket.peer == nullptr) return;
  if (socket.habits.unread_stays && !socket.reads && socket.out.arrived() > 0) {
    socket.reset_owed = true;
    return;
  }
  Peer& peer = *socket.peer;
  socket.peer = nullptr;
  peer.on_end(*socket.wire, End::reset);
}

/// Nobody holds it any more, and nothing of it is on its way.
void Network::release(Socket& socket) {
  if (socket.fd >= 0 || socket.peer != nullptr || socket.delivering) return;
  if (socket.out.held() > 0 && !socket.vanished) return;
  all_.erase(socket.id);
}

}  // namespace nbdgw::sim
