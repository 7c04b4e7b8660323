#include "tests/unit/nbd/rig.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include <doctest/doctest.h>

#include "tests/unit/nbd/wire.hpp"

namespace nbdgw::test {

namespace {

nbd::ExportDirectoryPtr two_exports() {
  return std::make_shared<nbd::ExportDirectory>(nbd::ExportDirectory{{"vol0", "a disk"}, {"vol1", ""}});
}

}  // namespace

Rig::Rig(const nbd::ConnectionOptions& options, std::size_t segment_length)
    : backend(1 << 20, segment_length), directory(two_exports()), connection(directory, options, now) {
  hang_bell();
}

Rig::Rig(const nbd::KeptConnection& kept, const nbd::ConnectionOptions& options)
    : backend(1 << 20, 4096), directory(two_exports()), connection(kept, options, now) {
  hang_bell();
}

Rig::~Rig() {
  connection.on_disconnected(now);
  CHECK(backend.requests_out == 0);
  CHECK(backend.segments_out == 0);
}

void Rig::hang_bell() {
  bell.hush();
  connection.set_bell(&bell);
  bell.listen();
}

std::size_t Rig::feed(std::string_view bytes, std::size_t piece) {
  serve();
  std::size_t taken = 0;
  while (taken < bytes.size()) {
    std::array<iovec, proto::kRxIovecs> room;
    const std::size_t n = connection.rx_buffers(room);
    if (n == 0) break;
    std::size_t wanted = std::min(piece, bytes.size() - taken);
    std::size_t given = 0;
    for (std::size_t i = 0; i < n && wanted > 0; ++i) {
      if (room[i].iov_len == 0) FAIL("empty entry");
      const std::size_t length = std::min(wanted, room[i].iov_len);
      std::memcpy(room[i].iov_base, bytes.data() + taken + given, length);
      given += length;
      wanted -= length;
    }
    bell.hush();
    connection.on_received(given, now);
    taken += given;
    serve();
  }
  return taken;
}

void Rig::serve() {
  bell.hush();
  while (const auto name = connection.wants_export()) {
    const auto late = waiting.find(std::string(*name));
    if (late != waiting.end()) {
      connection.export_waiting(late->second);
      break;
    }
    const auto closed = shut.find(std::string(*name));
    if (closed != shut.end())
      connection.export_shut(closed->second, now);
    else if (*name == backend.info_.name)
      connection.export_found(backend, now);
    else
      connection.export_unknown("There is no export of that name.", now);
  }
  while (automatic) {
    backend.complete_all();
    send();
    if (backend.running().empty()) break;
  }
  bell.listen();
}

void Rig::send(std::size_t piece) {
  bell.hush();
  std::array<iovec, 64> list;
  while (const std::size_t n = connection.tx_buffers(list)) {
    std::size_t sent = 0;
    for (std::size_t i = 0; i < n && sent < piece; ++i) {
      if (list[i].iov_len == 0) FAIL("empty entry");
      const std::size_t length = std::min(piece - sent, list[i].iov_len);
      output.append(static_cast<const char*>(list[i].iov_base), length);
      sent += length;
    }
    connection.on_sent(sent, now);
  }
  bell.listen();
}

std::string Rig::take() {
  return std::exchange(output, {});
}

namespace {

/// The middle of what is longer than that is payload that is all alike: it comes in one piece.
constexpr std::size_t kLong = 1 << 20;
constexpr std::size_t kEdge = 64 << 10;

void feed_in_pieces(Rig& rig, std::string_view client, std::size_t piece) {
  if (client.size() <= kLong) {
    rig.feed(client, piece);
    return;
  }
  rig.feed(client.substr(0, kEdge), piece);
  rig.feed(client.substr(kEdge, client.size() - 2 * kEdge));
  rig.feed(client.substr(client.size() - kEdge), piece);
}

}  // namespace

void check_script(const Script& script, const std::function<void(Rig&)>& prepare) {
  for (const std::size_t piece : {Rig::kAll, std::size_t{1}, std::size_t{7}}) {
    CAPTURE(piece);
    Rig rig;
    if (prepare) prepare(rig);
    feed_in_pieces(rig, script.client, piece);
    const std::string said = rig.take();
    CHECK(said.size() == script.server.size());
    CHECK((said == script.server));
    CHECK(rig.connection.close_reason() == script.end);
    CHECK(rig.connection.wants_close() == (script.end != nbd::CloseReason::none));
  }
  // The client goes away: at every byte of a short dialogue, at some of a long one.
  const std::size_t step = 1 + script.client.size() / (script.client.size() > kLong ? 200 : 2000);
  for (std::size_t length = 0; length <= script.client.size(); length += step) {
    Rig rig;
    if (prepare) prepare(rig);
    rig.automatic = false;
    feed_in_pieces(rig, std::string_view(script.client).substr(0, length), length % 2 == 0 ? Rig::kAll : 5);
    if (length % 3 == 0) rig.backend.complete_all();  // with replies queued
    rig.disconnect();
    CHECK(rig.backend.requests_out == 0);
    CHECK(rig.backend.segments_out == 0);
    CHECK(rig.connection.phase() == nbd::Connection::Phase::closed);
    std::array<iovec, 4> list;
    CHECK(rig.connection.rx_buffers(list) == 0);
    CHECK(rig.connection.tx_buffers(list) == 0);
    CHECK(rig.connection.next_deadline() == proto::kNever);
  }
}

std::string attach(bool structured) {
  return client_flags() + (structured ? option(8) : std::string()) + opt_go("vol0");
}

std::string attached(bool structured, std::uint16_t flags) {
  if (structured) flags |= 1 << 7;  // SEND_DF
  return greeting() + (structured ? reply(8, kAck) : std::string()) + info_export(7, 1 << 20, flags) + reply(7, kAck);
}

}  // namespace nbdgw::test
