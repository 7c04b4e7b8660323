// Who owes the next move and holds what others wait for is cut off; nobody else is.

#include <algorithm>

#include <doctest/doctest.h>

#include "tests/unit/nbd/rig.hpp"
#include "tests/unit/nbd/wire.hpp"

using namespace nbdgw;
using namespace nbdgw::test;
using nbd::CloseReason;
using proto::kSecond;
using Phase = nbd::Connection::Phase;

namespace {

constexpr proto::Micros kPatience = 10 * kSecond;
constexpr std::uint32_t kLong = 256 * 1024;  // of a payload
constexpr std::size_t kEnough = nbd::kLeastMove;

nbd::ConnectionOptions impatient() {
  nbd::ConnectionOptions options;
  options.stall_timeout = kPatience;
  options.max_in_flight = 4;
  return options;
}

/// Attached, and others wait for what it holds.
struct Watched final : Rig {
  explicit Watched(bool structured) : Rig(impatient()) {
    feed(attach(structured));
    take();
    automatic = false;
    backend.others = true;
  }

  /// Time passes, and the shell calls as it is asked to.
  void pass(proto::Micros time) {
    const proto::Micros end = now + time;
    while (connection.next_deadline() <= end) {
      now = std::max(now, connection.next_deadline());
      connection.on_deadline(now);
    }
    now = end;
  }
  /// The client takes so many bytes of what there is to send.
  std::size_t take_bytes(std::size_t wanted) {
    iovec list[64];
    std::size_t n = connection.tx_buffers(list);
    std::size_t sent = 0;
    for (std::size_t i = 0; i < n && sent < wanted; ++i) sent += std::min(list[i].iov_len, wanted - sent);
    if (sent > 0) connection.on_sent(sent, now);
    return sent;
  }
  /// A turn in which the socket refuses.
  void refuse() { CHECK(take_bytes(0) == 0); }
  bool cut_off() const { return connection.wants_close() && connection.close_reason() == CloseReason::stalled; }
};

std::string payload(std::size_t length) {
  return std::string(length, 'p');
}
std::string write_of(std::uint32_t length, std::uint64_t offset = 0) {
  return request(kWrite, 0, 7, offset, length);
}
std::string read_of(std::uint32_t length) {
  return request(kRead, 0, 8, 0, length);
}

/// READs whose data is there and that the socket does not take.
void ready_reads(Watched& rig, int count, std::uint32_t length) {
  for (int i = 0; i < count; ++i) rig.feed(read_of(length));
  rig.backend.complete_all();
  rig.refuse();
}

struct Situation {
  const char* what;
  void (*happens)(Watched& rig);
  bool ends;  // is cut off
};

constexpr proto::Micros kLongEnough = 2 * kPatience + kSecond;

const Situation kSituations[] = {
    {"nothing at all", [](Watched& rig) { rig.pass(100 * kPatience); }, false},
    {"half a header: it holds nothing",
     [](Watched& rig) {
       rig.feed(write_of(kLong).substr(0, 20));
       rig.pass(100 * kPatience);
     },
     false},
    {"a WRITE's header and nothing more",
     [](Watched& rig) {
       rig.feed(write_of(kLong));
       rig.pass(kLongEnough);
     },
     true},
    {"half of a WRITE",
     [](Watched& rig) {
       rig.feed(write_of(kLong) + payload(kLong / 2));
       rig.pass(kLongEnough);
     },
     true},
    {"a payload that drips",
     [](Watched& rig) {
       rig.feed(write_of(kLong));
       for (int i = 0; i < 5; ++i) {
         rig.feed("x");
         rig.pass(kPatience / 2);
       }
     },
     true},
    {"a payload that comes just fast enough",
     [](Watched& rig) {
       rig.feed(write_of(kLong));
       for (std::size_t at = 0; at < kLong; at += kEnough) {
         rig.feed(payload(kEnough));
         rig.pass(kPatience - 1);
       }
       rig.backend.complete_all();
       rig.send();
       rig.pass(kLongEnough);
     },
     false},
    {"a payload that is complete just before the end, and another one that begins then",
     [](Watched& rig) {
       for (int i = 0; i < 4; ++i) {
         rig.feed(write_of(512));
         rig.pass(kPatience - 1);
         rig.feed(payload(512));
         rig.backend.complete_all();
         rig.send();
       }
     },
     false},
    {"a payload that we do not read for want of memory",
     [](Watched& rig) {
       rig.feed(write_of(kLong) + payload(4096));
       rig.backend.no_room = [] { return true; };
       rig.feed(payload(4096));  // the segment that it has
       REQUIRE(rig.connection.stalled());
       rig.pass(kLongEnough);
       rig.backend.no_room = [] { return false; };
       rig.connection.on_room(rig.now);
       rig.pass(kPatience - 1);  // from here on it is the client's move
     },
     false},
    {"the same, with memory there again just before the end of the window",
     [](Watched& rig) {
       rig.feed(write_of(kLong));
       rig.backend.no_room = [] { return true; };
       rig.feed(payload(4096));
       REQUIRE(rig.connection.stalled());
       rig.pass(kPatience - 1);
       rig.backend.no_room = [] { return false; };
       rig.connection.on_room(rig.now);
       rig.pass(kPatience - 1);
     },
     false},
    {"the same, and then it sends nothing",
     [](Watched& rig) {
       rig.feed(write_of(kLong) + payload(4096));
       rig.backend.no_room = [] { return true; };
       rig.feed(payload(4096));
       rig.pass(kLongEnough);
       rig.backend.no_room = [] { return false; };
       rig.connection.on_room(rig.now);
       rig.pass(kLongEnough);
     },
     true},
    {"a request that waits for memory",
     [](Watched& rig) {
       rig.backend.no_room = [] { return true; };
       rig.feed(write_of(kLong));
       REQUIRE(rig.connection.stalled());
       rig.pass(100 * kPatience);
     },
     false},
    {"a payload that is dropped, of a WRITE that failed early",
     [](Watched& rig) {
       rig.feed(write_of(kLong) + payload(4096));
       rig.connection.finish(*rig.backend.any_in_use(), proto::nbd::Error::eio);
       rig.pass(kLongEnough);
     },
     true},
    {"a payload that is dropped, of a WRITE that was refused: it holds nothing",
     [](Watched& rig) {
       rig.feed(write_of(kLong, 1 << 20));
       rig.pass(100 * kPatience);
     },
     false},
    {"requests with the backend",
     [](Watched& rig) {
       rig.feed(read_of(4096) + write_of(4096) + payload(4096));
       rig.pass(100 * kPatience);
     },
     false},
    {"requests with the backend, and the in-flight limit",
     [](Watched& rig) {
       for (int i = 0; i < 4; ++i) rig.feed(read_of(4096));
       rig.feed(write_of(kLong));
       rig.pass(100 * kPatience);
     },
     false},
    {"replies that nobody takes",
     [](Watched& rig) {
       ready_reads(rig, 2, 32 * 1024);
       rig.pass(kLongEnough);
     },
     true},
    {"the same, while another request is with the backend",
     [](Watched& rig) {
       ready_reads(rig, 2, 32 * 1024);
       rig.feed(read_of(4096));
       rig.pass(kLongEnough);
     },
     true},
    {"the same, at the in-flight limit",
     [](Watched& rig) {
       ready_reads(rig, 4, 4096);
       rig.feed(write_of(kLong));
       rig.pass(kLongEnough);
     },
     true},
    {"replies that are taken by drips",
     [](Watched& rig) {
       ready_reads(rig, 2, 128 * 1024);
       for (int i = 0; i < 6; ++i) {
         CHECK(rig.take_bytes(1) == 1);
         rig.pass(kPatience / 2);
       }
     },
     true},
    {"replies that are taken just fast enough",
     [](Watched& rig) {
       ready_reads(rig, 2, 128 * 1024);
       while (rig.take_bytes(kEnough) > 0) rig.pass(kPatience - 1);
     },
     false},
    {"a small reply in each window, all taken",
     [](Watched& rig) {
       for (int i = 0; i < 6; ++i) {
         ready_reads(rig, 1, 512);
         rig.pass(kPatience - 1);
         rig.send();
       }
     },
     false},
    {"an error that nobody takes: it holds nothing",
     [](Watched& rig) {
       rig.feed(request(99, 0, 1, 0, 0));
       rig.refuse();
       rig.pass(100 * kPatience);
     },
     false},
    {"half of a WRITE, at a restart",
     [](Watched& rig) {
       rig.feed(write_of(kLong) + payload(4096));
       rig.connection.begin_handover(rig.now);
       rig.pass(kLongEnough);
     },
     true},
    {"half of a WRITE, at a shutdown",
     [](Watched& rig) {
       rig.feed(write_of(kLong) + payload(4096));
       rig.pass(kPatience / 2);
       rig.connection.begin_drain(rig.now);
       rig.pass(kLongEnough);
     },
     true},
    {"replies that nobody takes, at a shutdown",
     [](Watched& rig) {
       ready_reads(rig, 1, 4096);
       rig.connection.begin_drain(rig.now);
       rig.refuse();
       rig.pass(kLongEnough);
     },
     true},
    {"replies that are taken by drips, after a goodbye",
     [](Watched& rig) {
       ready_reads(rig, 2, 128 * 1024);
       rig.feed(disc());
       for (int i = 0; i < 8; ++i) {
         rig.take_bytes(1);
         rig.pass(kPatience / 2);
       }
     },
     true},
    {"requests with the backend, after a goodbye",
     [](Watched& rig) {
       rig.feed(read_of(4096) + disc());
       rig.pass(100 * kPatience);
     },
     false},
};

}  // namespace

TEST_CASE("stalled: who is cut off, and who is not") {
  for (const bool structured : {false, true}) {
    for (const Situation& situation : kSituations) {
      CAPTURE(structured);
      const std::string what = situation.what;
      CAPTURE(what);
      {
        Watched rig(structured);
        situation.happens(rig);
        CHECK(rig.cut_off() == situation.ends);
        CHECK(rig.connection.wants_close() == situation.ends);
        rig.disconnect();
        CHECK((rig.connection.close_reason() == CloseReason::stalled) == situation.ends);
      }
      {  // in nobody's way
        Watched rig(structured);
        rig.backend.others = false;
        situation.happens(rig);
        CHECK(!rig.cut_off());
      }
    }
  }
}

TEST_CASE("stalled: not before its time") {
  Watched payload_owed(false);
  payload_owed.feed(write_of(kLong));
  payload_owed.pass(kPatience - 1);
  CHECK(!payload_owed.cut_off());
  payload_owed.pass(1);
  CHECK(payload_owed.cut_off());

  Watched replies_owed(false);
  ready_reads(replies_owed, 1, 4096);
  replies_owed.pass(kPatience - 1);
  CHECK(!replies_owed.cut_off());
  replies_owed.pass(kPatience + 1);
  CHECK(replies_owed.cut_off());
}

TEST_CASE("stalled: a reply that took the backend long is no one's fault") {
  Watched rig(false);
  rig.feed(read_of(4096));
  rig.pass(100 * kPatience);
  rig.backend.complete_all();
  rig.refuse();
  rig.pass(kPatience - 1);
  CHECK(!rig.cut_off());
}

TEST_CASE("stalled: nobody waits, and then somebody does") {
  for (const bool reads : {false, true}) {
    Watched rig(false);
    rig.backend.others = false;
    if (reads) {
      ready_reads(rig, 1, 4096);
    } else {
      rig.feed(write_of(kLong));
    }
    rig.pass(100 * kPatience);
    CHECK(!rig.connection.wants_close());
    rig.backend.others = true;
    rig.pass(kPatience);
    CHECK(rig.cut_off());
    CHECK(rig.connection.debt().lasted > 99 * kPatience);
  }
}

TEST_CASE("stalled: what was owed is told") {
  Watched writer(false);
  writer.feed(write_of(kLong) + payload(100));
  writer.pass(kPatience);
  REQUIRE(writer.cut_off());
  CHECK(writer.connection.debt().payload == kLong - 100);
  CHECK(writer.connection.debt().replies == 0);
  CHECK(writer.connection.debt().lasted == kPatience);

  for (const bool structured : {false, true}) {
    Watched reader(structured);
    ready_reads(reader, 2, 8192);
    CHECK(reader.take_bytes(50) == 50);
    reader.pass(kLongEnough);
    REQUIRE(reader.cut_off());
    CHECK(reader.connection.debt().payload == 0);
    CHECK(reader.connection.debt().replies == 2 * 8192 + 2 * (structured ? 28 : 16) - 50);
  }
}

TEST_CASE("stalled: no deadline of a client that owes nothing, and one for each window of one that is busy") {
  Watched rig(false);
  CHECK(rig.connection.next_deadline() == proto::kNever);
  int looks = 0;
  for (int i = 0; i < 1000; ++i) {
    rig.feed(read_of(4096) + write_of(4096) + payload(4096));
    rig.backend.complete_all();
    rig.send();
    rig.now += kPatience / 100;
    if (rig.now < rig.connection.next_deadline()) continue;
    ++looks;
    rig.connection.on_deadline(rig.now);
  }
  CHECK(looks <= 10);
  rig.pass(2 * kPatience);
  CHECK(rig.connection.next_deadline() == proto::kNever);
}

TEST_CASE("stalled: another timeout counts for those who are there") {
  Watched shorter(false);
  shorter.connection.set_stall_timeout(3600 * kSecond, shorter.now);
  shorter.feed(write_of(kLong));
  shorter.pass(1800 * kSecond);
  CHECK(!shorter.cut_off());
  shorter.connection.set_stall_timeout(kSecond, shorter.now);
  shorter.pass(kSecond);
  CHECK(shorter.cut_off());

  Watched longer(false);
  longer.feed(write_of(kLong));
  longer.connection.set_stall_timeout(100 * kSecond, longer.now);
  longer.pass(99 * kSecond);
  CHECK(!longer.cut_off());
  longer.pass(10 * kSecond);
  CHECK(longer.cut_off());
}

TEST_CASE("stalled: after others that were closed it has less time") {
  for (const bool replies : {false, true}) {
    CAPTURE(replies);
    Watched rig(true);
    rig.backend.hurry = 4;
    if (replies) {
      ready_reads(rig, 2, 32 * 1024);
    } else {
      rig.feed(write_of(kLong));
    }
    rig.pass(kPatience / 4 - 1);
    CHECK_FALSE(rig.cut_off());
    CHECK(rig.backend.closed == 0);
    rig.pass(kPatience / 4 + 1);
    CHECK(rig.cut_off());
    CHECK(rig.backend.closed == 1);
    CHECK(rig.connection.debt().lasted >= kPatience / 4);
  }
}
