// Peers that take a connection and are no NBD server, or none any more.
#include "gateway/attach/dial.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <functional>
#include <string>
#include <thread>

#include <doctest/doctest.h>

#include "gateway/net/unique_fd.hpp"
#include "tests/unit/nbd/wire.hpp"

using namespace nbdgw;
using namespace nbdgw::test;
using attach::Call;
using attach::CallResult;
using attach::Negotiation;

namespace {

constexpr proto::Micros kLimit = 200 * proto::kMillisecond;

/// A listener on a port of its own.
class Listener {
 public:
  Listener() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    REQUIRE(::bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), length) == 0);
    REQUIRE(::listen(fd_.get(), 1) == 0);
    REQUIRE(::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&address), &length) == 0);
    port_ = ntohs(address.sin_port);
  }
  std::uint16_t port() const noexcept { return port_; }
  net::UniqueFd accept() const { return net::UniqueFd(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC)); }

 private:
  net::UniqueFd fd_;
  std::uint16_t port_ = 0;
};

bool send(const net::UniqueFd& fd, const std::string& text) {
  return ::send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
}

CallResult call(std::uint16_t port, Negotiation::Purpose purpose) {
  const Call call{.address = {.kind = config::Endpoint::Kind::tcp, .host = "127.0.0.1", .port = port, .path = {}},
                  .export_name = "vol0",
                  .token = "token",
                  .purpose = purpose,
                  .connect_limit = kLimit,
                  .handshake_limit = kLimit};
  boost::asio::io_context io;
  CallResult result;
  boost::asio::co_spawn(
      io, [&]() -> boost::asio::awaitable<void> { result = co_await attach::dial(call); },
      [](std::exception_ptr failure) {
        if (failure) std::rethrow_exception(failure);
      });
  io.run();
  return result;
}

const std::string kGreeting = "NBDMAGICIHAVEOPT" + be16(3);

struct Peer {
  std::string name;
  std::string trouble;
  /// Until `over`, on its own thread.
  std::function<void(const Listener&, const std::atomic<bool>& over)> act;
};

void wait_for(const std::atomic<bool>& over) {
  while (!over) std::this_thread::sleep_for(std::chrono::milliseconds(5));
}

const Peer kPeers[] = {
    {"the kernel takes the connection, and nobody else does", "no answer in time",
     [](const Listener&, const std::atomic<bool>& over) { wait_for(over); }},
    {"it says nothing", "no answer in time",
     [](const Listener& listener, const std::atomic<bool>& over) {
       const net::UniqueFd fd = listener.accept();
       wait_for(over);
     }},
    {"it greets, and says nothing more", "no answer in time",
     [](const Listener& listener, const std::atomic<bool>& over) {
       const net::UniqueFd fd = listener.accept();
       send(fd, kGreeting);
       wait_for(over);
     }},
    // Each byte alone would come in time.
    {"it greets for ever", "no answer in time",
     [](const Listener& listener, const std::atomic<bool>& over) {
       const net::UniqueFd fd = listener.accept();
       for (std::size_t at = 0; !over; ++at) {
         if (at < kGreeting.size() - 1) send(fd, kGreeting.substr(at, 1));
         std::this_thread::sleep_for(std::chrono::milliseconds(50));
       }
     }},
    {"it answers an option with far more than fits", "ends the handshake",
     [](const Listener& listener, const std::atomic<bool>& over) {
       const net::UniqueFd fd = listener.accept();
       send(fd, kGreeting + be64(0x3e889045565a9) + be32(10) + be32(4) + be32(0xffffffff));
       while (!over && send(fd, std::string(4096, 'x'))) {
       }
     }},
    {"it closes", "ends the handshake",
     [](const Listener& listener, const std::atomic<bool>&) { listener.accept().reset(); }},
    {"it speaks another protocol", "",
     [](const Listener& listener, const std::atomic<bool>& over) {
       const net::UniqueFd fd = listener.accept();
       send(fd, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
       wait_for(over);
     }},
};

}  // namespace

TEST_CASE("dial: whoever takes the connection and is no server is given up, in time and with a word") {
  for (const auto purpose : {Negotiation::Purpose::go, Negotiation::Purpose::resume}) {
    for (const Peer& peer : kPeers) {
      CAPTURE(peer.name);
      const Listener listener;
      std::atomic<bool> over = false;
      std::thread thread([&] { peer.act(listener, over); });
      const auto begin = std::chrono::steady_clock::now();
      const CallResult result = call(listener.port(), purpose);
      const auto took = std::chrono::steady_clock::now() - begin;
      over = true;
      thread.join();
      CHECK(result.trouble.find(peer.trouble) != std::string::npos);
      CHECK(result.trouble.find(std::to_string(listener.port())) != std::string::npos);
      CHECK_FALSE(result.socket);
      CHECK(took < std::chrono::seconds(20));  // far from for ever
    }
  }
}

TEST_CASE("dial: nobody there is told, too") {
  std::uint16_t port = 0;
  {
    const Listener listener;
    port = listener.port();
  }
  const CallResult result = call(port, Negotiation::Purpose::go);
  CHECK(result.trouble.find("nobody at") != std::string::npos);
  CHECK_FALSE(result.refused);
}
