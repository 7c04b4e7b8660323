#include "gateway/admin/http_server.hpp"

#include <boost/asio/post.hpp>

#include "gateway/admin/http_connection.hpp"

namespace nbdgw::admin {

void HttpPostbox::post(std::function<void()> work) {
  const std::lock_guard lock(mutex_);
  if (io_ != nullptr) boost::asio::post(*io_, std::move(work));
}

void HttpPostbox::close() noexcept {
  const std::lock_guard lock(mutex_);
  io_ = nullptr;
}

HttpServer::HttpServer(const config::Endpoint& endpoint, const Router& router, net::ListenerSettings settings,
                       HttpLimits limits)
    : limits_(limits),
      router_(router),
      limit_(limits.connections),
      postbox_(std::make_shared<HttpPostbox>(io_)),
      listener_(
          io_, endpoint, limit_,
          [this](net::UniqueFd fd, net::ConnectionLimit::Ticket ticket) { take(std::move(fd), std::move(ticket)); },
          settings) {}

HttpServer::~HttpServer() {
  stop();
}

void HttpServer::start() {
  listener_.start();
  thread_ = std::thread([this] { io_.run(); });
}

void HttpServer::take(net::UniqueFd fd, net::ConnectionLimit::Ticket ticket) {
  std::erase_if(clients_, [](const auto& client) { return client.expired(); });
  const auto client =
      std::make_shared<HttpConnection>(io_, std::move(fd), std::move(ticket), limits_, router_, postbox_);
  clients_.push_back(client);
  client->start();
}

void HttpServer::stop() {
  postbox_->close();
  if (!thread_.joinable()) return;
  boost::asio::post(io_, [this] {
    listener_.stop();
    for (const auto& each : clients_)
      if (const auto client = each.lock()) client->close();
    io_.stop();
  });
  thread_.join();
}

std::string HttpServer::address() const {
  const std::string& address = listener_.address();
  return address.starts_with("tcp://") ? "http://" + address.substr(6) : address;
}

}  // namespace nbdgw::admin
