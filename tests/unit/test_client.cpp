#include "tests/unit/test_client.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "gateway/net/clock.hpp"
#include "gateway/shard/nbd_client.hpp"
#include "proto/bytes/endian.hpp"
#include "proto/nbd/messages.hpp"

namespace nbdgw::test {

using proto::nbd::Reply;

TestClient::TestClient(net::UniqueFd fd) : fd_(std::move(fd)) {
  const timeval limit{10, 0};
  ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  ::setsockopt(fd_.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

bool TestClient::read(std::span<std::uint8_t> to) {
  while (!to.empty()) {
    const ssize_t n = ::recv(fd_.get(), to.data(), to.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    to = to.subspan(static_cast<std::size_t>(n));
  }
  return true;
}

bool TestClient::write(std::span<const std::uint8_t> from) {
  while (!from.empty()) {
    const ssize_t n = ::send(fd_.get(), from.data(), from.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    from = from.subspan(static_cast<std::size_t>(n));
  }
  return true;
}

bool TestClient::greet() {
  std::array<std::uint8_t, proto::nbd::kGreetingLength> greeting;
  if (!read(greeting)) return false;
  const std::array<std::uint8_t, 4> flags{0, 0, 0, 3};  // fixed newstyle, no zeroes
  return proto::nbd::Greeting::decode(greeting).init_password == proto::nbd::kInitPassword && write(flags);
}

void TestClient::send_go(const std::string& name) {
  const auto length = static_cast<std::uint32_t>(name.size());
  std::vector<std::uint8_t> message(proto::nbd::kOptionRequestLength + 4 + name.size() + 2);
  proto::nbd::OptionRequest header{.option = proto::nbd::Option::go, .length = length + 6};
  header.encode(std::span(message).first<proto::nbd::kOptionRequestLength>());
  proto::store_be32(&message[proto::nbd::kOptionRequestLength], length);
  std::memcpy(&message[proto::nbd::kOptionRequestLength + 4], name.data(), name.size());
  write(message);
}

Reply TestClient::read_go_reply() {
  for (;;) {
    std::array<std::uint8_t, proto::nbd::kOptionReplyLength> bytes;
    if (!read(bytes)) return Reply{};
    const auto reply = proto::nbd::OptionReply::decode(bytes);
    std::vector<std::uint8_t> data(reply.length);
    if (!read(data)) return Reply{};
    if (reply.type == Reply::info && data.size() >= 10 && proto::load_be16(data.data()) == 0) {
      size_ = proto::load_be64(&data[2]);
    }
    if (reply.type == Reply::info) continue;
    error_text_.assign(data.begin(), data.end());
    return reply.type;
  }
}

Reply TestClient::go(const std::string& name) {
  if (!greet()) return Reply{};
  send_go(name);
  return read_go_reply();
}

void TestClient::send_request(proto::nbd::Command command, std::uint64_t cookie, std::uint64_t offset,
                              std::uint32_t length, std::span<const std::uint8_t> payload) {
  std::vector<std::uint8_t> message(proto::nbd::kRequestLength);
  const proto::nbd::Request request{.command = command, .cookie = cookie, .offset = offset, .length = length};
  request.encode(std::span(message).first<proto::nbd::kRequestLength>());
  message.insert(message.end(), payload.begin(), payload.end());
  write(message);
}

bool TestClient::read_reply(std::uint64_t& cookie, std::uint32_t& error) {
  std::array<std::uint8_t, proto::nbd::kSimpleReplyLength> bytes;
  if (!read(bytes)) return false;
  const auto reply = proto::nbd::SimpleReply::decode(bytes);
  cookie = reply.cookie;
  error = static_cast<std::uint32_t>(reply.error);
  return reply.magic == proto::nbd::kSimpleReplyMagic;
}

bool TestClient::write_at(std::uint64_t offset, std::span<const std::uint8_t> data) {
  send_request(proto::nbd::Command::write, offset, offset, static_cast<std::uint32_t>(data.size()), data);
  std::uint64_t cookie = 0;
  std::uint32_t error = 0;
  return read_reply(cookie, error) && cookie == offset && error == 0;
}

bool TestClient::read_at(std::uint64_t offset, std::span<std::uint8_t> data) {
  send_request(proto::nbd::Command::read, offset, offset, static_cast<std::uint32_t>(data.size()));
  std::uint64_t cookie = 0;
  std::uint32_t error = 0;
  return read_reply(cookie, error) && cookie == offset && error == 0 && read(data);
}

void TestClient::reset() {
  const linger now{1, 0};
  ::setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
  fd_.reset();
}

namespace {

void let_in(shard::Shard& shard, const Entrance& entrance, net::UniqueFd server,
            net::ConnectionLimit::Ticket ticket) {
  auto object = std::make_unique<shard::NbdClient>(1, std::move(server), std::move(ticket), entrance.directory,
                                                   entrance.options, net::steady_now());
  shard.post(
      [&shard, moving = std::move(object)](proto::Micros now) mutable { shard.adopt(std::move(moving), now); });
}

}  // namespace

TestClient connect_to(shard::Shard& shard, const Entrance& entrance, net::ConnectionLimit::Ticket ticket) {
  net::UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const std::uint16_t port = bind_loopback(listener.get());
  ::listen(listener.get(), 1);
  net::UniqueFd client = connect_tcp(port);
  net::UniqueFd server(::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  let_in(shard, entrance, std::move(server), std::move(ticket));
  return TestClient(std::move(client));
}

TestClient connect_unix_to(shard::Shard& shard, const Entrance& entrance) {
  int ends[2];
  ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends);
  net::UniqueFd client(ends[0]), server(ends[1]);
  ::fcntl(server.get(), F_SETFL, O_NONBLOCK);
  let_in(shard, entrance, std::move(server), {});
  return TestClient(std::move(client));
}

}  // namespace nbdgw::test
