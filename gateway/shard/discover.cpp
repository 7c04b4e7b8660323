#include "gateway/shard/discover.hpp"

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <utility>

#include "gateway/net/clock.hpp"
#include "gateway/net/resolver.hpp"
#include "gateway/net/system_random.hpp"
#include "gateway/shard/portal_socket.hpp"

namespace nbdgw::shard {
namespace {

/// The shell of one discovery session: a poller and a socket of its own, on the caller's thread.
class Discoverer final : private PortalSocket::Owner {
 public:
  explicit Discoverer(const initiator::SessionSettings& settings)
      : settings_(settings), engine_(settings, random_), socket_(poller_, *this, 0) {}

  DiscoverResult run() {
    engine_.setup(net::steady_now());
    connect();
    while (!engine_.finished()) {
      const proto::Micros now = net::steady_now();
      if (socket_.failed()) {
        engine_.on_disconnected(socket_.failure(), now);
        continue;
      }
      if (told_connected_ && engine_.wants_tx() && socket_.socket().send(engine_, now) == net::Transfer::failed) {
        socket_.fail(socket_.socket().error_text());
        continue;
      }
      const proto::Micros deadline = std::min(engine_.next_deadline(), socket_.next_deadline());
      const auto ready = poller_.wait(deadline == proto::kNever ? deadline : deadline - now);
      const proto::Micros woken = net::steady_now();
      for (const epoll_event& event : ready)
        static_cast<net::Watcher*>(event.data.ptr)->on_ready(event.events, woken);
      // What the socket says of its end says more than that the time is over.
      if (!socket_.failed() && woken >= engine_.next_deadline()) engine_.on_deadline(woken);
      socket_.on_deadline(woken);
    }
    if (socket_.leave(false, net::steady_now())) socket_.close_at_the_end();
    return {engine_.targets(), engine_.failure()};
  }

 private:
  void connect() {
    const initiator::Portal& portal = settings_.portals.front();
    socket_.connect({portal}, net::steady_now());
    const auto wanted = socket_.take_lookup();
    if (!wanted) return;
    boost::asio::io_context lookup;
    net::Resolver resolver(lookup);
    resolver.resolve(portal.host, portal.port,
                     [&](const std::vector<net::Address>& addresses, const std::string& error) {
                       socket_.on_resolved(*wanted, addresses, error, net::steady_now());
                     });
    lookup.run();
  }

  void on_portal_socket(PortalSocket& socket, proto::Micros now) override {
    if (socket.state() != PortalSocket::State::connected) return;
    if (!std::exchange(told_connected_, true)) {
      engine_.on_connected(now);
      return;
    }
    const net::Transfer result = socket.socket().receive(engine_, now);
    if (result == net::Transfer::ended) socket.fail("closed by the portal");
    if (result == net::Transfer::failed) socket.fail(socket.socket().error_text());
  }

  const initiator::SessionSettings settings_;
  net::SystemRandom random_;
  initiator::Discovery engine_;
  net::Poller poller_;
  PortalSocket socket_;
  bool told_connected_ = false;
};

}  // namespace

DiscoverResult discover(const initiator::SessionSettings& settings) {
  return Discoverer(settings).run();
}

}  // namespace nbdgw::shard
