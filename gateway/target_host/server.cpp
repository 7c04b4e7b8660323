#include "gateway/target_host/server.hpp"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "gateway/net/clock.hpp"
#include "gateway/net/log.hpp"
#include "gateway/net/tcp_options.hpp"
#include "gateway/target_host/client.hpp"

namespace nbdgw::target_host {

namespace {

iscsi_target::ServerOptions checked(const iscsi_target::ServerOptions& options) {
  if (const std::string wrong = iscsi_target::check_options(options); !wrong.empty()) throw TargetError(wrong);
  return options;
}

std::string local_address(int fd) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) return "unknown address";
  return net::address_text(reinterpret_cast<sockaddr*>(&address), length);
}

}  // namespace

void TargetServer::Acceptor::on_ready(std::uint32_t, proto::Micros now) {
  owner_.accept_some(*this, now);
}

bool TargetServer::Acceptor::watch() noexcept {
  return owner_.poller_.add(listener_.get(), EPOLLIN, *this);
}

void TargetServer::Acceptor::unwatch() noexcept {
  owner_.poller_.remove(listener_.get());
}

TargetServer::TargetServer(TargetServerOptions options)
    : options_(std::move(options)),
      faults_(options_.faults ? std::make_optional<iscsi_target::Faults>() : std::nullopt),
      server_(checked(options_.target), random_, faults_ ? &*faults_ : nullptr),
      mailbox_(poller_) {
  if (faults_) faults_->bind(server_);
  const auto listen = [this](const std::string& host, std::uint16_t port) {
    acceptors_.push_back(std::make_unique<Acceptor>(*this, static_cast<std::uint16_t>(acceptors_.size())));
    acceptors_.back()->listen(host, port);
  };
  listen(options_.host, options_.port);
  for (const auto& [host, port] : options_.more) listen(host, port);
  address_ = acceptors_.front()->address();
  port_ = static_cast<std::uint16_t>(std::stoul(address_.substr(address_.rfind(':') + 1)));
}

std::vector<std::string> TargetServer::addresses() const {
  std::vector<std::string> all;
  for (const auto& each : acceptors_) all.push_back(each->address());
  return all;
}

TargetServer::~TargetServer() {
  stop();
  for (auto& [connection, client] : clients_) client->close(net::steady_now());
}

void TargetServer::Acceptor::listen(const std::string& host, std::uint16_t port) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const std::string where = host + " port " + std::to_string(port);
  if (const int error = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found); error != 0)
    throw TargetError("cannot listen on " + where + ": " + ::gai_strerror(error));
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> addresses(found, &::freeaddrinfo);
  int error = 0;
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    net::UniqueFd fd(::socket(each->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, each->ai_protocol));
    const int on = 1;
    if (fd) ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (!fd || ::bind(fd.get(), each->ai_addr, each->ai_addrlen) != 0 || ::listen(fd.get(), SOMAXCONN) != 0) {
      error = errno;
      continue;
    }
    listener_ = std::move(fd);
    break;
  }
  if (!listener_)
    throw TargetError("cannot listen on " + where + ": " + net::error_text(error) +
                      (error == EADDRINUSE ? "; another program has the port" : ""));
  net::set_options_to_listen(listener_.get());
  address_ = local_address(listener_.get());
}

void TargetServer::start() {
  for (const auto& each : acceptors_)
    if (!each->watch()) throw std::system_error(errno, std::system_category(), "cannot wait for initiators");
  thread_ = std::thread([this] { run(); });
}

void TargetServer::stop() {
  if (!thread_.joinable()) return;
  mailbox_.post([this](proto::Micros now) { begin_stop(now); });
  thread_.join();
}

void TargetServer::run() {
  while (!stopping_ || !clients_.empty()) {
    const proto::Micros deadline = next_deadline();
    const auto events = poller_.wait(deadline == proto::kNever ? proto::kNever : deadline - net::steady_now());
    const proto::Micros now = net::steady_now();
    for (const epoll_event& event : events) static_cast<net::Watcher*>(event.data.ptr)->on_ready(event.events, now);
    deadlines(now);
    settle(now);
    if (now >= stop_at_) break;
  }
}

void TargetServer::begin_stop(proto::Micros now) {
  if (stopping_) return;
  stopping_ = true;
  stop_at_ = now + kStopLimit;
  for (const auto& each : acceptors_) {
    if (accept_again_at_ == proto::kNever) each->unwatch();
    each->close();
  }
  accept_again_at_ = proto::kNever;
  server_.shut_down(now);
}

// ---- accepting
// ------------------------------------------------------------------------------------------------------

void TargetServer::accept_some(const Acceptor& from, proto::Micros now) {
  while (!stopping_) {
    net::UniqueFd fd(::accept4(from.listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (fd) {
      add_client(std::move(fd), from.portal_, now);
      continue;
    }
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      const int error = errno;
      net::log::folded({"accept"}, {}, net::log::Level::warn,
                       "target: cannot take in initiators: {}; raise the limit of open files (ulimit -n)",
                       net::error_text(error));
      return pause_accepting(now + kAcceptPause);
    }
    // Whoever left before being taken in is none of our troubles.
    if (errno == EINTR || errno == ECONNABORTED) continue;
    return;
  }
}

void TargetServer::pause_accepting(proto::Micros until) {
  for (const auto& each : acceptors_) each->unwatch();
  accept_again_at_ = until;
}

void TargetServer::add_client(net::UniqueFd fd, std::uint16_t portal, proto::Micros now) {
  if (clients_.size() >= kMaxConnections) {
    net::log::folded({"turned_away"}, {}, net::log::Level::warn,
                     "target: {} is turned away: there are {} connections already", net::peer_text(fd.get()),
                     kMaxConnections);
    return;
  }
  net::set_tcp_options(fd.get());
  std::string address = local_address(fd.get());
  auto client = std::make_unique<TargetClient>(server_, std::move(fd), std::move(address), portal, now);
  if (!client->watch(poller_)) {
    net::log::warn({}, "target: cannot wait for an initiator's bytes: {}", net::error_text(errno));
    client->close(now);
    return;
  }
  const iscsi_target::Connection* key = &client->engine();
  client->stand_still(key->is_frozen(), poller_);
  clients_.emplace(key, std::move(client));
}

// ---- the end of a turn
// ----------------------------------------------------------------------------------------------

void TargetServer::deadlines(proto::Micros now) {
  if (now >= accept_again_at_) {
    bool all = true;
    for (const auto& each : acceptors_) all = each->watch() && all;
    accept_again_at_ = proto::kNever;
    if (!all) pause_accepting(now + kAcceptPause);
  }
  for (auto& [connection, client] : clients_)
    if (now >= client->engine().next_deadline()) client->engine().on_deadline(now);
  if (faults_) faults_->on_deadline(now);
}

/// Sends what became ready, wherever, and closes what is over, until nothing moves.
void TargetServer::settle(proto::Micros now) {
  for (;;) {
    while (iscsi_target::Connection* ready = server_.take_ready()) {
      TargetClient& client = *clients_.at(ready);
      client.stand_still(ready->is_frozen(), poller_);
      client.pump(now);
    }
    std::vector<iscsi_target::Connection*> over;
    for (auto& [connection, client] : clients_)
      if (client->is_over()) over.push_back(&client->engine());
    if (over.empty()) return;
    for (iscsi_target::Connection* connection : over) drop(*connection, now);
  }
}

const std::string& TargetServer::peer_of(const iscsi_target::Connection& connection) const {
  return clients_.at(&connection)->peer();
}

void TargetServer::drop(iscsi_target::Connection& connection, proto::Micros now) {
  const auto found = clients_.find(&connection);
  found->second->close(now);
  clients_.erase(found);
}

proto::Micros TargetServer::next_deadline() const noexcept {
  proto::Micros next = std::min(accept_again_at_, stop_at_);
  if (faults_) next = std::min(next, faults_->next_deadline());
  for (const auto& [connection, client] : clients_) next = std::min(next, client->engine().next_deadline());
  return next;
}

}  // namespace nbdgw::target_host
