#include "gateway/initiator/pdu_reader.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <deque>
#include <functional>

#include "proto/bytes/iovecs.hpp"
#include "tests/unit/initiator/wire.hpp"
#include "tests/unit/random.hpp"

using namespace nbdgw;
using namespace nbdgw::initiator;
using proto::iscsi::Bhs;
using test::Bytes;
using test::Pdu;
using test::to_bytes;

namespace {

constexpr proto::Micros kNow = 4711;

/// A reader, the shell that receives into it, and a handler that keeps what comes out.
struct Reader final : PduHandler {
  Placement place(const Bhs& bhs) override {
    ++placed;
    return where(bhs);
  }
  ConnectionError complete_pdu(const ReceivedPdu& pdu, proto::Micros now) override {
    CHECK(now == kNow);
    done.push_back({.bhs = pdu.bhs, .ahs = {}, .data = Bytes(pdu.data.begin(), pdu.data.end())});
    return then();
  }

  /// Receives at most `most` bytes at once into `entries` entries; returns how many bytes were taken.
  std::size_t receive(std::span<const std::uint8_t> bytes, std::size_t most, std::size_t entries = 8) {
    std::array<iovec, 16> all;
    const std::span<iovec> out = std::span(all).first(reader.rx_buffers(std::span(all).first(entries)));
    if (std::any_of(out.begin(), out.end(), [](const iovec& entry) { return entry.iov_len == 0; })) FAIL("no room");
    const std::size_t n = std::min({most, bytes.size(), proto::total_length(out)});
    proto::copy_in(out, 0, bytes.data(), n);
    error = reader.on_received(n, *this, kNow);
    return n;
  }
  /// All of it, in pieces of at most this many bytes. Ends at the first error, which it returns.
  ConnectionError feed(std::span<const std::uint8_t> bytes, std::size_t most = ~std::size_t{0}) {
    while (!bytes.empty() && error == ConnectionError::none) bytes = bytes.subspan(receive(bytes, most));
    return error;
  }

  std::function<Placement(const Bhs&)> where = [](const Bhs&) { return Placement{}; };
  std::function<ConnectionError()> then = [] { return ConnectionError::none; };
  PduReader reader;
  ConnectionError error = ConnectionError::none;
  int placed = 0;
  std::vector<Pdu> done;
};

/// A PDU with this number as its Initiator Task Tag. Its bytes are none that padding or memory have anyway.
Pdu numbered(std::uint32_t number, std::size_t data, std::size_t ahs = 0) {
  Pdu pdu;
  for (std::size_t i = 0; i < pdu.bhs.size(); ++i) pdu.bhs[i] = static_cast<std::uint8_t>(0x40 + i + number);
  pdu.bhs[4] = static_cast<std::uint8_t>(ahs / 4);
  for (std::size_t i = 0; i < 3; ++i) pdu.bhs[5 + i] = static_cast<std::uint8_t>(data >> (16 - 8 * i));
  for (std::size_t i = 0; i < 4; ++i) pdu.bhs[16 + i] = static_cast<std::uint8_t>(number >> (24 - 8 * i));
  for (std::size_t i = 0; i < ahs; ++i) pdu.ahs.push_back(static_cast<std::uint8_t>(0x90 + i));
  for (std::size_t i = 0; i < data; ++i)
    pdu.data.push_back(static_cast<std::uint8_t>(1 + (number * 7 + i * 3) % 251));
  return pdu;
}

void append(Bytes& to, const Bytes& bytes) {
  to.insert(to.end(), bytes.begin(), bytes.end());
}

std::uint32_t number_of(const Bhs& bhs) {
  return proto::iscsi::Prefix::decode(bhs).itt;
}

/// A command's memory in pieces, of which a run at an offset is for one data segment.
struct Memory {
  Memory(std::size_t before, const std::vector<std::size_t>& lengths) : offset(before) {
    for (const std::size_t length : lengths) pieces.emplace_back(length);
    for (Bytes& piece : pieces) list.push_back({piece.data(), piece.size()});
  }
  Placement placement() const { return {.list = list, .offset = offset}; }
  /// Whether `data` is at its place, and nothing anywhere else.
  bool holds(const Bytes& data) const {
    Bytes expected(proto::total_length(list));
    std::copy(data.begin(), data.end(), expected.begin() + static_cast<std::ptrdiff_t>(offset));
    Bytes all;
    for (const Bytes& piece : pieces) append(all, piece);
    return all == expected;
  }

  std::size_t offset;
  std::deque<Bytes> pieces;
  std::vector<iovec> list;
};

struct Digests {
  bool header, data;
};
constexpr Digests kAllDigests[] = {{false, false}, {true, false}, {false, true}, {true, true}};

}  // namespace

TEST_CASE("pdu reader: two PDUs, cut in two at every byte") {
  for (const Digests digests : kAllDigests) {
    for (const std::size_t length : {0U, 1U, 3U, 4U, 50U}) {
      const std::size_t ahs = length % 2 == 0 ? 0 : PduReader::kMaxAhsLength;
      const Pdu first = numbered(1, length, ahs), second = numbered(2, 7);
      Bytes stream = to_bytes(first, digests.header, digests.data);
      const std::size_t whole = stream.size();
      append(stream, to_bytes(second, digests.header, digests.data));
      for (std::size_t cut = 0; cut <= stream.size(); ++cut) {
        INFO(length, " ", cut);
        Memory memory(2, {1, 3, length + 4});
        Reader rig;
        rig.reader.set_digests(digests.header, digests.data);
        rig.where = [&](const Bhs& bhs) { return number_of(bhs) == 1 ? memory.placement() : Placement{}; };
        REQUIRE(rig.feed(std::span(stream).first(cut)) == ConnectionError::none);
        REQUIRE(rig.done.size() == std::size_t{cut >= whole} + std::size_t{cut == stream.size()});
        REQUIRE(rig.feed(std::span(stream).subspan(cut)) == ConnectionError::none);
        REQUIRE(rig.done.size() == 2);
        REQUIRE(rig.done[0].bhs == first.bhs);
        REQUIRE(memory.holds(first.data));
        REQUIRE(rig.done[1].bhs == second.bhs);
        REQUIRE(rig.done[1].data == second.data);
      }
    }
  }
}

TEST_CASE("pdu reader: whatever the peer sends and however it comes, against a model") {
  auto random = test::seeded_random();
  const auto below = [&](std::size_t bound) { return static_cast<std::size_t>(random() % bound); };
  for (int round = 0; round < 60; ++round) {
    enum class Kind : std::uint8_t { control, memory, discard };
    struct Expected {
      Pdu pdu;
      Kind kind;
      Memory memory;
    };
    const Digests digests = kAllDigests[below(4)];
    std::deque<Expected> expected;
    Bytes stream;
    const std::size_t count = 1 + below(80);
    for (std::uint32_t number = 0; number < count; ++number) {
      const auto kind = static_cast<Kind>(below(3));
      std::size_t length = below(4) == 0 ? 0 : below(4) == 0 ? below(3 * PduReader::kStaging) : below(600);
      if (kind == Kind::control) length = std::min<std::size_t>(length, PduReader::kMaxControlLength);
      std::vector<std::size_t> pieces;
      const std::size_t before = below(300);
      for (std::size_t room = 0; room < before + length; room += pieces.back())
        pieces.push_back(1 + below(length + 9));
      expected.push_back(
          {numbered(number, length, 4 * below(PduReader::kMaxAhsLength / 4 + 1)), kind, Memory(before, pieces)});
      Bytes bytes = to_bytes(expected.back().pdu, digests.header, digests.data);
      // Nobody looks at what is not wanted.
      if (kind == Kind::discard && digests.data && length > 0) bytes.back() ^= 1;
      append(stream, bytes);
    }
    Reader rig;
    rig.reader.set_digests(digests.header, digests.data);
    rig.reader.set_max_data_length(3 * PduReader::kStaging);
    rig.where = [&](const Bhs& bhs) -> Placement {
      REQUIRE(number_of(bhs) == rig.done.size());
      const Expected& next = expected[rig.done.size()];
      if (next.kind == Kind::memory) return next.memory.placement();
      return {.discard = next.kind == Kind::discard};
    };
    const std::size_t most = stream.size() < 20'000 ? 1 + below(60) : 1 + below(100'000);
    for (std::span<const std::uint8_t> rest = stream; !rest.empty();) {
      rest = rest.subspan(rig.receive(rest, below(most + 1), 3 + below(14)));
      if (rig.error != ConnectionError::none) FAIL(to_string(rig.error));
    }
    REQUIRE(rig.done.size() == count);
    for (std::size_t i = 0; i < count; ++i) {
      const Expected& each = expected[i];
      REQUIRE(rig.done[i].bhs == each.pdu.bhs);
      REQUIRE((each.kind == Kind::control || rig.done[i].data.empty()));
      if (each.kind == Kind::control) REQUIRE(rig.done[i].data == each.pdu.data);
      REQUIRE(each.memory.holds(each.kind == Kind::memory ? each.pdu.data : Bytes{}));
    }
  }
}

TEST_CASE("pdu reader: with digests no bit can fall over unnoticed") {
  const Pdu pdu = numbered(1, 21, 8);
  const Bytes good = to_bytes(pdu, true, true);
  const std::size_t header = 48 + 8 + 4;
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    CAPTURE(bit);
    Bytes stream = good;
    stream[bit / 8] ^= static_cast<std::uint8_t>(1 << bit % 8);
    stream.resize(stream.size() + 200);  // so that nothing waits for what a length falsely promises
    Reader rig;
    rig.reader.set_digests(true, true);
    const ConnectionError error = rig.feed(stream, bit % 3 == 0 ? 5 : 1000);
    CHECK(rig.done.empty());
    if (bit / 8 >= header) {
      CHECK(error == ConnectionError::data_digest);
    } else {
      CHECK(rig.placed == 0);  // no length or tag of it was believed
      CHECK((error == ConnectionError::header_digest || (bit / 8 == 4 && error == ConnectionError::ahs_length)));
    }
  }
}

TEST_CASE("pdu reader: padding may be anything, and the data digest covers it") {
  const Pdu pdu = numbered(1, 21);
  for (const bool digest : {false, true}) {
    Bytes stream = to_bytes(pdu, false, false);
    std::fill(stream.end() - 3, stream.end(), std::uint8_t{0xee});
    const std::uint32_t crc = test::other_crc32c(std::span(stream).subspan(48));
    for (int i = 0; digest && i < 4; ++i) stream.push_back(static_cast<std::uint8_t>(crc >> (8 * i)));
    Reader rig;
    rig.reader.set_digests(false, digest);
    CHECK(rig.feed(stream) == ConnectionError::none);
    REQUIRE(rig.done.size() == 1);
    CHECK(rig.done[0].data == pdu.data);
  }
}

TEST_CASE("pdu reader: additional headers up to the limit, and not a word more") {
  for (const bool digest : {false, true}) {
    for (std::size_t words = 0; words < 256; ++words) {
      CAPTURE(words);
      Reader rig;
      rig.reader.set_digests(digest, false);
      const bool fits = words * 4 <= PduReader::kMaxAhsLength;
      const Bytes stream = to_bytes(numbered(1, 3, words * 4), digest, false);
      CHECK(rig.feed(stream, 9) == (fits ? ConnectionError::none : ConnectionError::ahs_length));
      CHECK(rig.done.size() == std::size_t{fits});
    }
  }
}

TEST_CASE("pdu reader: a data segment as long as was agreed, and not a byte longer") {
  // The header alone: what is too long is refused before anybody says where it goes, or any of it has come.
  const auto begin = [](Reader& rig, std::size_t length) {
    const Bhs bhs = numbered(1, length).bhs;
    return rig.feed(bhs);
  };
  for (const std::uint32_t agreed : {1U, 512U, 8192U, 16384U, 262144U}) {
    for (const std::size_t length : {std::size_t{agreed}, std::size_t{agreed} + 1, std::size_t{0xffffff}}) {
      INFO(agreed, " ", length);
      Memory memory(0, {length});
      Reader rig;
      if (agreed != 8192) rig.reader.set_max_data_length(agreed);
      rig.where = [&](const Bhs&) { return memory.placement(); };
      CHECK(begin(rig, length) == (length == agreed ? ConnectionError::none : ConnectionError::data_length));
      CHECK(rig.placed == int{length == agreed});
    }
  }
  Reader rig;
  rig.reader.set_max_data_length(512);
  rig.reader.reset();  // the next connection has agreed on nothing
  CHECK(begin(rig, 8192) == ConnectionError::none);
  rig.reader.reset();
  CHECK(begin(rig, 8193) == ConnectionError::data_length);
}

TEST_CASE("pdu reader: what has no place goes into memory of the reader's own, as far as that reaches") {
  for (const std::size_t excess : {0U, 1U}) {
    Reader rig;
    rig.reader.set_max_data_length(1 << 20);
    const Pdu pdu = numbered(1, PduReader::kMaxControlLength + excess);
    const ConnectionError error = rig.feed(to_bytes(pdu, false, false), 1000);
    CHECK(error == (excess == 0 ? ConnectionError::none : ConnectionError::data_length));
    CHECK(rig.done.size() == 1 - excess);
    if (excess == 0) CHECK(rig.done[0].data == pdu.data);
  }
}

TEST_CASE("pdu reader: an error of the handler's is the connection's, and nothing comes after it") {
  const Bytes one = to_bytes(numbered(1, 40), false, false);
  Bytes stream = one;
  append(stream, one);
  for (const bool at_place : {false, true}) {
    Reader rig;
    if (at_place) rig.where = [](const Bhs&) { return Placement{.error = ConnectionError::bad_itt}; };
    if (!at_place) rig.then = [] { return ConnectionError::bad_itt; };
    CHECK(rig.feed(stream) == ConnectionError::bad_itt);
    CHECK(rig.placed == 1);
    CHECK(rig.done.size() == (at_place ? 0 : 1));
  }
}

TEST_CASE("pdu reader: payload is received where it belongs, and never by way of the staging buffer") {
  for (const std::size_t length : {std::size_t{PduReader::kLargeSegment}, std::size_t{100'000}}) {
    Memory memory(10, {1000, length - 2000, 9000});
    const Bytes stream = to_bytes(numbered(1, length), true, true);
    Reader rig;
    rig.reader.set_max_data_length(1 << 20);
    rig.reader.set_digests(true, true);
    rig.where = [&](const Bhs&) { return memory.placement(); };
    rig.feed(std::span(stream).first(52));
    std::array<iovec, 8> out;
    REQUIRE(rig.reader.rx_buffers(out) ==
            5);  // two of data, the rest of the third, padding and digest, the next header
    CHECK(out[0].iov_base == memory.pieces[0].data() + 10);
    CHECK(out[1].iov_base == memory.pieces[1].data());
    CHECK(out[2].iov_base == memory.pieces[2].data());
    CHECK(proto::total_length(std::span(out).first(3)) == length);
    CHECK(out[3].iov_len == proto::iscsi::padding(static_cast<std::uint32_t>(length)) + 4);
    CHECK(out[4].iov_len == PduReader::kHeaderRoom);  // not more of what follows, which may be as large
    rig.feed(std::span(stream).subspan(52));
    CHECK(rig.done.size() == 1);
    // The same before the next header, however much of that has come; and again all of it once small ones come.
    CHECK(proto::total_length(std::span(out).first(rig.reader.rx_buffers(out))) == PduReader::kHeaderRoom);
    rig.where = [](const Bhs&) { return Placement{}; };
    rig.feed(to_bytes(numbered(2, 8), true, true));
    CHECK(rig.done.size() == 2);
    CHECK(proto::total_length(std::span(out).first(rig.reader.rx_buffers(out))) > PduReader::kStaging / 2);
  }
}

TEST_CASE("pdu reader: digests that a PDU switches on hold for the next, though it came in one piece with it") {
  for (const Digests digests : kAllDigests) {
    Bytes stream = to_bytes(numbered(1, 30), false, false);
    append(stream, to_bytes(numbered(2, 30), digests.header, digests.data));
    append(stream, to_bytes(numbered(3, 0), digests.header, digests.data));
    for (const std::size_t most : {std::size_t{1}, stream.size()}) {
      Reader rig;
      rig.then = [&] {
        rig.reader.set_digests(digests.header, digests.data);
        return ConnectionError::none;
      };
      CHECK(rig.feed(stream, most) == ConnectionError::none);
      REQUIRE(rig.done.size() == 3);
      CHECK(rig.done[1].data == numbered(2, 30).data);
    }
  }
}

TEST_CASE("pdu reader: a new connection knows nothing of the old one, wherever that ended") {
  const Bytes old = to_bytes(numbered(1, 50, 12), true, true);
  const Pdu pdu = numbered(2, 5);
  for (std::size_t cut = 0; cut <= old.size(); ++cut) {
    CAPTURE(cut);
    Reader rig;
    rig.reader.set_digests(true, true);
    rig.feed(std::span(old).first(cut));
    rig.reader.reset();
    rig.done.clear();
    REQUIRE(rig.feed(to_bytes(pdu, false, false)) == ConnectionError::none);
    REQUIRE(rig.done.size() == 1);
    REQUIRE(rig.done[0].data == pdu.data);
  }
}

TEST_CASE("pdu reader: a PDU that ends the connection takes with it what came behind it") {
  Bytes stream = to_bytes(numbered(1, 9), false, false);
  append(stream, to_bytes(numbered(2, 9), false, false));
  for (const bool at_place : {false, true}) {
    Reader rig;
    rig.where = [&](const Bhs& bhs) {
      if (at_place && number_of(bhs) == 1) rig.reader.reset();
      return Placement{};
    };
    if (!at_place) rig.then = [&] { return rig.reader.reset(), ConnectionError::none; };
    CHECK(rig.feed(stream) == ConnectionError::none);
    CHECK(rig.done.size() == (at_place ? 0 : 1));
    rig.done.clear();
    CHECK(rig.feed(to_bytes(numbered(3, 2), false, false)) == ConnectionError::none);
    REQUIRE(rig.done.size() == 1);
    CHECK(rig.done[0].bhs == numbered(3, 2).bhs);
  }
}

TEST_CASE("pdu reader: rubbish stays inside its bounds") {
  auto random = test::seeded_random();
  std::uint32_t taken = 0;
  for (int round = 0; round < 2'000; ++round) {
    Bytes stream(random() % 4'000);
    for (std::uint8_t& byte : stream) byte = static_cast<std::uint8_t>(random());
    const Digests digests = kAllDigests[random() % 4];
    Reader rig;
    Memory memory(round % 5, {700, 1, 2'000});
    rig.reader.set_digests(digests.header, digests.data);
    rig.reader.set_max_data_length(2'000);
    rig.where = [&](const Bhs& bhs) {
      REQUIRE(proto::iscsi::Prefix::decode(bhs).data_length <= 2'000);
      return random() % 2 == 0 ? memory.placement() : Placement{.discard = random() % 2 == 0};
    };
    for (std::size_t at = 0; at + 8 < stream.size(); at += 40) {  // lengths that are not all refused
      stream[at + 4] = static_cast<std::uint8_t>(random() % 18);
      stream[at + 5] = 0;
      stream[at + 6] = static_cast<std::uint8_t>(random() % 9);
    }
    rig.feed(stream, 1 + random() % 500);
    if (digests.header) REQUIRE(rig.done.empty());
    taken += static_cast<std::uint32_t>(rig.done.size());
  }
  CHECK(taken > 0);
}
