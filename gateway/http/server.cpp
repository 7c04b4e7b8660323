#include "gateway/http/server.hpp"

#include <pthread.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>

#include "gateway/http/connection.hpp"
#include "gateway/net/clock.hpp"
#include "gateway/net/log.hpp"

namespace nbdgw::http {

namespace {

/// Clients accepted before those that are there get their turn: far fewer than there are places for newcomers, so
/// that none of them loses its place before what it has sent is looked at.
constexpr int kAcceptsPerTurn = 8;
/// That places are short is logged this often at most.
constexpr proto::Micros kShortageLogInterval = 60 * proto::kSecond;

net::ListenerSettings with_few_accepts(net::ListenerSettings settings) {
  settings.accepts_per_turn = kAcceptsPerTurn;
  return settings;
}

}  // namespace

const char* to_string(Intrusion why) noexcept {
  switch (why) {
    case Intrusion::tls:
      return "tls";
    case Intrusion::no_token:
      return "no_token";
    case Intrusion::wrong_token:
      return "wrong_token";
    case Intrusion::bad_host:
      return "bad_host";
  }
  return "?";
}

void HttpPostbox::post(std::function<void()> work) {
  const std::lock_guard lock(mutex_);
  if (io_ != nullptr) boost::asio::post(*io_, std::move(work));
}

void HttpPostbox::post_after(proto::Micros delay, std::function<void()> work) {
  const std::lock_guard lock(mutex_);
  if (io_ == nullptr) return;
  boost::asio::post(*io_, [io = io_, delay, work = std::move(work)]() mutable {
    auto timer = std::make_shared<boost::asio::steady_timer>(*io, std::chrono::microseconds(delay));
    timer->async_wait([timer, work = std::move(work)](const boost::system::error_code& cancelled) {
      if (!cancelled) work();
    });
  });
}

void HttpPostbox::close() noexcept {
  const std::lock_guard lock(mutex_);
  io_ = nullptr;
}

struct HttpServer::Door {
  Door(HttpServer& server, const HttpAddress& what, net::ConnectionLimit& limit)
      : address(std::make_shared<HttpAddress>(what)),
        places(limit),
        listener(
            server.io_, what.endpoint, limit,
            [this, &server](net::UniqueFd fd, net::ConnectionLimit::Ticket ticket) {
              server.take(*this, std::move(fd), std::move(ticket));
            },
            with_few_accepts(server.settings_), what.inherited ? std::move(*what.inherited) : net::UniqueFd()) {}

  std::string text() const {
    const std::string& where = listener.address();
    if (!where.starts_with("tcp://")) return where;
    return (address->tls ? "https://" : "http://") + where.substr(6);
  }

  const std::shared_ptr<HttpAddress> address;  // shared with its clients
  net::ConnectionLimit& places;
  net::Listener listener;
  std::vector<std::weak_ptr<HttpConnection>> clients;
  proto::Micros shortage_logged_at = -kShortageLogInterval;
};

HttpServer::HttpServer(const std::vector<HttpAddress>& addresses, const Router& router,
                       net::ListenerSettings settings, HttpLimits limits)
    : limits_(limits), router_(router), settings_(settings), postbox_(std::make_shared<HttpPostbox>(io_)) {
  for (const HttpAddress& each : addresses) {
    // One place more than there are: a newcomer has it until it is decided who must go.
    net::ConnectionLimit& places = places_.emplace_back(limits.connections + 1);
    doors_.push_back(std::make_unique<Door>(*this, each, places));
  }
}

HttpServer::~HttpServer() {
  stop();
}

void HttpServer::start() {
  for (const auto& door : doors_) door->listener.start();
  thread_ = std::thread([this] {
    ::pthread_setname_np(::pthread_self(), "admin");
    io_.run();
  });
}

void HttpServer::take(Door& door, net::UniqueFd fd, net::ConnectionLimit::Ticket ticket) {
  std::erase_if(door.clients, [](const auto& client) { return client.expired(); });
  if (door.places.taken() > limits_.connections && !make_room(door)) {
    ++counters_.turned_away;
    return;
  }
  const auto client = std::make_shared<HttpConnection>(
      io_, std::move(fd), std::move(ticket), door.address,
      HttpSurroundings{.limits = limits_, .router = router_, .postbox = postbox_, .counters = counters_});
  door.clients.push_back(client);
  client->start();
}

/// Ends the client that has kept us waiting longest. Half of the places are for those that have shown that they mean
/// it: they must go only when newcomers, of whom many may be nobody, have no more than the other half. False: every
/// client waits for us.
bool HttpServer::make_room(Door& door) {
  std::shared_ptr<HttpConnection> oldest[2];  // by whether it is proven
  std::size_t newcomers = 0;
  for (const auto& each : door.clients) {
    const auto client = each.lock();
    if (!client) continue;
    if (!client->is_proven()) ++newcomers;
    auto& found = oldest[client->is_proven()];
    if (client->keeps_us_waiting() && (!found || client->waiting_since() < found->waiting_since())) found = client;
  }
  const bool protect = newcomers * 2 >= limits_.connections;
  const auto& victim = oldest[!protect] ? oldest[!protect] : oldest[protect];
  if (const proto::Micros now = net::steady_now(); now - door.shortage_logged_at >= kShortageLogInterval) {
    door.shortage_logged_at = now;
    net::log::warn({}, "{}: all {} places are taken ({}): {}; {} have lost theirs so far, {} got none", door.text(),
                   limits_.connections, settings_.limit,
                   victim ? "the client that has been silent longest must go" : "a newcomer is sent away",
                   counters_.evicted, counters_.turned_away);
  }
  if (!victim) return false;
  ++counters_.evicted;
  victim->close();
  // It lives until what was under way on it has ended, but its place is gone: it is no victim again.
  std::erase_if(door.clients, [&](const auto& client) { return client.lock() == victim; });
  return true;
}

std::function<void()> HttpServer::renewal(std::shared_ptr<boost::asio::ssl::context> tls,
                                          std::shared_ptr<const Token> token) {
  return [this, postbox = postbox_, tls = std::move(tls), token = std::move(token)] {
    postbox->post([this, tls, token] { renew(tls, token); });
  };
}

void HttpServer::renew(const std::shared_ptr<boost::asio::ssl::context>& tls,
                       const std::shared_ptr<const Token>& token) {
  for (const auto& door : doors_) {
    if (door->address->token && token) door->address->token = token;
    if (door->address->tls && tls) renew_tls(*door, tls);
  }
}

/// Who may come in, and whom he finds there, was settled when he connected.
void HttpServer::renew_tls(Door& door, const std::shared_ptr<boost::asio::ssl::context>& tls) {
  door.address->tls = tls;
  for (const auto& each : door.clients) {
    const auto client = each.lock();
    if (client && client->keeps_us_waiting()) client->close();  // the others when they have their answer
  }
}

void HttpServer::stop() {
  postbox_->close();
  if (!thread_.joinable()) return;
  boost::asio::post(io_, [this] {
    for (const auto& door : doors_) {
      door->listener.stop();
      for (const auto& each : door->clients)
        if (const auto client = each.lock()) client->close();
    }
    io_.stop();
  });
  thread_.join();
}

std::vector<std::string> HttpServer::addresses() const {
  std::vector<std::string> texts;
  for (const auto& door : doors_) texts.push_back(door->text());
  return texts;
}

std::uint16_t HttpServer::port(std::size_t index) const {
  return doors_.at(index)->listener.port();
}

std::uint32_t HttpServer::connections() const noexcept {
  std::uint32_t sum = 0;
  for (const net::ConnectionLimit& each : places_) sum += each.taken();
  return sum;
}

}  // namespace nbdgw::http
