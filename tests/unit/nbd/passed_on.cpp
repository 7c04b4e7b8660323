// Requests that were begun, and not answered, pass from one process to the next.

#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

#include <doctest/doctest.h>

#include "gateway/nbd/kept_connection.hpp"
#include "tests/unit/nbd/rig.hpp"
#include "tests/unit/nbd/wire.hpp"

using namespace nbdgw;
using namespace nbdgw::test;
using nbd::kMostPassedOn;

namespace {

std::string write_of(std::uint64_t cookie, std::uint64_t offset, const std::string& data) {
  return request(kWrite, 0, cookie, offset, static_cast<std::uint32_t>(data.size())) + data;
}

/// Of bytes that tell where they are.
std::string pattern(std::size_t length, int from) {
  std::string data(length, 0);
  for (std::size_t i = 0; i < length; ++i) data[i] = static_cast<char>(from + static_cast<int>(i / 7));
  return data;
}

/// All kinds, with payloads of several segments, and more of them than is received at once.
std::string all_kinds() {
  return write_of(1, 512, pattern(5000, 3)) + request(kRead, 0, 2, 0, 6000) + request(kFlush, 0, 3, 0, 0) +
         request(kTrim, 0, 4, 4096, 512) + write_of(5, 8192, pattern(100'000, 5)) + request(kZeroes, 0, 6, 0, 700) +
         write_of(7, 100'000, pattern(90'000, 11)) + request(kRead, 0, 8, 0, 800);
}

constexpr std::size_t kRequests = 8;

/// Everything is with the backend, which does nothing.
struct Standing final : Rig {
  explicit Standing(bool structured = false) {
    feed(attach(structured));
    take();
    automatic = false;
  }
  bool pass_on(std::size_t most = kMostPassedOn) { return connection.pass_on(most, now); }
};

std::string answers_to_all() {
  Rig rig;
  rig.feed(attach(false));
  rig.take();
  rig.feed(all_kinds());
  return rig.take();
}

}  // namespace

TEST_CASE("passed on: at every place, through one restart or two, as if there had been none") {
  const std::string all = all_kinds();
  const std::string expected = answers_to_all();
  for (std::size_t cut = 0; cut <= all.size(); cut += cut % 997 == 0 ? 1 : 61) {
    for (const bool twice : {false, true}) {
      CAPTURE(cut);
      CAPTURE(twice);
      Standing first;
      const std::size_t fed = first.feed(std::string_view(all).substr(0, cut));
      first.connection.begin_handover(first.now);
      REQUIRE(first.pass_on());
      CHECK(first.connection.parked());
      CHECK(first.backend.requests_out == 0);
      nbd::KeptConnection kept = first.connection.kept();
      if (twice) {
        Rig second(kept);
        second.automatic = false;
        second.serve();
        second.connection.begin_handover(second.now);
        std::size_t most = kMostPassedOn;
        REQUIRE(second.connection.pass_on(most, second.now));
        CHECK(second.connection.kept().unread == kept.unread);
        kept = second.connection.kept();
      }
      Rig last(kept);
      last.serve();
      last.feed(std::string_view(all).substr(fed));
      CHECK(last.take() == expected);
      CHECK(last.backend.requests_out == 0);
    }
  }
}

TEST_CASE("passed on: the next process takes no more at a time than it has room for, and reads nothing before that") {
  Standing first;
  first.feed(all_kinds());
  first.connection.begin_handover(first.now);
  REQUIRE(first.pass_on());
  nbd::ConnectionOptions options;
  options.max_in_flight = 2;
  Rig last(first.connection.kept(), options);
  last.automatic = false;
  last.backend.no_room = [] { return true; };
  last.serve();
  CHECK(last.connection.stalled());
  CHECK_FALSE(last.connection.wants_rx());
  last.backend.no_room = [] { return false; };
  last.connection.on_room(last.now);
  CHECK(last.connection.in_flight() == 2);
  CHECK_FALSE(last.connection.wants_rx());
  last.automatic = true;
  last.serve();
  CHECK(last.connection.wants_rx());
  CHECK(last.take() == answers_to_all());
}

TEST_CASE("passed on: not while a reply is on its way, nor behind a part of one") {
  SUBCASE("ready to be sent") {
    Standing rig;
    rig.feed(request(kRead, 0, 1, 0, 512) + request(kRead, 0, 2, 0, 512));
    rig.connection.begin_handover(rig.now);
    rig.backend.complete(*rig.backend.any_in_use());
    CHECK_FALSE(rig.pass_on());
    rig.send(100);
    CHECK(rig.pass_on());  // the other one
    CHECK(rig.connection.kept().unread.size() == 28);
  }
  SUBCASE("a piece of it has left") {
    Standing rig(true);
    rig.feed(request(kRead, 0, 1, 0, 8192));
    rig.connection.begin_handover(rig.now);
    rig.backend.read_segment(*rig.backend.any_in_use(), 0);
    rig.send();
    REQUIRE(rig.connection.in_flight() == 1);
    CHECK_FALSE(rig.pass_on());
    CHECK(rig.connection.in_flight() == 1);
  }
  SUBCASE("an error while payload is on its way") {
    Standing rig;
    rig.feed(request(kWrite, 0, 1, 1 << 20, 4096) + std::string(100, 'a'));
    rig.connection.begin_handover(rig.now);
    CHECK_FALSE(rig.pass_on());
  }
}

TEST_CASE("passed on: not without all of the payload, nor more than there may be, nor before it is the end") {
  Standing rig;
  rig.feed(write_of(1, 0, pattern(9000, 1)) + request(kRead, 0, 2, 0, 512));
  CHECK_FALSE(rig.pass_on());
  rig.connection.begin_handover(rig.now);
  rig.backend.payload_is_gone = true;
  const int told = rig.told;
  CHECK_FALSE(rig.pass_on());
  CHECK(rig.told == told);  // nobody is called for it, who would only ask again
  rig.backend.payload_is_gone = false;
  CHECK_FALSE(rig.pass_on(28 + 9000 + 27));
  CHECK(rig.connection.in_flight() == 2);
  std::size_t most = 28 + 9000 + 28 + 5;
  CHECK(rig.connection.pass_on(most, rig.now));
  CHECK(most == 5);
}

TEST_CASE("passed on: its client has gone, and the payload is more than is looked at at once") {
  const std::string data = pattern(100'000, 5);
  Standing first;
  first.feed(write_of(1, 0, data));
  first.connection.begin_handover(first.now);
  REQUIRE(first.pass_on());
  Rig last(first.connection.kept());
  int pieces = 2;  // the WRITE is begun, and then waits
  last.backend.no_room = [&] { return pieces-- <= 0; };
  last.automatic = false;
  last.serve();
  REQUIRE(last.connection.stalled());
  REQUIRE(last.connection.payload_left() > 0);
  last.connection.on_peer_gone(true, last.now);
  CHECK_FALSE(last.connection.wants_close());
  pieces = 1000;
  for (int i = 0; i < 10 && !last.connection.wants_close(); ++i) {
    last.connection.on_room(last.now);
    last.backend.complete_all();
    last.connection.on_peer_gone(true, last.now);
  }
  CHECK(last.connection.wants_close());
  CHECK(std::memcmp(last.backend.disk.get(), data.data(), data.size()) == 0);
}

TEST_CASE("passed on: the last WRITE is there in part, and its client is gone after the restart") {
  Standing first;
  first.feed(write_of(1, 0, pattern(512, 1)) + write_of(2, 512, pattern(512, 2)).substr(0, 300));
  first.connection.begin_handover(first.now);
  REQUIRE(first.pass_on());
  Rig last(first.connection.kept());
  last.serve();
  CHECK(last.take() == simple(0, 1, ""));
  last.connection.on_peer_gone(true, last.now);
  last.serve();
  CHECK(last.connection.wants_close());
  CHECK(last.backend.disk[512] == std::byte{0});
}
