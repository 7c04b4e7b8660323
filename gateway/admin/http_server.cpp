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
          [this](net::UniqueFd fd, net::ConnectionLimit::Ticket ticket) {
            std::make_shared<HttpConnection>(io_, std::move(fd), std::move(ticket), limits_, router_, postbox_)
                ->start();
          },
          settings) {}

HttpServer::~HttpServer() {
  stop();
}

void HttpServer::start() {
  listener_.start();
  thread_ = std::thread([this] { io_.run(); });
}

void HttpServer::stop() {
  postbox_->close();
  if (!thread_.joinable()) return;
  io_.stop();
  thread_.join();
  listener_.stop();
}

std::string HttpServer::address() const {
  const std::string& address = listener_.address();
  return address.starts_with("tcp://") ? "http://" + address.substr(6) : address;
}

}  // namespace nbdgw::admin
