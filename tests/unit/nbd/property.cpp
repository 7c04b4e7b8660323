// Random requests against a backend that completes in any order, runs out of room and fails at random, with bytes
// moved in pieces of any size while other things happen: what comes back must be what the protocol and the model say.

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <vector>

#include <doctest/doctest.h>

#include "proto/bytes/endian.hpp"
#include "tests/unit/nbd/rig.hpp"
#include "tests/unit/nbd/wire.hpp"
#include "tests/unit/random.hpp"

using namespace nbdgw;
using namespace nbdgw::test;
using proto::load_be16;
using proto::load_be32;
using proto::load_be64;
using proto::nbd::Error;

namespace {

constexpr std::size_t kRegion = 256 * 1024;  // of the disk, where the requests go
constexpr std::size_t kLongest = 40 * 1024;

/// A request of the client that is not answered yet.
struct Asked {
  std::uint16_t command = 0;
  std::uint16_t flags = 0;
  std::uint64_t offset = 0;
  std::uint32_t length = 0;
  std::string data;           // of a WRITE; what a READ must return
  std::uint32_t refusal = 0;  // the error it must get, if not 0
  std::vector<bool> seen;     // bytes of a structured READ that came
  int chunks = 0;
};

/// Client, network and model in one.
class Session {
 public:
  Session(std::uint64_t seed, bool structured)
      : random_(seed), structured_(structured), rig_(options(), segment_length()), model_(kRegion, '\0') {
    rig_.feed(attach(structured));
    rig_.take();
    rig_.automatic = false;
    if (chance(50)) rig_.backend.no_room = [this] { return chance(trouble_); };
  }

  void run(int requests);
  void finish_up();
  const nbd::Counters& counters() const { return rig_.connection.counters(); }

  /// What was met, so that a change of the test cannot make it pointless unseen.
  int early_failures = 0;
  int split_reads = 0;  // READs that came in more than one chunk

 private:
  nbd::ConnectionOptions options() {
    nbd::ConnectionOptions options;
    options.max_in_flight = chance(30) ? 1 + below(3) : 64;
    return options;
  }
  std::size_t segment_length() {
    const std::array<std::size_t, 4> lengths{512, 1000, 4096, 65536};
    return lengths[below(4)];
  }
  std::uint32_t below(std::uint32_t limit) { return static_cast<std::uint32_t>(random_() % limit); }
  bool chance(std::uint32_t percent) { return below(100) < percent; }

  void step();
  void ask();
  bool conflicts(const Asked& asked) const;
  void offer_receive();
  void end_receive();
  void offer_send();
  void end_send();
  void complete_something();
  void parse();
  bool parse_simple();
  bool parse_chunk();
  void answered(std::uint64_t cookie, std::uint32_t error);
  void take_chunk(Asked& asked, std::uint16_t type, std::string_view content);

  std::mt19937_64 random_;
  bool structured_;
  std::uint32_t trouble_ = 10;  // percent
  Rig rig_;
  std::string model_;
  std::map<std::uint64_t, Asked> asked_;
  std::uint64_t next_cookie_ = 1;
  std::string to_server_;
  std::string from_server_;
  std::vector<iovec> receiving_, sending_;  // shown by the engine, under way
};

bool Session::conflicts(const Asked& asked) const {
  return std::any_of(asked_.begin(), asked_.end(), [&](const auto& entry) {
    const Asked& other = entry.second;
    const bool both_read = asked.command == kRead && other.command == kRead;
    return !both_read && asked.offset < other.offset + other.length && other.offset < asked.offset + asked.length;
  });
}

void Session::ask() {
  const std::array<std::uint16_t, 8> commands{kRead, kRead, kRead, kWrite, kWrite, kZeroes, kTrim, kFlush};
  Asked asked;
  asked.command = commands[below(commands.size())];
  if (asked.command != kFlush) {
    asked.length = chance(30) ? below(64) : below(kLongest);
    asked.offset = below(static_cast<std::uint32_t>(kRegion - asked.length));
  }
  if (chance(20)) asked.flags |= kFua;
  if (structured_ && asked.command == kRead && chance(20)) asked.flags |= kDf;
  if (chance(5)) {  // something that is refused
    asked.flags |= 1 << 9;
    asked.refusal = 22;
  }
  if (conflicts(asked)) return;
  if (asked.command == kRead) asked.data = model_.substr(asked.offset, asked.length);
  asked.seen.resize(asked.command == kRead ? asked.length : 0);
  if (asked.command == kWrite) {
    asked.data.resize(asked.length);
    for (char& c : asked.data) c = static_cast<char>(random_());
  }
  const std::uint64_t cookie = next_cookie_++ << 20 | below(1 << 20);
  to_server_ += request(asked.command, asked.flags, cookie, asked.offset, asked.length);
  if (asked.command == kWrite) to_server_ += asked.data;
  asked_.emplace(cookie, std::move(asked));
}

void Session::offer_receive() {
  if (!receiving_.empty()) return;
  receiving_.resize(1 + below(20));
  receiving_.resize(rig_.connection.rx_buffers(receiving_));
  if (rig_.connection.stalled()) CHECK(receiving_.empty());
}

void Session::end_receive() {
  if (receiving_.empty() || to_server_.empty()) return;
  std::size_t room = 0;
  for (const iovec& entry : receiving_) room += entry.iov_len;
  const std::size_t length =
      std::min({room, to_server_.size(), std::size_t{1} + (chance(50) ? below(100) : below(100'000))});
  std::size_t done = 0;
  for (const iovec& entry : receiving_) {
    const std::size_t n = std::min(entry.iov_len, length - done);
    if (n > 0) std::memcpy(entry.iov_base, to_server_.data() + done, n);
    done += n;
  }
  to_server_.erase(0, length);
  receiving_.clear();
  rig_.connection.on_received(length, ++rig_.now);
}

void Session::offer_send() {
  if (!sending_.empty()) return;
  sending_.resize(1 + below(20));
  sending_.resize(rig_.connection.tx_buffers(sending_));
}

void Session::end_send() {
  if (sending_.empty()) return;
  std::size_t total = 0;
  for (const iovec& entry : sending_) total += entry.iov_len;
  std::size_t length = chance(50) ? total : 1 + random_() % total;
  const std::size_t sent = length;
  for (const iovec& entry : sending_) {  // read only now: it must have stayed
    const std::size_t n = std::min(entry.iov_len, length);
    from_server_.append(static_cast<const char*>(entry.iov_base), n);
    length -= n;
  }
  sending_.clear();
  rig_.connection.on_sent(sent, ++rig_.now);
  parse();
}

void Session::complete_something() {
  FakeBackend& backend = rig_.backend;
  if (chance(trouble_) && chance(20) && backend.requests_out > 0) {
    FakeRequest& early = *backend.any_in_use();
    if (!early.finished && early.header.command == proto::nbd::Command::write &&
        early.received < early.header.length) {
      early.finished = true;
      ++early_failures;
      return rig_.connection.finish(early, Error::eio, "failed early.");
    }
  }
  if (backend.running().empty()) return;
  FakeRequest& request = *backend.running()[below(static_cast<std::uint32_t>(backend.running().size()))];
  if (request.waiting > 0 && chance(60)) return backend.read_segment(request, below(request.waiting));
  if (chance(trouble_)) return backend.complete(request, Error::enospc, "the pool is full.");
  backend.complete(request);
}

void Session::answered(std::uint64_t cookie, std::uint32_t error) {
  const auto found = asked_.find(cookie);
  REQUIRE(found != asked_.end());
  const Asked& asked = found->second;
  if (asked.refusal != 0) {
    CHECK(error == asked.refusal);
  } else if (error != 0) {
    CHECK((error == 28 || (error == 5 && asked.command == kWrite)));
  } else if (asked.command == kWrite) {
    model_.replace(asked.offset, asked.length, asked.data);
  } else if (asked.command == kTrim || asked.command == kZeroes) {
    model_.replace(asked.offset, asked.length, asked.length, '\0');
  }
  asked_.erase(found);
}

bool Session::parse_simple() {
  if (from_server_.size() < 16) return false;
  const std::uint32_t error = load_be32(from_server_.data() + 4);
  const std::uint64_t cookie = load_be64(from_server_.data() + 8);
  REQUIRE(asked_.contains(cookie));
  const Asked& asked = asked_.at(cookie);
  std::size_t length = 16;
  if (asked.command == kRead) REQUIRE(!structured_);
  if (structured_) REQUIRE(error == 0);
  if (asked.command == kRead && error == 0) {
    length += asked.length;
    if (from_server_.size() < length) return false;
    CHECK((from_server_.compare(16, asked.length, asked.data) == 0));
  }
  from_server_.erase(0, length);
  answered(cookie, error);
  return true;
}

void Session::take_chunk(Asked& asked, std::uint16_t type, std::string_view content) {
  REQUIRE(type == 1);
  REQUIRE(asked.command == kRead);
  REQUIRE(content.size() > 8);
  const std::uint64_t offset = load_be64(content.data());
  const std::size_t length = content.size() - 8;
  REQUIRE(offset >= asked.offset);
  REQUIRE(offset + length <= asked.offset + asked.length);
  const std::size_t at = offset - asked.offset;
  CHECK((asked.data.compare(at, length, content.substr(8)) == 0));
  for (std::size_t i = at; i < at + length; ++i) {
    if (asked.seen[i]) FAIL("the same byte twice");
    asked.seen[i] = true;
  }
  ++asked.chunks;
  if ((asked.flags & kDf) != 0) CHECK(asked.chunks == 1);
}

bool Session::parse_chunk() {
  REQUIRE(structured_);
  if (from_server_.size() < 20) return false;
  const bool done = load_be16(from_server_.data() + 4) == 1;
  const std::uint16_t type = load_be16(from_server_.data() + 6);
  const std::uint64_t cookie = load_be64(from_server_.data() + 8);
  const std::uint32_t length = load_be32(from_server_.data() + 16);
  if (from_server_.size() < 20 + length) return false;
  REQUIRE(asked_.contains(cookie));
  Asked& asked = asked_.at(cookie);
  const std::string content = from_server_.substr(20, length);
  from_server_.erase(0, 20 + length);
  std::uint32_t error = 0;
  if (type == 0x8001) {
    REQUIRE(done);
    error = load_be32(content.data());
    REQUIRE(load_be16(content.data() + 4) == content.size() - 6);
    CHECK(content.size() > 6);
  } else if (type == 0) {
    REQUIRE(done);
    REQUIRE(length == 0);
  } else {
    take_chunk(asked, type, content);
  }
  if (!done) return true;
  if (asked.chunks > 1) ++split_reads;
  if (error == 0) CHECK(std::all_of(asked.seen.begin(), asked.seen.end(), [](bool b) { return b; }));
  answered(cookie, error);
  return true;
}

void Session::parse() {
  bool more = true;
  while (more && from_server_.size() >= 4) {
    const std::uint32_t magic = load_be32(from_server_.data());
    REQUIRE((magic == 0x67446698 || magic == 0x668e33ef));
    more = magic == 0x67446698 ? parse_simple() : parse_chunk();
  }
}

void Session::step() {
  switch (below(8)) {
    case 0:
    case 1:
      offer_receive();
      break;
    case 2:
      end_receive();
      break;
    case 3:
      offer_send();
      break;
    case 4:
      end_send();
      break;
    case 5:
    case 6:
      complete_something();
      break;
    default:
      rig_.connection.on_room(++rig_.now);
      break;
  }
}

void Session::run(int requests) {
  for (int i = 0; i < requests; ++i) {
    if (to_server_.size() < 200'000) ask();
    for (std::uint32_t n = below(40); n > 0; --n) step();
  }
}

void Session::finish_up() {
  trouble_ = 0;
  for (int i = 0; i < 1'000'000 && !asked_.empty(); ++i) step();
  REQUIRE(asked_.empty());
  CHECK(rig_.backend.requests_out == 0);
  CHECK(rig_.backend.segments_out == 0);
  CHECK(rig_.connection.in_flight() == 0);
  CHECK(std::memcmp(rig_.backend.disk.get(), model_.data(), model_.size()) == 0);
  CHECK(from_server_.empty());
}

}  // namespace

TEST_CASE("property: what is written is read, whatever the order, the pieces and the trouble") {
  const std::uint64_t seed = seeded_random()();
  nbd::Counters total;
  int early_failures = 0, split_reads = 0;
  for (std::uint64_t round = 0; round < 96; ++round) {
    CAPTURE(round);
    Session session(seed + round, round % 2 == 1);
    session.run(250);
    session.finish_up();
    total += session.counters();
    early_failures += session.early_failures;
    split_reads += session.split_reads;
  }
  CHECK(total.requests[kRead] > 100);
  CHECK(total.requests[kWrite] > 100);
  CHECK(total.stalls > 10);
  CHECK(total.in_flight_stops > 10);
  CHECK(total.bytes_discarded > 0);
  CHECK(total.replies[nbd::Counters::index_of(Error::enospc)] > 0);
  CHECK(early_failures > 0);
  CHECK(split_reads > 10);
}

TEST_CASE("property: the client vanishes at any moment") {
  const std::uint64_t seed = seeded_random()();
  for (std::uint64_t round = 0; round < 200; ++round) {
    CAPTURE(round);
    Session session(seed + round, round % 2 == 1);
    session.run(static_cast<int>(round % 40));  // the rig checks that everything came back
  }
}
