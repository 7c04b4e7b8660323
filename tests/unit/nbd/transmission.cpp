#include <cstring>

#include <doctest/doctest.h>

#include "tests/unit/nbd/rig.hpp"
#include "tests/unit/nbd/wire.hpp"

using namespace nbdgw;
using namespace nbdgw::test;
using nbd::CloseReason;
using proto::nbd::Error;

namespace {

constexpr std::size_t kSegment = 4096;  // of the rig's backend

std::string pattern(std::size_t length, char first = 'a') {
  std::string text(length, '\0');
  for (std::size_t i = 0; i < length; ++i) text[i] = static_cast<char>(first + static_cast<char>(i % 23));
  return text;
}

/// Attached, with the output of the handshake taken, and nothing completed unless the test says so.
struct Attached final : Rig {
  explicit Attached(bool structured, const nbd::ConnectionOptions& options = {}) : Rig(options) {
    feed(attach(structured));
    take();
    automatic = false;
  }
  FakeRequest& running(std::size_t index) { return *backend.running().at(index); }
  std::string sent() {
    send();
    return take();
  }
};

}  // namespace

TEST_CASE("transmission: write, read back, flush, zero, trim; simple and structured") {
  const std::string data = pattern(10'000);
  const std::string client = request(kWrite, kFua, 1, 100, 10'000) + data + request(kRead, 0, 2, 100, 10'000) +
                             request(kFlush, 0, 3, 0, 0) + request(kZeroes, kNoHole, 4, 100, 5'000) +
                             request(kRead, kFua, 5, 5'099, 3) + request(kTrim, kFua, 6, 0, 1 << 20);
  const std::string tail = std::string(1, '\0') + data.substr(5'000, 2);
  check_script({attach(false) + client + disc(),
                attached(false) + simple(0, 1) + simple(0, 2, data) + simple(0, 3) + simple(0, 4) +
                    simple(0, 5, tail) + simple(0, 6),
                CloseReason::disc});
  check_script({attach(true) + client + disc(),
                attached(true) + simple(0, 1) + data_chunk(true, 2, 100, data) + simple(0, 3) + simple(0, 4) +
                    data_chunk(true, 5, 5'099, tail) + simple(0, 6),
                CloseReason::disc});
}

TEST_CASE("transmission: replies in the order of completion, cookies untouched") {
  Attached rig(false);
  rig.feed(request(kRead, 0, ~std::uint64_t{0}, 0, 8) + request(kFlush, 0, 0, 0, 0) + request(kTrim, 0, 42, 0, 8));
  REQUIRE(rig.backend.running().size() == 3);
  rig.backend.complete(rig.running(1));
  rig.backend.complete(rig.running(1));
  rig.backend.complete(rig.running(0));
  CHECK(rig.sent() == simple(0, 0) + simple(0, 42) + simple(0, ~std::uint64_t{0}, std::string(8, '\0')));
}

TEST_CASE("transmission: structured READ, chunks leave as they come, DONE is on the last one") {
  Attached rig(true);
  const std::string data = pattern(3 * kSegment);
  rig.feed(request(kWrite, 0, 1, 0, 3 * kSegment) + data);
  rig.backend.complete(rig.running(0));
  CHECK(rig.sent() == simple(0, 1));

  SUBCASE("one after the other, the outcome last") {
    rig.feed(request(kRead, 0, 2, 0, 3 * kSegment));
    rig.backend.read_segment(rig.running(0), 1);
    CHECK(rig.told == 2);
    CHECK(rig.sent() == data_chunk(false, 2, kSegment, data.substr(kSegment, kSegment)));
    CHECK(rig.backend.segments_out == 2);  // given back as soon as it is sent
    rig.backend.read_segment(rig.running(0), 0);
    rig.backend.read_segment(rig.running(0), 0);
    CHECK(rig.sent() == data_chunk(false, 2, 0, data.substr(0, kSegment)) +
                            data_chunk(false, 2, 2 * kSegment, data.substr(2 * kSegment)));
    rig.backend.complete(rig.running(0));
    CHECK(rig.sent() == chunk(true, 0, 2));
  }
  SUBCASE("the last segment and the outcome together") {
    rig.feed(request(kRead, 0, 2, 0, 3 * kSegment));
    rig.backend.read_segment(rig.running(0), 2);
    CHECK(rig.sent() == data_chunk(false, 2, 2 * kSegment, data.substr(2 * kSegment)));
    rig.backend.read_segment(rig.running(0), 1);
    rig.backend.complete(rig.running(0));
    CHECK(rig.sent() == data_chunk(false, 2, kSegment, data.substr(kSegment, kSegment)) +
                            data_chunk(true, 2, 0, data.substr(0, kSegment)));
  }
  SUBCASE("an error after some data") {
    rig.feed(request(kRead, 0, 2, 0, 3 * kSegment));
    rig.backend.read_segment(rig.running(0), 0);
    CHECK(rig.sent() == data_chunk(false, 2, 0, data.substr(0, kSegment)));
    rig.backend.read_segment(rig.running(0), 1);
    rig.backend.complete(rig.running(0), Error::eio, "bad sector.");
    CHECK(rig.sent() == error_chunk(2, 5, "bad sector."));
  }
  SUBCASE("DF: one piece, whatever the segments do") {
    rig.feed(request(kRead, kDf, 2, 0, 3 * kSegment));
    rig.backend.read_segment(rig.running(0), 2);
    rig.backend.read_segment(rig.running(0), 0);
    CHECK(rig.sent().empty());
    CHECK(rig.told == 1);
    rig.backend.complete(rig.running(0));
    CHECK(rig.sent() == data_chunk(true, 2, 0, data));
  }
  CHECK(rig.connection.in_flight() == 0);
}

TEST_CASE("transmission: simple READ sends nothing before all of it is there") {
  Attached rig(false);
  rig.feed(request(kRead, 0, 2, 0, 3 * kSegment));
  rig.backend.read_segment(rig.running(0), 1);
  rig.backend.read_segment(rig.running(0), 0);
  CHECK(rig.sent().empty());
  CHECK(rig.told == 0);
  SUBCASE("success") {
    rig.backend.complete(rig.running(0));
    CHECK(rig.told == 1);
    CHECK(rig.sent() == simple(0, 2, std::string(3 * kSegment, '\0')));
  }
  SUBCASE("an error: no data") {
    rig.backend.complete(rig.running(0), Error::eio, "bad sector.");
    CHECK(rig.sent() == simple(5, 2));
  }
}

TEST_CASE("transmission: the segments of a long READ are given back as they are sent") {
  Attached rig(false);
  rig.feed(request(kRead, 0, 2, 0, 4 * kSegment));
  rig.backend.complete(rig.running(0));
  iovec list[64];
  REQUIRE(rig.connection.tx_buffers(list) > 0);
  rig.connection.on_sent(16 + kSegment - 1, rig.now);
  CHECK(rig.backend.segments_out == 4);
  REQUIRE(rig.connection.tx_buffers(list) > 0);
  rig.connection.on_sent(1, rig.now);
  CHECK(rig.backend.segments_out == 3);
  rig.send(1000);
  CHECK(rig.backend.segments_out == 0);
}

TEST_CASE("transmission: at the in-flight limit the connection stops reading until a reply is sent") {
  nbd::ConnectionOptions options;
  options.max_in_flight = 3;
  Attached rig(false, options);
  std::string bytes;
  for (int i = 0; i < 5; ++i) bytes += request(kFlush, 0, static_cast<std::uint64_t>(i), 0, 0);
  rig.feed(bytes);
  iovec list[4];
  CHECK(rig.backend.running().size() == 3);
  CHECK(rig.connection.rx_buffers(list) == 0);
  CHECK(!rig.connection.stalled());
  rig.backend.complete(rig.running(0));
  CHECK(rig.backend.running().size() == 2);  // finished is not answered
  CHECK(rig.sent() == simple(0, 0));
  CHECK(rig.backend.running().size() == 3);
  CHECK(rig.connection.rx_buffers(list) == 0);
  rig.backend.complete(rig.running(0));
  CHECK(rig.sent() == simple(0, 1));
  CHECK(rig.connection.in_flight() == 3);
  rig.backend.complete(rig.running(0));
  rig.sent();
  CHECK(rig.connection.rx_buffers(list) > 0);
  CHECK(rig.connection.counters().in_flight_stops == 2);
}

TEST_CASE("transmission: refused requests wait for a free slot of the reply ring when the client does not read") {
  Attached rig(false);
  std::string bytes;
  const int count = 700;
  for (int i = 0; i < count; ++i) bytes += request(kCache, 0, static_cast<std::uint64_t>(i), 0, 1);
  CHECK(rig.feed(bytes) == bytes.size());  // all in the staging memory
  iovec list[4];
  CHECK(rig.connection.rx_buffers(list) == 0);
  std::string expected;
  for (int i = 0; i < count; ++i) expected += simple(22, static_cast<std::uint64_t>(i));
  CHECK(rig.sent() == expected);
  CHECK(rig.connection.rx_buffers(list) > 0);
}

TEST_CASE("transmission: no room for a request") {
  Attached rig(false);
  bool room = false;
  rig.backend.no_room = [&] { return !room; };
  rig.now = 5'000'000;
  rig.feed(request(kRead, 0, 1, 0, 8) + request(kFlush, 0, 2, 0, 0));
  iovec list[4];
  CHECK(rig.connection.stalled());
  CHECK(rig.connection.rx_buffers(list) == 0);
  rig.now = 6'000'000;
  rig.connection.on_room(rig.now);
  CHECK(rig.connection.stalled());
  room = true;
  rig.connection.on_room(rig.now);
  CHECK(!rig.connection.stalled());
  CHECK(rig.connection.rx_buffers(list) > 0);
  REQUIRE(rig.backend.running().size() == 2);
  CHECK(rig.running(0).arrived_at == 5'000'000);  // the wait counts
  CHECK(rig.running(1).arrived_at == 6'000'000);
  rig.backend.complete_all();
  CHECK(rig.sent() == simple(0, 1, std::string(8, '\0')) + simple(0, 2));
}

TEST_CASE("transmission: no room in the middle of a WRITE") {
  Attached rig(false);
  int pieces = 2;  // the request itself, and one segment
  rig.backend.no_room = [&] { return pieces-- <= 0; };
  const std::string data = pattern(3 * kSegment);
  const std::string bytes = request(kWrite, 0, 1, 0, 3 * kSegment) + data;
  rig.feed(bytes);
  CHECK(rig.connection.stalled());
  pieces = 99;
  rig.connection.on_room(rig.now);
  CHECK(!rig.connection.stalled());
  REQUIRE(rig.backend.running().size() == 1);
  rig.backend.complete_all();
  CHECK(rig.sent() == simple(0, 1));
  CHECK(std::memcmp(rig.backend.disk.get(), data.data(), data.size()) == 0);
}

TEST_CASE("transmission: a WRITE that waits for memory and cannot come whole any more is given up") {
  Attached rig(false);
  int pieces = 1;
  rig.backend.no_room = [&] { return pieces-- <= 0; };
  rig.feed(request(kWrite, 0, 1, 0, 3 * kSegment) + pattern(100));
  REQUIRE(rig.connection.stalled());
  SUBCASE("there may be more of it") {
    rig.connection.on_peer_gone(false, rig.now);
    CHECK(rig.connection.stalled());
    CHECK_FALSE(rig.connection.wants_close());
    CHECK(rig.backend.abandoned == 0);
  }
  SUBCASE("there is no more") {
    rig.connection.on_peer_gone(true, rig.now);
    CHECK_FALSE(rig.connection.stalled());
    CHECK(rig.connection.wants_close());
    CHECK(rig.backend.abandoned == 1);
  }
  rig.disconnect();
  CHECK(rig.backend.requests_out == 0);
}

TEST_CASE("transmission: a WRITE that fails before its payload is there") {
  Attached rig(true);
  const std::string data = pattern(3 * kSegment);
  const std::string bytes = request(kWrite, 0, 1, 0, 3 * kSegment) + data + request(kFlush, 0, 2, 0, 0);
  SUBCASE("in the middle of a segment") {
    rig.feed(std::string_view(bytes).substr(0, 28 + 100));
    FakeRequest& request = *rig.backend.any_in_use();
    request.finished = true;
    rig.connection.finish(request, Error::eio, "gone.");
    CHECK(rig.sent().empty());  // the client is still talking
    rig.feed(std::string_view(bytes).substr(128));
    CHECK(rig.sent() == error_chunk(1, 5, "gone."));
  }
  SUBCASE("while it waits for memory, with the rest of the payload and a request in the staging memory") {
    int pieces = 1;
    rig.backend.no_room = [&] { return pieces-- <= 0; };
    rig.feed(bytes);
    CHECK(rig.connection.stalled());
    FakeRequest& request = *rig.backend.any_in_use();
    request.finished = true;
    pieces = 99;
    rig.connection.finish(request, Error::eio, "gone.");
    CHECK(!rig.connection.stalled());
    CHECK(rig.sent() == error_chunk(1, 5, "gone."));
  }
  SUBCASE("while it waits for memory, before the rest came") {
    int pieces = 2;
    rig.backend.no_room = [&] { return pieces-- <= 0; };
    rig.feed(std::string_view(bytes).substr(0, 28 + kSegment + 1));
    CHECK(rig.connection.stalled());
    FakeRequest& request = *rig.backend.any_in_use();
    request.finished = true;
    pieces = 99;
    rig.connection.finish(request, Error::eio, "gone.");
    CHECK(rig.sent().empty());
    CHECK(rig.feed(std::string_view(bytes).substr(28 + kSegment + 1)) == bytes.size() - 28 - kSegment - 1);
    CHECK(rig.sent() == error_chunk(1, 5, "gone."));
  }
  REQUIRE(rig.backend.running().size() == 1);
  rig.backend.complete_all();
  CHECK(rig.sent() == simple(0, 2));
}

TEST_CASE("transmission: large payloads go straight to their memory, small ones come many in one receive") {
  Attached rig(false);
  iovec list[proto::kRxIovecs];
  REQUIRE(rig.connection.rx_buffers(list) == 1);
  CHECK(list[0].iov_len == 32 * 1024);

  std::string header = request(kWrite, 0, 1, 0, 64 * 1024);
  rig.feed(header);
  CHECK(rig.backend.segments_out == 0);  // who has sent nothing of its payload gets no memory
  REQUIRE(rig.connection.rx_buffers(list) == 1);
  CHECK(list[0].iov_len == 256);
  rig.feed(pattern(1));
  std::size_t n = rig.connection.rx_buffers(list);
  REQUIRE(n == 4);  // the three pieces of the first segment, and a little to see whether the next one is on its way
  CHECK(list[0].iov_len + list[1].iov_len + list[2].iov_len == kSegment - 1);
  CHECK(list[3].iov_len == 256);
  rig.feed(pattern(60 * 1024));
  n = rig.connection.rx_buffers(list);
  REQUIRE(n == 4);
  CHECK(list[3].iov_len == 256);
  rig.feed(pattern(4 * 1024 - 1));
  REQUIRE(rig.connection.rx_buffers(list) == 1);
  CHECK(list[0].iov_len == 256);

  rig.feed(request(kWrite, 0, 2, 0, 100) + "x");
  n = rig.connection.rx_buffers(list);
  REQUIRE(n == 4);
  CHECK(list[3].iov_len == 32 * 1024);
}

// ---- the end
// --------------------------------------------------------------------------------------------------------

TEST_CASE("transmission: DISC finishes what is outstanding, then closes") {
  Attached rig(false);
  rig.feed(request(kFlush, 0, 1, 0, 0) + request(kRead, 0, 2, 0, 8) + disc() + request(kFlush, 0, 3, 0, 0));
  iovec list[4];
  CHECK(rig.connection.rx_buffers(list) == 0);
  CHECK(!rig.connection.wants_close());
  rig.backend.complete(rig.running(0));
  CHECK(rig.sent() == simple(0, 1));
  CHECK(!rig.connection.wants_close());
  rig.backend.complete(rig.running(0));
  CHECK(!rig.connection.wants_close());
  CHECK(rig.sent() == simple(0, 2, std::string(8, '\0')));
  CHECK(rig.connection.wants_close());
  rig.disconnect();
  CHECK(rig.connection.close_reason() == CloseReason::disc);
  CHECK(rig.backend.abandoned == 0);
}

TEST_CASE("transmission: the client vanishes") {
  Attached rig(true);
  rig.feed(request(kRead, 0, 1, 0, 3 * kSegment) + request(kFlush, 0, 2, 0, 0) + request(kFlush, 0, 3, 0, 0) +
           request(kWrite, 0, 4, 0, 3 * kSegment) + pattern(5000));
  rig.backend.read_segment(rig.running(0), 0);
  rig.backend.complete(rig.running(1));
  iovec list[64];
  REQUIRE(rig.connection.tx_buffers(list) > 0);
  rig.connection.on_sent(100, rig.now);  // in the middle of a chunk
  rig.disconnect();
  CHECK(rig.backend.abandoned == 4);
  CHECK(rig.backend.requests_out == 0);
  CHECK(rig.backend.segments_out == 0);
  CHECK(rig.connection.close_reason() == CloseReason::connection_lost);
  CHECK(!rig.connection.wants_close());
}

TEST_CASE("transmission: shutdown finishes what is in flight, and leaves the rest unanswered") {
  Attached rig(true);
  rig.feed(request(kFlush, 0, 1, 0, 0) + request(kWrite, 0, 2, 0, 5000) + pattern(1000));
  rig.connection.begin_drain(rig.now);
  CHECK(!rig.connection.wants_close());
  rig.feed(pattern(4000) + request(kWrite, 0, 3, 0, 100) + pattern(100) + request(kRead, 0, 4, 0, 8));
  CHECK(rig.sent().empty());
  REQUIRE(rig.backend.running().size() == 2);
  rig.backend.complete(rig.running(0));
  CHECK(rig.sent() == simple(0, 1));
  CHECK(!rig.connection.wants_close());
  rig.backend.complete(rig.running(0));
  CHECK(rig.sent() == simple(0, 2));
  CHECK(rig.connection.wants_close());
  CHECK(rig.connection.close_reason() == CloseReason::drained);
}

TEST_CASE("transmission: shutdown with a request that waits for memory, and of an idle connection") {
  Attached rig(false);
  rig.backend.no_room = [] { return true; };
  rig.feed(request(kRead, 0, 1, 0, 8));
  CHECK(rig.connection.stalled());
  rig.connection.begin_drain(rig.now);
  CHECK(!rig.connection.stalled());
  CHECK(rig.sent().empty());
  CHECK(rig.connection.wants_close());

  Attached idle(false);
  idle.connection.begin_drain(idle.now);
  CHECK(idle.connection.wants_close());
  idle.disconnect();
  CHECK(idle.connection.close_reason() == CloseReason::drained);
}

TEST_CASE("transmission: a client that takes nothing is not waited for") {
  Attached rig(false);
  rig.feed(request(kRead, 0, 1, 0, 8192) + disc());
  rig.now += 60 * proto::kSecond;  // the backend takes its time, that is no one's fault
  rig.connection.on_deadline(rig.now);
  rig.now += 60 * proto::kSecond;
  rig.connection.on_deadline(rig.now);
  CHECK(!rig.connection.wants_close());
  rig.backend.complete_all();
  rig.now = rig.connection.next_deadline();
  rig.connection.on_deadline(rig.now);
  iovec list[8];
  REQUIRE(rig.connection.tx_buffers(list) > 0);
  rig.connection.on_sent(10, rig.now);
  rig.now = rig.connection.next_deadline();
  rig.connection.on_deadline(rig.now);
  CHECK(!rig.connection.wants_close());  // it takes something
  rig.now = rig.connection.next_deadline();
  rig.connection.on_deadline(rig.now);
  CHECK(rig.connection.wants_close());
  CHECK(rig.connection.close_reason() == CloseReason::send_timeout);
}

TEST_CASE("transmission: counters") {
  Rig rig;
  const std::string client = attach(false) + request(kWrite, 0, 1, 0, 5000) + pattern(5000) +
                             request(kRead, 0, 2, 0, 5000) + request(99, 0, 3, 0, 0) +
                             request(kWrite, kDf, 4, 0, 10) + pattern(10) + disc();
  rig.feed(client);
  const nbd::Counters& counters = rig.connection.counters();
  CHECK(counters.bytes_received == client.size());
  CHECK(counters.bytes_sent == rig.output.size());
  CHECK(counters.bytes_written == 5000);
  CHECK(counters.bytes_read == 5000);
  CHECK(counters.bytes_discarded == 10);
  CHECK(counters.requests == std::array<std::uint64_t, 10>{1, 2, 1, 0, 0, 0, 0, 0, 0, 1});
  CHECK(counters.replies == std::array<std::uint64_t, 9>{2, 0, 0, 0, 2, 0, 0, 0, 0});
  CHECK(counters.options == 1);
  nbd::Counters sum = counters;
  sum += counters;
  CHECK(sum.bytes_sent == 2 * counters.bytes_sent);
  CHECK(sum.requests[1] == 4);
}
