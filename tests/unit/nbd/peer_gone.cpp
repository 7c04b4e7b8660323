// The client has gone: what it had sent before a goodbye is done as far as it came whole, and answered to nobody. Of
// one that was lost nothing is begun any more.
#include <algorithm>
#include <array>
#include <string>

#include <doctest/doctest.h>

#include "tests/unit/nbd/rig.hpp"
#include "tests/unit/nbd/wire.hpp"

using namespace nbdgw;
using namespace nbdgw::test;

namespace {

constexpr std::size_t kLength = 600;
constexpr int kWrites = 5;

struct Stream {
  std::string bytes;
  std::array<std::size_t, kWrites> whole_at;  // the n-th WRITE is there with that many bytes
  std::size_t goodbye_at = 0;
};

/// Of each command some, and what is answered without the backend.
Stream stream() {
  Stream made;
  for (std::uint64_t i = 0; i < kWrites; ++i) {
    made.bytes += request(kRead, 0, 100 + i, 0, 9000);
    made.bytes += request(kWrite, 0, i, i * kLength, kLength) + std::string(kLength, static_cast<char>('a' + i));
    made.whole_at[i] = made.bytes.size();
    made.bytes += request(kTrim, 0, 200 + i, 500000, 4096) + request(kFlush, 0, 300 + i, 0, 0);
    made.bytes += request(kWrite, 0, 400 + i, 1 << 20, 10) + std::string(10, 'x');  // beyond the end
  }
  made.bytes += disc();
  made.goodbye_at = made.bytes.size();
  made.bytes += request(kWrite, 0, 9, 8 * kLength, kLength) + std::string(kLength, 'z');
  return made;
}

char byte_of(Rig& rig, std::size_t at) {
  return static_cast<char>(rig.backend.disk.get()[at]);
}

/// The client is gone after `cut` bytes, of which `read` had been received by then.
void go_after(const Stream& sent, std::size_t cut, std::size_t read, bool structured, std::uint32_t in_flight) {
  Rig rig({.max_in_flight = in_flight}, 256);
  rig.feed(attach(structured));
  rig.take();
  rig.automatic = false;
  const std::string_view bytes = std::string_view(sent.bytes).substr(0, cut);
  std::size_t given = rig.feed(bytes.substr(0, read));
  if (cut % 2 == 0) rig.backend.complete_all();
  rig.connection.on_peer_gone(false, rig.now);
  for (int turns = 0; !rig.connection.wants_close(); ++turns) {
    REQUIRE(turns < 200);
    const std::size_t more = rig.feed(bytes.substr(given));
    given += more;
    rig.connection.on_peer_gone(given == bytes.size(), rig.now);
    std::array<iovec, 4> list;
    CHECK(rig.connection.tx_buffers(list) == 0);
    if (more == 0) rig.backend.complete_all();
    if (rig.connection.stalled()) rig.connection.on_room(rig.now);  // READs have left their memory
  }
  rig.disconnect();
  CHECK(rig.backend.requests_out == 0);
  CHECK((rig.connection.close_reason() == nbd::CloseReason::disc) == (cut >= sent.goodbye_at));
  for (std::size_t i = 0; i < kWrites; ++i) {
    for (const std::size_t at : {i * kLength, (i + 1) * kLength - 1})
      CHECK(byte_of(rig, at) == (cut >= sent.whole_at[i] ? static_cast<char>('a' + i) : '\0'));
  }
  CHECK(byte_of(rig, 8 * kLength) == '\0');
}

void lose(Rig& rig, bool input_ended) {
  rig.connection.on_peer_lost();
  rig.connection.on_peer_gone(input_ended, rig.now);
}

/// There is no memory for what it asks for, until there is.
struct Waiting final : Rig {
  explicit Waiting(const std::string& requests) {
    feed(attach(false));
    automatic = false;
    backend.no_room = [this] { return full; };
    feed(requests);
    REQUIRE(connection.stalled());
  }
  void make_room() {
    full = false;
    connection.on_room(now);
    backend.complete_all();
  }
  bool full = true;
};

}  // namespace

TEST_CASE("the peer is gone at every byte, with more or less of it received, and little or much in flight") {
  const Stream sent = stream();
  for (const bool structured : {false, true}) {
    for (const std::uint32_t in_flight : {1U, 3U, 64U}) {
      for (std::size_t cut = 0; cut <= sent.bytes.size(); cut += cut % 7 == 0 ? 5 : 1) {
        CAPTURE(cut);
        go_after(sent, cut, cut, structured, in_flight);
        go_after(sent, cut, cut / 2, structured, in_flight);
      }
    }
  }
}

TEST_CASE("in a handshake nothing is left to be done when the input ends") {
  Rig rig;
  rig.feed(client_flags());
  rig.connection.on_peer_gone(false, rig.now);
  CHECK_FALSE(rig.connection.wants_close());
  rig.connection.on_peer_gone(true, rig.now);
  CHECK(rig.connection.wants_close());
  rig.disconnect();
  CHECK(rig.connection.close_reason() == nbd::CloseReason::connection_lost);
}

TEST_CASE("memory that comes late is used by what a client that has gone had sent") {
  Waiting rig(request(kWrite, 0, 1, 0, 10) + std::string(10, 'a') + disc());
  rig.connection.on_peer_gone(true, rig.now);
  CHECK_FALSE(rig.connection.wants_close());
  rig.make_room();
  rig.connection.on_peer_gone(true, rig.now);
  CHECK(rig.connection.wants_close());
  CHECK(byte_of(rig, 9) == 'a');
  CHECK(rig.connection.close_reason() == nbd::CloseReason::disc);
}

TEST_CASE("what is not taken in of a client that was lost is not begun: it lands on nothing newer") {
  const Stream sent = stream();
  for (const std::uint32_t in_flight : {1U, 3U, 64U}) {
    for (std::size_t read = 0; read < sent.goodbye_at; read += 13) {
      CAPTURE(read);
      Rig rig({.max_in_flight = in_flight}, 256);
      rig.feed(attach(read % 2 == 0));
      rig.take();
      rig.automatic = false;
      const std::size_t given = rig.feed(sent.bytes.substr(0, read));
      const std::uint64_t writes =
          rig.connection.counters().requests[nbd::Counters::index_of(proto::nbd::Command::write)];
      const std::size_t begun = rig.connection.in_flight();
      lose(rig, false);
      CHECK(rig.connection.input_ended());
      CHECK(rig.connection.in_flight() <= begun);
      CHECK_FALSE(rig.connection.stalled());
      rig.backend.complete_all();
      lose(rig, true);
      CHECK(rig.connection.wants_close());
      const nbd::Counters& after = rig.connection.counters();
      CHECK(after.requests[nbd::Counters::index_of(proto::nbd::Command::write)] == writes);
      for (std::size_t i = 0; i < kWrites; ++i) {
        const std::size_t last = (i + 1) * kLength - 1;
        if (given < sent.whole_at[i]) CHECK(byte_of(rig, last) == '\0');
      }
      if (in_flight > 1 && given >= sent.whole_at[0]) CHECK(byte_of(rig, kLength - 1) == 'a');  // it was begun
      rig.disconnect();
      CHECK(rig.backend.requests_out == 0);
    }
  }
}

TEST_CASE("a request that waits for memory when its client is lost does not wait any more") {
  for (const bool room_before : {false, true}) {
    CAPTURE(room_before);
    Waiting rig(request(kWrite, 0, 1, 0, 10) + std::string(10, 'a'));
    CHECK_FALSE(rig.connection.ends_in_goodbye(0, {}));
    rig.connection.on_peer_lost();
    if (room_before) rig.make_room();  // in the same turn
    rig.connection.on_peer_gone(false, rig.now);
    CHECK_FALSE(rig.connection.stalled());
    CHECK(rig.connection.wants_close());
    rig.make_room();
    CHECK(byte_of(rig, 9) == '\0');
  }
}

TEST_CASE("lost in the handshake, with requests behind it: it goes on to its end, and none is begun") {
  Rig rig;
  rig.feed(client_flags());
  lose(rig, false);
  CHECK_FALSE(rig.connection.wants_close());
  rig.feed(attach(false).substr(client_flags().size()) + request(kWrite, 0, 1, 0, 10) + std::string(10, 'a'));
  lose(rig, true);
  CHECK(rig.connection.wants_close());
  CHECK(byte_of(rig, 0) == '\0');
}

TEST_CASE("a goodbye at the end is found, wherever its bytes are") {
  const std::string write = request(kWrite, 0, 1, 0, 100) + std::string(100, 'a');
  for (const bool goodbye : {false, true}) {
    const std::string all = write + (goodbye ? disc() : request(kFlush, 0, 2, 0, 0));
    for (std::size_t read = 0; read <= all.size(); ++read) {
      CAPTURE(read);
      Rig rig({.max_in_flight = 1}, 256);
      rig.feed(attach(false));
      rig.automatic = false;
      rig.feed(request(kTrim, 0, 7, 500000, 4096));  // so that nothing more is begun
      const std::size_t taken = rig.feed(all.substr(0, read));
      REQUIRE(taken == read);
      const std::string unread = all.substr(read);
      const std::string last = unread.substr(unread.size() - std::min<std::size_t>(28, unread.size()));
      const std::span<const std::uint8_t> bytes(reinterpret_cast<const std::uint8_t*>(last.data()), last.size());
      CHECK(rig.connection.ends_in_goodbye(unread.size(), bytes) == goodbye);
    }
  }
  SUBCASE("not in a payload") {
    Rig rig;
    rig.feed(attach(false));
    rig.feed(request(kWrite, 0, 1, 0, 100));
    const std::string end = disc();
    const std::span<const std::uint8_t> bytes(reinterpret_cast<const std::uint8_t*>(end.data()), end.size());
    CHECK_FALSE(rig.connection.ends_in_goodbye(100, bytes));
    CHECK(rig.connection.ends_in_goodbye(128, bytes));
  }
  SUBCASE("it has come already") {
    Rig rig;
    rig.feed(attach(false));
    rig.feed(disc());
    CHECK(rig.connection.ends_in_goodbye(0, {}));
  }
}

TEST_CASE("who leaves without a byte is told apart from who is lost in the middle of the handshake") {
  for (const std::size_t bytes : {0, 1, 4}) {
    CAPTURE(bytes);
    Rig rig;
    rig.feed(client_flags().substr(0, bytes));
    rig.connection.on_peer_gone(true, rig.now);
    rig.disconnect();
    CHECK(rig.connection.close_reason() ==
          (bytes == 0 ? nbd::CloseReason::silent : nbd::CloseReason::connection_lost));
  }
}
