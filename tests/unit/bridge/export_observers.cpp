// Honest flush, to each connection: who hears of a loss, and how often.
#include <doctest/doctest.h>

#include "tests/unit/bridge/bench.hpp"

using nbdgw::bridge::CacheEvent;
using nbdgw::nbd::LossStanding;
using nbdgw::proto::kSecond;
using nbdgw::proto::nbd::Error;
using nbdgw::proto::nbd::kCmdFlagFua;
using nbdgw::proto::scsi::SenseKey;

namespace {

/// A LUN with clients A (0) and B (1).
struct Two {
  explicit Two(LunOptions options = {}, nbdgw::bridge::ExportConfig config = {}) : bench(options, config) {
    bench.connect();
    bench.attach();
    bench.attach();
  }
  ~Two() { bench.check_idle(); }

  Error flush(std::size_t client) {
    Reply* const reply = begin_flush(client);
    bench.run();
    REQUIRE(reply->finished);
    return reply->error;
  }
  Reply* begin_flush(std::size_t client) {
    bench.asks = client;
    return bench.flush();
  }
  void write(std::size_t client, std::uint16_t flags = 0) {
    bench.asks = client;
    Reply* const reply = bench.write(client * 4096, 512, 1, flags);
    bench.run();
    REQUIRE(reply->error == Error::none);
  }
  void lose_power() {
    bench.lun.power_loss();
    bench.read(65536, 512);
    bench.run();
  }
  /// The SYNCHRONIZE CACHE that is out ends with this.
  void sync_fails(const FakeLun::Sense& sense) {
    REQUIRE(bench.lun.waiting.size() == 1);
    bench.lun.refuse(0, sense, bench.now);
    bench.deliver();
  }
  FakeLun::Sense medium_error() { return make_sense(SenseKey::medium_error, 0x0c); }

  Bench bench;
};

}  // namespace

TEST_CASE("observers: each is told of a power loss once, whoever asks first") {
  for (const std::size_t first : {0U, 1U}) {
    for (const std::size_t writer : {0U, 1U}) {
      Two two;
      two.write(writer);
      two.lose_power();
      CHECK(two.bench.target->cache().debts() == 2);
      CHECK(two.flush(first) == Error::eio);
      CHECK(two.flush(first) == Error::none);
      two.write(first);
      CHECK(two.flush(1 - first) == Error::eio);
      CHECK(two.flush(1 - first) == Error::none);
      CHECK(two.bench.target->counters().flushes_failed_for_lost_cache == 2);
      const auto events = two.bench.events();
      REQUIRE(events.size() == 3);
      CHECK(events[0].kind == CacheEvent::Kind::in_doubt);
      for (const std::size_t i : {1U, 2U}) {
        CHECK(events[i].kind == CacheEvent::Kind::told);
        CHECK(events[i].writes == 1);
        CHECK(events[i].requests == 1);
      }
    }
  }
}

TEST_CASE("observers: several losses before a FLUSH are told as one, and a later one again") {
  Two two;
  two.write(0);
  two.lose_power();
  CHECK(two.flush(0) == Error::eio);
  two.write(0);
  two.lose_power();
  CHECK(two.flush(1) == Error::eio);
  CHECK(two.flush(1) == Error::none);
  CHECK(two.flush(0) == Error::eio);
  CHECK(two.flush(0) == Error::none);
}

TEST_CASE("observers: FLUSHes of both that wait already are told by their own failure") {
  Two two;
  two.write(0);
  Reply* const a = two.begin_flush(0);
  Reply* const b = two.begin_flush(1);
  Reply* const more = two.begin_flush(0);
  two.bench.lun.power_loss();
  two.bench.run();
  for (Reply* reply : {a, b, more}) CHECK(reply->error == Error::eio);
  CHECK(two.flush(0) == Error::none);
  CHECK(two.flush(1) == Error::none);
}

TEST_CASE("observers: a FLUSH of one that waits for the next command is not failed for the other's") {
  Two two;
  two.write(0);
  Reply* const a = two.begin_flush(0);
  two.bench.deliver();
  Reply* const a_waits = two.begin_flush(0);
  Reply* const b_waits = two.begin_flush(1);
  two.sync_fails(two.medium_error());
  CHECK(a->error == Error::eio);
  CHECK(a_waits->finished);
  CHECK(a_waits->error == Error::eio);
  CHECK_FALSE(b_waits->finished);
  two.bench.run();
  CHECK(b_waits->error == Error::eio);
  CHECK(two.flush(0) == Error::none);
  CHECK(two.flush(1) == Error::none);
}

TEST_CASE("observers: what a failed SYNCHRONIZE CACHE means for what it covered") {
  struct Row {
    const char* what;
    FakeLun::Sense sense;
    bool lost;
  };
  FakeLun::Sense deferred = make_sense(SenseKey::hardware_error, 0x44);
  deferred.deferred = true;
  const Row rows[] = {{"medium", make_sense(SenseKey::medium_error, 0x0c), true},
                      {"hardware", make_sense(SenseKey::hardware_error, 0x44), true},
                      {"aborted, beyond all retries", make_sense(SenseKey::aborted_command, 0x47), true},
                      {"deferred", deferred, true},
                      {"the pool is full", make_sense(SenseKey::data_protect, 0x27, 0x07), true},
                      {"not ready", make_sense(SenseKey::not_ready, 0x3a), false},
                      {"refused", make_sense(SenseKey::illegal_request, 0x24), false},
                      {"attentions without end", make_sense(SenseKey::unit_attention, 0x2a, 0x02), false}};
  for (const Row& row : rows) {
    CAPTURE(row.what);
    Two two({.synchronize_16 = true, .synchronize_10 = true});
    two.write(1);
    Reply* const a = two.begin_flush(0);
    for (int tries = 0; !a->finished; ++tries) {
      REQUIRE(tries < 100);
      if (two.bench.lun.waiting.empty()) {
        two.bench.wait_for_deadline();
      } else {
        two.sync_fails(row.sense);
      }
    }
    CHECK(a->error != Error::none);
    CHECK((two.bench.target->counters().cache_loss_reports > 0) == row.lost);
    CHECK(two.bench.target->cache().unflushed() == 1);
    CHECK(two.bench.target->cache().debts() == (row.lost ? 1 : 0));
    CHECK(two.flush(0) == Error::none);
    CHECK(two.flush(1) == (row.lost ? Error::eio : Error::none));
    CHECK(two.flush(1) == Error::none);
    CHECK(two.bench.events().size() == (row.lost ? 3 : 0));
  }
}

TEST_CASE("observers: a SYNCHRONIZE CACHE without an end loses nothing") {
  Two two({}, {.hold_timeout = 30 * kSecond});
  two.write(0);
  Reply* const a = two.begin_flush(0);
  SUBCASE("the session is lost for too long") {
    two.bench.lose_session();
    two.bench.now += 30 * kSecond;
    two.bench.target->on_deadline(two.bench.now);
    two.bench.deliver();
  }
  SUBCASE("the LUN stays busy") {
    while (!a->finished) {
      if (two.bench.lun.waiting.empty()) {
        two.bench.wait_for_deadline();
      } else {
        two.bench.lun.refuse(0, 0x08, two.bench.now);
        two.bench.deliver();
      }
    }
  }
  CHECK(a->error == Error::eio);
  CHECK(two.bench.target->cache().debts() == 0);
  CHECK(two.bench.target->cache().unflushed() == 1);
  two.bench.connect();
  CHECK(two.flush(1) == Error::none);
  CHECK(two.flush(0) == Error::none);
}

TEST_CASE("observers: a FUA write takes no debt away, nor the blame for others") {
  SUBCASE("a power loss") {
    Two two({.dpofua = false});
    two.write(0);
    two.lose_power();
    two.write(0, kCmdFlagFua);
    two.write(1, kCmdFlagFua);
  }
  SUBCASE("its own SYNCHRONIZE CACHE fails: all of it may be lost") {
    Two two({.dpofua = false});
    two.write(0);
    two.bench.asks = 0;
    Reply* const fua = two.bench.write(65536, 512, 1, kCmdFlagFua);
    two.bench.lun.complete(0, two.bench.now);
    two.bench.deliver();
    two.sync_fails(two.medium_error());
    CHECK(fua->error == Error::eio);
    CHECK(fua->text == "the target may have lost this write before it was on stable storage");
    for (const std::size_t client : {0U, 1U}) {
      CHECK(two.flush(client) == Error::eio);
      CHECK(two.flush(client) == Error::none);
    }
  }
}

TEST_CASE("observers: who goes untold leaves it to one that comes later, not to one that was told itself") {
  Two two;
  two.write(0);
  two.lose_power();
  two.bench.detach(0);
  const std::size_t c = two.bench.attach();
  const std::size_t d = two.bench.attach();
  CHECK(two.flush(1) == Error::eio);
  CHECK(two.flush(1) == Error::none);
  CHECK(two.flush(d) == Error::eio);
  CHECK(two.flush(d) == Error::none);
  CHECK(two.flush(c) == Error::none);
}

TEST_CASE("observers: with nobody there, the next one hears of it; with nothing owed, nobody who comes later") {
  Two two;
  two.write(0);
  two.bench.asks = 1;
  two.bench.detach(0);
  two.bench.detach(1);
  two.bench.lun.power_loss();
  two.bench.lose_session();
  two.bench.connect(10 * kSecond);
  CHECK(two.bench.target->cache().debts() == 1);
  const std::size_t c = two.bench.attach();
  CHECK(two.flush(c) == Error::eio);
  const std::size_t d = two.bench.attach();
  CHECK(two.flush(d) == Error::none);
  CHECK(two.flush(c) == Error::none);
}

TEST_CASE("observers: a failure that the client went without seeing has told nobody") {
  for (const bool sent : {true, false}) {
    Two two;
    two.bench.detach(1);
    two.write(0);
    two.lose_power();
    two.bench.release_at_once = false;
    Reply* const a = two.begin_flush(0);
    two.bench.run();
    REQUIRE(a->error == Error::eio);
    two.bench.release_at_once = true;
    if (sent) {
      two.bench.target->release(*a->request);
    } else {
      two.bench.abandon(*a);
    }
    two.bench.detach(0);
    const std::size_t c = two.bench.attach();
    CHECK(two.flush(c) == (sent ? Error::none : Error::eio));
    CHECK(two.flush(c) == Error::none);
  }
}

TEST_CASE("observers: after a restart each goes on as it was") {
  Two before;
  before.write(0);
  before.lose_power();
  CHECK(before.flush(1) == Error::eio);
  const auto legacy = before.bench.target->cache_legacy(before.bench.now);
  Bench after;
  after.target->inherit(legacy);
  // Before the LUN is looked at: what is found lost then concerns them.
  for (const std::size_t client : {0U, 1U}) after.attach(before.bench.clients[client]->connection.standing());
  const auto flush = [&](std::size_t client) {
    after.asks = client;
    Reply* const reply = after.flush();
    after.run();
    return reply->error;
  };
  SUBCASE("nothing else has happened") {
    after.connect();
    CHECK(flush(1) == Error::none);
    CHECK(flush(0) == Error::eio);
    CHECK(flush(0) == Error::none);
  }
  SUBCASE("one of them does not come back") {
    after.detach(0);
    after.connect();
    CHECK(flush(1) == Error::none);
    CHECK(flush(after.attach()) == Error::eio);
  }
  SUBCASE("the target was switched off and on meanwhile, with more unflushed") {
    Bench later;
    later.target->inherit({.cache = {.acknowledged = 3, .flushed = 2},
                           .seen_at = later.now - 20 * kSecond,
                           .path_was_up = true,
                           .disk = legacy.disk});
    later.attach(LossStanding::newcomer);
    later.attach(LossStanding::told);
    later.lun.power_loss();
    later.connect();
    for (const std::size_t client : {0U, 1U}) {
      later.asks = client;
      for (const Error error : {Error::eio, Error::none}) {
        Reply* const reply = later.flush();
        later.run();
        CHECK(reply->error == error);
      }
    }
  }
}

TEST_CASE("observers: after a time without the export its writes are remembered, but for another disk") {
  for (const char* serial : {"disk-1", "disk-2"}) {
    Bench before;
    before.connect();
    before.write(0, 512, 1);
    before.run();
    before.lun.power_loss();
    before.read(4096, 512);
    before.run();
    before.clients.clear();
    auto legacy = before.target->cache_legacy(before.now);
    legacy.gap = true;
    Bench after({.serial = serial});
    after.target->inherit(legacy);
    after.connect();
    const bool same = std::string(serial) == "disk-1";
    CHECK(after.target->cache().debts() == (same ? 1 : 0));
    Reply* const reply = after.flush();
    after.run();
    CHECK(reply->error == (same ? Error::eio : Error::none));
  }
}
