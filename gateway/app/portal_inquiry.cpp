#include "gateway/app/portal_inquiry.hpp"

#include <netdb.h>

#include <cstring>

#include "gateway/net/clock.hpp"

namespace nbdgw::app {

using net::PortalSocket;
using net::Transfer;

PortalInquiry::PortalInquiry(const initiator::SessionSettings& settings)
    : portal_(settings.portals.front()),
      connect_timeout_(settings.login_timeout),
      socket_(poller_, *this, 0),
      discovery_(settings, random_) {}

std::string PortalInquiry::run() {
  const proto::Micros connect_deadline = net::steady_now() + connect_timeout_;
  socket_.connect(portal_.host, portal_.port);
  if (socket_.wants_addresses()) look_up();
  while (!discovery_.finished()) {
    const proto::Micros now = net::steady_now();
    if (socket_.failed()) {
      discovery_.on_disconnected(socket_.failure(), now);
    } else if (!told_connected_ && now >= connect_deadline) {
      discovery_.on_disconnected("no connection in time", now);
    } else if (now >= discovery_.next_deadline()) {
      discovery_.on_deadline(now);
    } else {
      send(now);
      const proto::Micros until = told_connected_ ? discovery_.next_deadline() : connect_deadline;
      if (socket_.failed() || discovery_.finished()) continue;
      for (const epoll_event& event : poller_.wait(until - now)) {
        static_cast<net::Watcher*>(event.data.ptr)->on_ready(event.events, net::steady_now());
      }
    }
  }
  return discovery_.failure();
}

void PortalInquiry::on_portal_socket(PortalSocket& socket, proto::Micros now) {
  if (socket.state() != PortalSocket::State::connected) return;
  if (!told_connected_) {
    told_connected_ = true;
    discovery_.on_connected(now);
    return;
  }
  const Transfer result = socket.socket().receive(discovery_, now);
  if (result == Transfer::ended) socket.fail("closed by the portal");
  if (result == Transfer::failed) socket.fail(socket.socket().error_text());
}

void PortalInquiry::send(proto::Micros now) {
  if (!told_connected_ || !discovery_.wants_tx()) return;
  if (socket_.socket().send(discovery_, now) == Transfer::failed) socket_.fail(socket_.socket().error_text());
}

void PortalInquiry::look_up() {
  addrinfo wanted{};
  wanted.ai_socktype = SOCK_STREAM;
  wanted.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error = ::getaddrinfo(portal_.host.c_str(), std::to_string(portal_.port).c_str(), &wanted, &found);
  std::vector<net::Address> addresses;
  for (const addrinfo* entry = error == 0 ? found : nullptr; entry != nullptr; entry = entry->ai_next) {
    net::Address address;
    std::memcpy(&address.storage, entry->ai_addr, entry->ai_addrlen);
    address.length = entry->ai_addrlen;
    addresses.push_back(address);
  }
  if (error == 0) ::freeaddrinfo(found);
  socket_.on_resolved(socket_.attempt(), std::move(addresses), error == 0 ? "" : ::gai_strerror(error));
}

}  // namespace nbdgw::app
