#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "gateway/nbd/reply_queue.hpp"

/// A reply queue alone, between a backend and a client that the test plays.
namespace nbdgw::test::replies {

using proto::nbd::Command;
using proto::nbd::Error;

/// What the disk holds at this place.
inline char content(std::uint64_t offset) {
  return static_cast<char>(1 + offset % 241);
}
inline std::string contents(std::uint64_t offset, std::size_t length) {
  std::string all;
  for (std::size_t i = 0; i < length; ++i) all += content(offset + i);
  return all;
}

struct Piece : nbd::Segment {
  std::string memory;
  std::array<iovec, 2> halves;
  bool done = false;
  bool released = false;
};

struct Item : nbd::Request {
  std::deque<Piece> pieces;
  std::string seen;  // by the client: one character for each byte of data
  bool answered = false;
  bool released = false;
  bool finished() const { return marks.finished; }
};

/// A reply queue, the backend that it gives things back to, and a client that believes nothing.
struct Rig : nbd::Backend {
  explicit Rig(bool is_structured) : structured(is_structured) { queue.open(is_structured); }

  Item& make(Command command, std::uint64_t offset = 0, std::vector<std::uint32_t> lengths = {},
             std::uint16_t flags = 0) {
    Item& item = items[++last_cookie];
    item.header = {.cookie = last_cookie, .command = command, .flags = flags, .offset = offset};
    nbd::Segment** link = &item.segments;
    for (const std::uint32_t length : lengths) {
      Piece& piece = item.pieces.emplace_back();
      piece.memory.assign(length, '?');
      piece.offset = offset + item.header.length;
      piece.length = length;
      piece.halves = {{{piece.memory.data(), length / 2}, {&piece.memory[length / 2], length - length / 2}}};
      piece.payload = std::span(piece.halves).last(length > 1 ? 2 : 1);
      item.header.length += length;
      *link = &piece;
      link = &piece.next;
    }
    item.seen.assign(item.header.length, ' ');
    in_flight.add(item);
    return item;
  }
  bool read(Item& item, std::size_t index) {
    Piece& piece = item.pieces[index];
    contents(piece.offset, piece.length).copy(piece.memory.data(), piece.length);
    piece.done = true;
    return queue.segment_done(item, piece);
  }
  void finish(Item& item, Error error = Error::none, const char* text = nullptr) {
    item.marks.finished = true;
    item.marks.error = error;
    item.marks.text = text;
    queue.finish(item);
  }
  void read_all(Item& item) {
    for (std::size_t i = 0; i < item.pieces.size(); ++i) read(item, i);
    finish(item);
  }
  void refuse(Error error, const char* text) {
    refused.push_back({++last_cookie, Command::read, error, text});
    queue.push(refused.back(), counters);
  }

  /// What it offers in at most this many entries.
  std::string gather(std::size_t entries = 2000) {
    std::vector<iovec> out(entries);
    const std::size_t used = queue.gather(out, counters);
    std::string bytes;
    for (const iovec& entry : std::span(out).first(used)) {
      if (entry.iov_len == 0) FAIL("an empty entry");
      bytes.append(static_cast<const char*>(entry.iov_base), entry.iov_len);
    }
    offers_all = used < entries && !queue.full();
    if (offers_all) REQUIRE(queue.unsent_bytes() == bytes.size());
    return bytes;
  }
  /// So many bytes of that reach the client. What it then has, and nothing else, is given back.
  void send(const std::string& gathered, std::size_t length) {
    queue.on_sent(length, *this, in_flight, counters);
    arriving += gathered.substr(0, length);
    while (take_reply()) taken = 0;
    std::size_t held = 0;
    for (const auto& [cookie, item] : items) {
      held += std::size_t{!item.released};
      REQUIRE(item.released == item.answered);
      if (item.released) continue;
      for (const Piece& piece : item.pieces)
        REQUIRE(piece.released == (item.seen.find(' ', piece.offset - item.header.offset) >=
                                   piece.offset - item.header.offset + piece.length));
    }
    REQUIRE(in_flight.size() == held);
    std::erase_if(items, [](const auto& each) { return each.second.released; });
  }
  void send_all() {
    for (std::string bytes = gather(); !bytes.empty(); bytes = gather()) send(bytes, bytes.size());
  }

  // ---- the client

  std::uint64_t number(std::size_t at, std::size_t length) const {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < length; ++i) value = value << 8 | static_cast<std::uint8_t>(arriving[at + i]);
    return value;
  }
  /// Looks at the first reply or chunk; true: all of it has come, and the next one's turn is it.
  bool take_reply() {
    const bool simple = arriving.size() >= 4 && number(0, 4) == 0x67446698;
    if (arriving.size() < (simple ? 16 : 20)) return false;
    const std::uint64_t cookie = number(8, 8);
    const auto found = items.find(cookie);
    bool done = true, has_data = false;
    std::size_t head = 16, length = 0;
    std::uint64_t error = number(4, 4), offset = 0;
    if (simple) {
      has_data = error == 0 && found != items.end() && found->second.header.command == Command::read;
      REQUIRE_FALSE((structured && (has_data || error != 0)));
      if (has_data) offset = found->second.header.offset, length = found->second.header.length;
    } else {
      REQUIRE((structured && number(0, 4) == 0x668e33ef));
      done = number(4, 2) == 1;
      const std::uint64_t type = number(6, 2);
      has_data = type == 1;
      head = has_data ? 28 : type == 0x8001 ? 26 : 20;
      if (arriving.size() < head) return false;
      length = number(16, 4) - (head - 20);
      offset = has_data ? number(20, 8) : 0;
      error = type == 0x8001 ? number(20, 4) : 0;
      REQUIRE((has_data || (type == 0 && length == 0) || (type == 0x8001 && length == number(24, 2))));
      REQUIRE((has_data || done));
    }
    if (has_data) {
      REQUIRE(found != items.end());
      Item& item = found->second;
      REQUIRE_FALSE(item.answered);
      for (; taken < std::min(length, arriving.size() - head); ++taken) {
        char& seen = item.seen.at(offset - item.header.offset + taken);
        if (seen != ' ' || arriving[head + taken] != content(offset + taken)) FAIL("twice, or not what the disk has");
        seen = 'x';
      }
    }
    if (arriving.size() < head + length) return false;
    if (found == items.end()) {
      REQUIRE_FALSE(refused.empty());  // in their order
      REQUIRE(cookie == refused.front().cookie);
      REQUIRE(error == static_cast<std::uint32_t>(refused.front().error));
      refused.pop_front();
    } else if (done) {
      REQUIRE(found->second.finished());
      REQUIRE(error == static_cast<std::uint32_t>(found->second.marks.error));
      if (error == 0) REQUIRE(found->second.seen.find(' ') == std::string::npos);
      found->second.answered = true;
    }
    arriving.erase(0, head + length);
    return true;
  }

  // ---- the backend: what comes back is spoilt at once

  void release(nbd::Request&, nbd::Segment& segment) override {
    auto& piece = static_cast<Piece&>(segment);
    REQUIRE((piece.done && !piece.released));
    piece.released = true;
    piece.memory.assign(piece.memory.size(), '!');
    piece.next = nullptr;
  }
  void release(nbd::Request& request) override {
    auto& item = static_cast<Item&>(request);
    REQUIRE_FALSE(item.released);
    REQUIRE(item.finished());
    item.released = true;
  }
  const nbd::ExportInfo& info() const noexcept override { return info_; }
  nbd::Request* admit(const nbd::RequestHeader&, nbd::Connection&, nbd::Stake&, proto::Micros) override {
    return nullptr;
  }
  bool others_wait(const nbd::Stake&) const noexcept override { return false; }
  nbd::Segment* next_write_segment(nbd::Request&) override { return nullptr; }
  void segment_received(nbd::Request&, nbd::Segment&, proto::Micros) override {}
  void start(nbd::Request&, proto::Micros) override {}
  void abandon(nbd::Request&) override { FAIL("that is the connection's business"); }

  bool structured;
  nbd::ReplyQueue queue;
  nbd::InFlight in_flight;
  nbd::Counters counters;
  nbd::ExportInfo info_;
  std::map<std::uint64_t, Item> items;
  std::deque<nbd::ImmediateReply> refused;
  std::uint64_t last_cookie = 0;
  bool offers_all = false;
  std::string arriving;   // and not a whole reply yet
  std::size_t taken = 0;  // of the data of the reply that is arriving
};

}  // namespace nbdgw::test::replies
