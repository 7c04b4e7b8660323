// Peers that take a connection and are no NBD server, or none any more.
#include "gateway/attach/dial.hpp"

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
#include "tests/unit/sockets.hpp"

using namespace nbdgw;
using namespace nbdgw::test;
using attach::Call;
using attach::CallResult;
using attach::Negotiation;

namespace {

constexpr proto::Micros kLimit = 200 * proto::kMillisecond;

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
  std::function<void(const Listening&, const std::atomic<bool>& over)> act;
};

const Peer kPeers[] = {
    {"the kernel takes the connection, and nobody else does", "no answer in time",
     [](const Listening&, const std::atomic<bool>& over) { over.wait(false); }},
    {"it says nothing", "no answer in time",
     [](const Listening& listener, const std::atomic<bool>& over) {
       const net::UniqueFd fd = listener.accept();
       over.wait(false);
     }},
    {"it greets, and says nothing more", "no answer in time",
     [](const Listening& listener, const std::atomic<bool>& over) {
       const net::UniqueFd fd = listener.accept();
       send(fd, kGreeting);
       over.wait(false);
     }},
    // Each byte alone would come in time.
    {"it greets for ever", "no answer in time",
     [](const Listening& listener, const std::atomic<bool>& over) {
       const net::UniqueFd fd = listener.accept();
       for (std::size_t at = 0; !over; ++at) {
         if (at < kGreeting.size() - 1) send(fd, kGreeting.substr(at, 1));
         std::this_thread::sleep_for(std::chrono::milliseconds(50));
       }
     }},
    {"it answers an option with far more than fits", "ends the handshake",
     [](const Listening& listener, const std::atomic<bool>& over) {
       const net::UniqueFd fd = listener.accept();
       send(fd, kGreeting + be64(0x3e889045565a9) + be32(10) + be32(4) + be32(0xffffffff));
       while (!over && send(fd, std::string(4096, 'x'))) {
       }
     }},
    {"it closes", "ends the handshake",
     [](const Listening& listener, const std::atomic<bool>&) { listener.accept().reset(); }},
    {"it speaks another protocol", "",
     [](const Listening& listener, const std::atomic<bool>& over) {
       const net::UniqueFd fd = listener.accept();
       send(fd, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
       over.wait(false);
     }},
};

}  // namespace

TEST_CASE("dial: whoever takes the connection and is no server is given up, in time and with a word") {
  for (const auto purpose : {Negotiation::Purpose::go, Negotiation::Purpose::resume}) {
    for (const Peer& peer : kPeers) {
      CAPTURE(peer.name);
      const Listening listener(1);
      std::atomic<bool> over = false;
      std::thread thread([&] { peer.act(listener, over); });
      const auto begin = std::chrono::steady_clock::now();
      const CallResult result = call(listener.port, purpose);
      const auto took = std::chrono::steady_clock::now() - begin;
      over = true;
      over.notify_all();
      thread.join();
      CHECK(result.trouble.find(peer.trouble) != std::string::npos);
      CHECK(result.trouble.find(std::to_string(listener.port)) != std::string::npos);
      CHECK_FALSE(result.socket);
      CHECK(took < std::chrono::seconds(20));  // far from for ever
    }
  }
}

TEST_CASE("dial: nobody there is told, too") {
  std::uint16_t port = 0;
  {
    const Listening listener(1);
    port = listener.port;
  }
  const CallResult result = call(port, Negotiation::Purpose::go);
  CHECK(result.trouble.find("nobody at") != std::string::npos);
  CHECK_FALSE(result.refused);
}
