#include "gateway/nbd/reply_queue.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "tests/unit/nbd/reply_queue_rig.hpp"
#include "tests/unit/nbd/wire.hpp"
#include "tests/unit/random.hpp"

using namespace nbdgw;
using namespace nbdgw::test::replies;

TEST_CASE("reply queue: what is finished leaves in that order") {
  Rig rig(false);
  CHECK(rig.queue.empty());
  Item& write = rig.make(Command::write);
  Item& read = rig.make(Command::read, 100, {5, 3});
  Item& flush = rig.make(Command::flush);
  rig.finish(flush, Error::eio, "not told to those who know only simple replies");
  CHECK_FALSE(rig.read(read, 1));  // one piece, when all is there
  CHECK_FALSE(rig.read(read, 0));
  rig.finish(read);
  rig.finish(write);
  const std::string bytes = rig.gather();
  CHECK(bytes == test::simple(5, 3) + test::simple(0, 2, contents(100, 8)) + test::simple(0, 1));
  rig.send(bytes, bytes.size());
  CHECK(rig.queue.empty());
  CHECK(rig.counters.bytes_read == 8);
  CHECK(rig.counters.replies[0] == 2);
  CHECK(rig.counters.replies[nbd::Counters::index_of(Error::eio)] == 1);
}

TEST_CASE("reply queue: sent in part, up to every byte, from few entries and many") {
  for (const bool structured : {false, true}) {
    for (std::size_t cut = 0;; ++cut) {
      CAPTURE(cut);
      Rig rig(structured);
      Item& read = rig.make(Command::read, 7, {1, 9, 4});
      Item& other = rig.make(Command::read, 90, {6, 2});
      rig.refuse(Error::einval, "no");
      rig.read(read, 2);
      rig.gather(3);
      rig.read_all(other);
      rig.read(read, 0);
      rig.read(read, 1);
      rig.finish(read);
      const std::string all = rig.gather();
      if (cut > all.size()) break;
      rig.send(all, cut);
      for (std::size_t entries = 1; entries < 20; ++entries) {
        const std::string rest = rig.gather(entries);
        REQUIRE(rest == all.substr(cut, rest.size()));
        REQUIRE((rig.offers_all ? rest.size() == all.size() - cut : !rest.empty()));
      }
      while (!rig.queue.empty()) rig.send(rig.gather(2), 1);
      REQUIRE(rig.items.empty());
      REQUIRE(rig.counters.bytes_read == 22);
    }
  }
}

TEST_CASE("reply queue: chunks leave as they come, and the last one says so if nothing can go wrong any more") {
  Rig rig(true);
  Item& read = rig.make(Command::read, 50, {4, 4, 4, 4});
  CHECK(rig.read(read, 2));
  std::string bytes = rig.gather();
  CHECK(bytes == test::data_chunk(false, 1, 58, contents(58, 4)));
  rig.send(bytes, bytes.size());
  SUBCASE("the end is known with the last data") {
    rig.read_all(rig.make(Command::read, 10, {3, 3}));  // nothing of it has gone: one chunk
    for (const std::size_t i : {3, 0, 1}) rig.read(read, i);
    rig.finish(read);
    CHECK(rig.gather() ==
          test::data_chunk(true, 2, 10, contents(10, 6)) + test::data_chunk(false, 1, 62, contents(62, 4)) +
              test::data_chunk(false, 1, 50, contents(50, 4)) + test::data_chunk(true, 1, 54, contents(54, 4)));
  }
  SUBCASE("the end comes behind the last data") {
    for (const std::size_t i : {0, 1, 3}) rig.read(read, i);
    rig.send_all();
    rig.finish(read);
    CHECK(rig.gather() == test::chunk(true, 0, 1));
  }
  SUBCASE("an error: what was ready and has not gone does not go any more") {
    rig.read(read, 0);
    rig.finish(read, Error::eio, "medium error");
    CHECK(rig.gather() == test::error_chunk(1, 5, "medium error"));
  }
  rig.send_all();
  CHECK(rig.items.empty());
}

TEST_CASE("reply queue: DF is one chunk, whatever is ready when") {
  Rig rig(true);
  Item& read = rig.make(Command::read, 30, {4, 4}, test::kDf);
  CHECK_FALSE(rig.read(read, 0));
  CHECK(rig.queue.empty());
  rig.read(read, 1);
  rig.finish(read);
  CHECK(rig.gather() == test::data_chunk(true, 1, 30, contents(30, 8)));
  rig.send_all();
}

TEST_CASE("reply queue: a text of an error is no longer than the protocol's, and cut between characters") {
  const std::string most(4096, 'a');
  for (const auto& [text, told] :
       std::map<std::string, std::string>{{"", ""},
                                          {most, most},
                                          {most + "b", most},
                                          {most.substr(1) + "\xc3\xa4", most.substr(1)},
                                          {most.substr(2) + "\xe2\x82\xac", most.substr(2)},
                                          {most.substr(2) + "\xc3\xa4z", most.substr(2) + "\xc3\xa4"}}) {
    Rig rig(true);
    rig.refuse(Error::einval, text.c_str());
    const std::string bytes = rig.gather();
    CHECK(bytes == test::error_chunk(1, 22, told));
    rig.send(bytes, bytes.size());
    CHECK(rig.queue.empty());
  }
  Rig rig(true);
  rig.refuse(Error::einval, nullptr);
  CHECK(rig.gather() == test::error_chunk(1, 22, ""));
}

TEST_CASE("reply queue: no more replies are on their way than there are slots, and none is lost for it") {
  for (const bool structured : {false, true}) {
    Rig rig(structured);
    for (int i = 0; i < 300; ++i) rig.finish(rig.make(Command::write));
    for (std::size_t i = 0; i < nbd::ReplyQueue::kWireSlots; ++i) {
      REQUIRE_FALSE(rig.queue.full());
      rig.refuse(Error::eperm, "no");
    }
    CHECK(rig.queue.full());
    const std::string bytes = rig.gather();
    const std::size_t each = structured ? 28 : 16;
    CHECK(bytes.size() == nbd::ReplyQueue::kWireSlots * each);
    rig.send(bytes, each - 1);
    CHECK(rig.queue.full());
    rig.send(bytes.substr(each - 1), 1);
    CHECK_FALSE(rig.queue.full());
    rig.send_all();
    CHECK(rig.queue.empty());
    CHECK(rig.items.empty());
    CHECK(rig.refused.empty());
  }
}

TEST_CASE("reply queue: dropped after every byte, what is finished is given back once") {
  for (const bool structured : {false, true}) {
    for (std::size_t cut = 0;; ++cut) {
      CAPTURE(cut);
      Rig rig(structured);
      Item& going = rig.make(Command::read, 0, {4, 4, 4});
      Item& running = rig.make(Command::write);
      rig.read(going, 0);
      rig.finish(rig.make(Command::write));
      rig.read_all(rig.make(Command::read, 40, {5, 5}));
      const std::string all = rig.gather();
      if (cut > all.size()) break;
      rig.send(all, cut);
      rig.read(going, 1);
      rig.finish(rig.make(Command::flush));
      rig.queue.drop(rig, rig.in_flight);
      REQUIRE(rig.queue.empty());
      REQUIRE(rig.queue.unsent_bytes() == 0);
      REQUIRE(rig.gather().empty());
      for (const auto& [cookie, item] : rig.items) REQUIRE(item.released == item.finished());
      REQUIRE(rig.in_flight.size() == 2);
      rig.finish(running);  // ends later, and is given back with the next drop
      rig.read(going, 2);
      rig.finish(going, Error::eio);
      rig.queue.drop(rig, rig.in_flight);
      REQUIRE((running.released && going.released && rig.in_flight.size() == 0));
    }
  }
}

TEST_CASE("reply queue: when the connection is gone nothing is known of what was queued") {
  for (const std::size_t sent : {0U, 3U, 30U}) {
    Rig rig(true);
    rig.read(rig.make(Command::read, 0, {4, 4}), 1);
    rig.refuse(Error::eperm, "no");
    rig.send(rig.gather(), sent);
    rig.finish(rig.make(Command::flush));
    rig.queue.clear();
    CHECK(rig.queue.empty());
    CHECK(rig.queue.unsent_bytes() == 0);
    CHECK(rig.gather().empty());
    CHECK(rig.in_flight.size() == 2);  // the caller's business
    rig.queue.push({.cookie = 77, .command = Command::flush}, rig.counters);
    CHECK(rig.gather() == test::simple(0, 77));
  }
}

TEST_CASE("reply queue: a READ of any length, with memory for two of its segments") {
  Rig rig(true);
  Item& read = rig.make(Command::read, 1000, {10, 10});
  read.header.length = 205;
  read.seen.assign(205, ' ');
  std::uint64_t next = 1020;
  for (std::size_t index = 0; next < 1205 + 20; index = 1 - index) {
    rig.read(read, index);
    if (next >= 1205 + 10) rig.finish(read);
    while (!rig.queue.empty()) rig.send(rig.gather(1 + next % 3), 1);
    if (next < 1205) {
      Piece& piece = read.pieces[index];
      CHECK(piece.released);
      piece.released = piece.done = false;
      piece.offset = next;
      piece.length = static_cast<std::uint32_t>(std::min<std::uint64_t>(10, 1205 - next));
      piece.memory.assign(piece.length, '?');
      piece.halves = {{{piece.memory.data(), 2}, {&piece.memory[2], piece.length - 2}}};
    }
    next += 10;
  }
  CHECK(rig.items.empty());
  CHECK(rig.counters.bytes_read == 205);
}

TEST_CASE("reply queue: at random, and the client understands all of it") {
  auto random = test::seeded_random();
  const auto below = [&](std::size_t bound) { return static_cast<std::uint32_t>(random() % bound); };
  int full = 0;
  for (const bool structured : {false, true}) {
    Rig rig(structured);
    for (int step = 0; step < 24'000; ++step) {
      const bool filling = step / 4000 % 2 == 0;
      Item* some = nullptr;  // that is not finished
      for (auto& [cookie, item] : rig.items)
        if (!item.finished() && (some == nullptr || below(4) == 0)) some = &item;
      const std::uint32_t what = below(filling ? 12 : 20);
      if (what < 2 && rig.items.size() < 40) {
        std::vector<std::uint32_t> lengths(1 + below(5));
        for (std::uint32_t& length : lengths) length = 1 + below(30);
        rig.make(Command::read, below(1'000'000), lengths, below(5) == 0 ? test::kDf : std::uint16_t{0});
      } else if (what < 4 && rig.items.size() < 40) {
        rig.make(below(2) == 0 ? Command::write : Command::flush);
      } else if (what < 8 && some != nullptr) {
        const auto unread = [](const Piece& piece) { return !piece.done; };
        const auto left = std::count_if(some->pieces.begin(), some->pieces.end(), unread);
        const std::size_t index = some->pieces.empty() ? 0 : below(some->pieces.size());
        if (below(20) == 0) {
          rig.finish(*some, Error::eio, below(2) == 0 ? "trouble" : nullptr);
        } else if (left == 0) {
          rig.finish(*some);
        } else if (!some->pieces[index].done) {
          rig.read(*some, index);
        }
      } else if (what < 10) {
        if (!rig.queue.full()) rig.refuse(Error::einval, below(2) == 0 ? "no" : nullptr);
      } else {
        const std::string bytes = rig.gather(below(3) == 0 ? 400 : 1 + below(20));
        const std::size_t most = filling ? std::min<std::size_t>(20, bytes.size()) : bytes.size();
        rig.send(bytes, below(3) == 0 ? most : below(most + 1));
      }
      full += int{rig.queue.full()};
    }
    for (auto& [cookie, item] : rig.items)
      if (!item.finished()) rig.finish(item, Error::eshutdown);
    rig.send_all();
    CHECK(rig.queue.empty());
    CHECK(rig.items.empty());
    CHECK(rig.refused.empty());
  }
  CHECK(full > 0);
}
