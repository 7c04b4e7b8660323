#pragma once

#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "gateway/http/server.hpp"
#include "gateway/net/listener.hpp"
#include "tests/unit/http/http_client.hpp"

namespace nbdgw::test {

/// An address of this machine, with a port that the system picks; with a path, a UNIX socket.
inline http::HttpAddress local_address(const std::string& path = {}) {
  http::HttpAddress address;
  address.endpoint = {.host = "127.0.0.1", .path = path};
  if (!path.empty()) address.endpoint.kind = config::Endpoint::Kind::unix_socket;
  return address;
}

/// A server with a few handlers: /echo says what it was asked, /later keeps its replies until the test answers them.
class Served {
 public:
  explicit Served(http::HttpLimits limits = {}, const std::string& path = {})
      : Served(limits, std::vector{local_address(path)}) {}
  Served(http::HttpLimits limits, const std::vector<http::HttpAddress>& addresses) {
    router_.add("POST", "/echo", echo);
    router_.add("GET", "/echo", echo);
    router_.add("GET", "/open", echo, http::Access::open);
    router_.add("DELETE", "/nothing", [](const http::Request&, http::Reply reply) {
      reply.send({.status = 204, .content_type = {}, .body = {}, .fields = {}});
    });
    router_.add("GET", "/throws",
                [](const http::Request&, http::Reply) { throw std::runtime_error("of a handler"); });
    router_.add("GET", "/later", [this](const http::Request&, http::Reply reply) {
      const std::lock_guard lock(mutex_);
      replies_.push_back(std::move(reply));
    });
    server = std::make_unique<http::HttpServer>(addresses, router_, net::ListenerSettings{"the test", "its limit"},
                                                limits);
    server->start();
  }

  HttpClient client(std::size_t index = 0) const { return HttpClient(server->port(index)); }
  std::size_t waiting() {
    const std::lock_guard lock(mutex_);
    return replies_.size();
  }
  /// Answers the oldest request for /later, or drops it.
  void answer(bool drop = false) {
    const std::lock_guard lock(mutex_);
    REQUIRE(!replies_.empty());
    http::Reply reply = std::move(replies_.front());
    std::vector<http::Reply> rest;
    for (std::size_t i = 1; i < replies_.size(); ++i) rest.push_back(std::move(replies_[i]));
    replies_.swap(rest);
    if (!drop) reply.send({.status = 200, .content_type = "text/plain", .body = "late", .fields = {}});
  }
  /// What the server has counted, as of when all it had been sent before is done.
  http::HttpCounters counters() {
    std::promise<http::HttpCounters> counters;
    server->postbox()->post([&] { counters.set_value(server->counters()); });
    return counters.get_future().get();
  }

 private:
  static void echo(const http::Request& request, http::Reply reply) {
    reply.send({.status = 200,
                .content_type = "text/plain",
                .body = request.method + " " + request.path + " " + request.query + " " + request.content_type + " " +
                        request.body,
                .fields = {{"X-Test", "yes"}, {"X-Peer", request.peer}}});
  }

  std::mutex mutex_;
  std::vector<http::Reply> replies_;
  http::Router router_;

 public:
  std::unique_ptr<http::HttpServer> server;
};

}  // namespace nbdgw::test
