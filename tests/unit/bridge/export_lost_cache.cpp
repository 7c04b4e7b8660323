// Honest flush: what a report of a lost cache does to the FLUSHes and FUA writes around it.
#include <doctest/doctest.h>

#include "proto/scsi/cdb.hpp"
#include "tests/unit/bridge/bench.hpp"

using nbdgw::bridge::CacheEvent;
using nbdgw::bridge::ExportState;
using nbdgw::bridge::kPowerCycleTime;
using nbdgw::bridge::PowerOnPolicy;
using nbdgw::proto::kSecond;
using nbdgw::proto::nbd::Error;
using nbdgw::proto::nbd::kCmdFlagFua;
namespace scsi = nbdgw::proto::scsi;
using scsi::SenseKey;

namespace {

constexpr const char* kLost = "the target may have lost writes that were acknowledged and not flushed";
constexpr const char* kLostItself = "the target may have lost this write before it was on stable storage";

FakeLun::Sense attention(std::uint8_t asc, std::uint8_t ascq) {
  return make_sense(SenseKey::unit_attention, asc, ascq);
}

Error flush(Bench& bench) {
  Reply* const reply = bench.flush();
  bench.run();
  REQUIRE(reply->finished);
  return reply->error;
}

/// A write that is acknowledged, and only in the cache.
void cached_write(Bench& bench, std::uint64_t offset = 0) {
  Reply* const reply = bench.write(offset, 512, 1);
  bench.run();
  REQUIRE(reply->error == Error::none);
}

/// A read meets this.
void report(Bench& bench, const FakeLun::Sense& sense) {
  bench.read(4096, 512);
  bench.lun.refuse(bench.lun.waiting.size() - 1, sense, bench.now);
  bench.run();
}

}  // namespace

TEST_CASE("lost cache: a SYNCHRONIZE CACHE that fails while another disk may be there is sent again, and counts") {
  Bench bench({}, {.power_on = PowerOnPolicy::ignore});
  bench.connect();
  cached_write(bench);
  Reply* const read = bench.read(4096, 512);
  Reply* const first = bench.flush();
  REQUIRE(bench.lun.waiting.size() == 2);
  bench.lun.refuse(0, attention(0x3f, 0x03), bench.now);
  bench.lun.refuse(0, make_sense(SenseKey::medium_error, 0x0c, 0), bench.now);
  bench.deliver();
  CHECK_FALSE(first->finished);
  bench.run();
  CHECK(read->error == Error::none);
  CHECK(first->error == Error::eio);
  CHECK(flush(bench) == Error::none);
  bench.check_idle();
}

TEST_CASE("lost cache: which report counts in which situation") {
  enum class Situation { quiet, short_outage, long_outage, own_reset, after_own_reset };
  struct Row {
    std::uint8_t asc, ascq;
    bool quiet, short_outage, long_outage, own_reset, after_own_reset;  // counts
    bool ambiguous = false;  // power_on_attention: ignore makes it harmless
  };
  const Row rows[] = {
      {0x29, 0x00, true, false, true, false, true, true},  // power on, reset, or bus device reset
      {0x29, 0x01, true, true, true, true, true},          // power on
      {0x29, 0x02, true, false, true, false, true, true},  // SCSI bus reset
      {0x29, 0x03, false, false, false, false, false},     // bus device reset function
      {0x29, 0x04, true, true, true, true, true},          // device internal reset
      {0x29, 0x07, false, false, false, false, false},     // I_T nexus loss
      {0x2a, 0x01, false, false, false, false, false},     // mode parameters changed
      {0x2a, 0x09, false, false, false, false, false},     // capacity changed
      {0x3f, 0x0e, false, false, false, false, false},     // LUNs changed
  };
  for (const Row& row : rows) {
    const std::pair<Situation, bool> situations[] = {{Situation::quiet, row.quiet},
                                                     {Situation::short_outage, row.short_outage},
                                                     {Situation::long_outage, row.long_outage},
                                                     {Situation::own_reset, row.own_reset},
                                                     {Situation::after_own_reset, row.after_own_reset}};
    for (const auto& [situation, counts] : situations) {
      for (const PowerOnPolicy policy : {PowerOnPolicy::unexplained, PowerOnPolicy::ignore, PowerOnPolicy::always}) {
        CAPTURE(static_cast<int>(row.asc));
        CAPTURE(static_cast<int>(row.ascq));
        CAPTURE(static_cast<int>(situation));
        CAPTURE(static_cast<int>(policy));
        Bench bench({}, {.power_on = policy});
        bench.connect();
        cached_write(bench);
        switch (situation) {
          case Situation::quiet:
            break;
          case Situation::short_outage:
          case Situation::long_outage:
            bench.lose_session();
            bench.lun.attentions.push_back(attention(row.asc, row.ascq));
            bench.connect(situation == Situation::long_outage ? kPowerCycleTime : kPowerCycleTime - 1);
            break;
          case Situation::own_reset:
          case Situation::after_own_reset:
            bench.target->on_unit_reset(bench.now);
            if (situation == Situation::own_reset) bench.lun.attentions.push_back(attention(row.asc, row.ascq));
            bench.run();
            REQUIRE(bench.target->state() == ExportState::online);
            break;
        }
        if (situation == Situation::quiet || situation == Situation::after_own_reset) {
          report(bench, attention(row.asc, row.ascq));
        }
        const bool fails =
            row.ambiguous ? policy == PowerOnPolicy::always || (counts && policy != PowerOnPolicy::ignore) : counts;
        CHECK(bench.target->counters().unit_attentions == 1);
        CHECK(bench.target->counters().cache_loss_reports == (fails ? 1 : 0));
        CHECK(bench.target->counters().power_on_explained ==
              (row.ambiguous && !counts && policy != PowerOnPolicy::always ? 1 : 0));
        CHECK(flush(bench) == (fails ? Error::eio : Error::none));
        CHECK(flush(bench) == Error::none);  // exactly once
        CHECK(bench.target->counters().flushes_failed_for_lost_cache == (fails ? 1 : 0));
        bench.check_idle();
      }
    }
  }
}

TEST_CASE("lost cache: a deferred error is about a write of before, a recovered one is none") {
  for (const bool recovered : {false, true}) {
    Bench bench;
    bench.connect();
    cached_write(bench);
    FakeLun::Sense sense = make_sense(recovered ? SenseKey::recovered_error : SenseKey::medium_error, 0x0c);
    sense.deferred = true;
    report(bench, sense);
    CHECK(flush(bench) == (recovered ? Error::none : Error::eio));
    CHECK(flush(bench) == Error::none);
    bench.check_idle();
  }
}

TEST_CASE("lost cache: a power cycle while the session was away fails the next flush, and it alone") {
  Bench bench;
  bench.connect();
  cached_write(bench);
  bench.lun.power_loss();
  bench.lose_session();
  bench.connect(10 * kSecond);
  const std::vector<CacheEvent> doubt = bench.events();
  REQUIRE(doubt.size() == 1);
  CHECK(doubt[0].kind == CacheEvent::Kind::in_doubt);
  CHECK(doubt[0].lun == bench.target->unit().lun());
  CHECK(doubt[0].writes == 1);
  CHECK(doubt[0].cause.find("(6/29/01)") != std::string::npos);

  cached_write(bench, 512);
  Reply* const failed = bench.flush();
  bench.run();
  CHECK(failed->error == Error::eio);
  CHECK(failed->text == kLost);
  const std::vector<CacheEvent> told = bench.events();
  REQUIRE(told.size() == 1);
  CHECK(told[0].kind == CacheEvent::Kind::told);
  CHECK(told[0].writes == 1);
  CHECK(told[0].requests == 1);
  CHECK(told[0].cause == doubt[0].cause);
  CHECK(bench.lun.dirty.empty());  // what came later is safe all the same
  CHECK(flush(bench) == Error::none);
  CHECK(bench.events().empty());
  bench.check_idle();
}

TEST_CASE("lost cache: nothing in it, nothing lost") {
  SUBCASE("never written") {
    Bench bench;
    bench.connect();
    report(bench, attention(0x29, 0x01));
    CHECK(flush(bench) == Error::none);
    CHECK(bench.target->counters().cache_loss_reports == 1);
    CHECK(bench.events().empty());
  }
  SUBCASE("flushed") {
    Bench bench;
    bench.connect();
    cached_write(bench);
    CHECK(flush(bench) == Error::none);
    report(bench, attention(0x29, 0x01));
    CHECK(flush(bench) == Error::none);
  }
  SUBCASE("written with the FUA bit") {
    Bench bench;
    bench.connect();
    bench.write(0, 512, 1, kCmdFlagFua);
    bench.run();
    report(bench, attention(0x29, 0x01));
    CHECK(flush(bench) == Error::none);
  }
  SUBCASE("FUA by SYNCHRONIZE CACHE") {
    Bench bench({.dpofua = false});
    bench.connect();
    bench.write(0, 512, 1, kCmdFlagFua);
    bench.run();
    report(bench, attention(0x29, 0x01));
    CHECK(flush(bench) == Error::none);
  }
  SUBCASE("no volatile cache") {
    Bench bench({.write_cache = false});
    bench.connect();
    cached_write(bench);
    report(bench, attention(0x29, 0x01));
    CHECK(flush(bench) == Error::none);
  }
  SUBCASE("not acknowledged: sent again after the login") {
    Bench bench;
    bench.connect();
    Reply* const write = bench.write(0, 512, 7);
    bench.lun.power_loss();
    bench.lose_session();
    bench.connect(10 * kSecond);
    CHECK(write->error == Error::none);
    CHECK(bench.lun.disk[0] == 7);
    CHECK(flush(bench) == Error::none);
  }
  SUBCASE("failed, so never acknowledged") {
    Bench bench;
    bench.connect();
    bench.write(0, 512, 1);
    bench.lun.refuse(0, make_sense(SenseKey::medium_error, 0x0c), bench.now);
    bench.run();
    report(bench, attention(0x29, 0x01));
    CHECK(flush(bench) == Error::none);
  }
}

TEST_CASE("lost cache: a TRIM and a WRITE_ZEROES are writes, too") {
  for (const bool trim : {true, false}) {
    Bench bench;
    bench.connect();
    if (trim) {
      bench.trim(0, 40960);
    } else {
      bench.zero(0, 40960);
    }
    bench.run();
    report(bench, attention(0x29, 0x01));
    CHECK(flush(bench) == Error::eio);
    bench.check_idle();
  }
}

TEST_CASE("lost cache: the flush meets the report itself") {
  Bench bench;
  bench.connect();
  cached_write(bench);
  bench.lun.power_loss();
  CHECK(flush(bench) == Error::eio);
  CHECK(flush(bench) == Error::none);
  bench.check_idle();
}

TEST_CASE("lost cache: the flush was under way when the session went, and is sent again after the loss") {
  Bench bench;
  bench.connect();
  cached_write(bench);
  Reply* const reply = bench.flush();
  bench.lun.power_loss();
  bench.lose_session();
  CHECK_FALSE(reply->finished);
  bench.connect(10 * kSecond);
  CHECK(reply->error == Error::eio);
  CHECK(reply->text == kLost);
  CHECK(flush(bench) == Error::none);
  bench.check_idle();
}

TEST_CASE("lost cache: reported while the flush runs, before its success") {
  Bench bench;
  bench.connect();
  cached_write(bench);
  bench.read(4096, 512);
  Reply* const reply = bench.flush();
  REQUIRE(bench.lun.waiting.size() == 2);
  bench.lun.refuse(0, attention(0x29, 0x04), bench.now);
  bench.run();
  CHECK(reply->error == Error::eio);
  CHECK(flush(bench) == Error::none);
  bench.check_idle();
}

TEST_CASE("lost cache: reported after the flush, by a command that may have met it before: the next one tells") {
  Bench bench;
  bench.connect();
  cached_write(bench);
  bench.read(4096, 512);
  // In truth: the loss, met by the read; then the flush, of an empty cache; the read's answer is the last to come.
  bench.lun.power_loss(0x29, 0x04);
  bench.lun.execute_only(0);
  Reply* const early = bench.flush();
  bench.lun.complete(1, bench.now);
  bench.deliver();
  CHECK(early->error == Error::none);  // nobody can know
  bench.run();
  CHECK(flush(bench) == Error::eio);
  CHECK(flush(bench) == Error::none);
  bench.check_idle();
}

TEST_CASE("lost cache: the same, met by the probe while a flush is still under way") {
  Bench bench;
  bench.connect();
  cached_write(bench);
  Reply* const early = bench.flush();
  bench.target->on_unit_reset(bench.now);
  REQUIRE(bench.lun.waiting.size() == 2);
  bench.lun.power_loss(0x29, 0x04);
  bench.lun.execute_only(1);  // the probe meets it, then the flush is executed and answered first
  bench.lun.complete(0, bench.now);
  bench.deliver();
  CHECK(early->error == Error::none);
  bench.run();
  CHECK(flush(bench) == Error::eio);
  CHECK(flush(bench) == Error::none);
  bench.check_idle();
}

TEST_CASE("lost cache: a write answered after the report, but maybe executed before it, is in doubt") {
  Bench bench({.blocks = 16384});
  bench.connect();
  Reply* const write = bench.write(0, 2 * 1024 * 1024, 1);  // two commands
  bench.read(4 * 1024 * 1024, 512);
  REQUIRE(bench.lun.waiting.size() == 3);
  bench.lun.complete(0, bench.now);
  bench.lun.power_loss(0x29, 0x04);
  bench.lun.complete(1, bench.now);  // the read
  CHECK(bench.events().empty());     // nothing acknowledged yet
  bench.run();
  CHECK(write->error == Error::none);
  CHECK(bench.events().size() == 1);
  CHECK(flush(bench) == Error::eio);
  CHECK(flush(bench) == Error::none);
  bench.check_idle();
}

TEST_CASE("lost cache: every FLUSH that came before the failure was told fails; what came after it is for the next") {
  Bench bench({}, {.queue_depth = 8});
  bench.connect();
  cached_write(bench);
  Reply* const first = bench.flush();
  REQUIRE(bench.lun.waiting.size() == 1);
  Reply* const waits = bench.flush();  // for the next SYNCHRONIZE CACHE
  Reply* const fua = bench.trim(8192, 4096, kCmdFlagFua);
  bench.write(512, 512, 1);
  Reply* const third = bench.flush();
  bench.read(4096, 512);
  // A report that leaves no doubt about the disk: after one that does, the flush would be sent again.
  FakeLun::Sense deferred = make_sense(SenseKey::medium_error, 0x0c);
  deferred.deferred = true;
  bench.lun.refuse(bench.lun.waiting.size() - 1, deferred, bench.now);  // the read
  bench.lun.complete(0, bench.now);                                     // the flush
  bench.deliver();
  CHECK(first->error == Error::eio);
  CHECK(waits->finished);
  CHECK(waits->error == Error::eio);
  CHECK(third->finished);
  CHECK(third->error == Error::eio);
  CHECK(bench.target->counters().flushes_failed_for_lost_cache == 3);
  bench.run();
  CHECK(fua->finished);
  // The TRIM and the write were under way when the loss was reported: the write is told by the next FLUSH, the TRIM
  // by its own reply.
  CHECK(fua->error == Error::eio);
  CHECK(fua->text == kLostItself);
  CHECK(flush(bench) == Error::eio);
  CHECK(flush(bench) == Error::none);
  bench.check_idle();
}

TEST_CASE("lost cache: a SYNCHRONIZE CACHE that fails may have lost what was acknowledged while it ran") {
  const auto medium_error = make_sense(SenseKey::medium_error, 0x0c);
  SUBCASE("the next FLUSH tells of it, and none succeeds before") {
    Bench bench({}, {.queue_depth = 8});
    bench.connect();
    Reply* const running = bench.flush();
    Reply* const write = bench.write(0, 512, 1);
    REQUIRE(bench.lun.waiting.size() == 2);
    bench.lun.complete(1, bench.now);
    bench.deliver();
    REQUIRE(write->finished);
    REQUIRE_FALSE(running->finished);
    bench.lun.refuse(0, medium_error, bench.now);
    bench.run();
    CHECK(running->error == Error::eio);
    CHECK(bench.events().size() == 1);
    CHECK(flush(bench) == Error::eio);
    CHECK(flush(bench) == Error::none);
    bench.check_idle();
  }
  SUBCASE("a FUA write that waits for the next SYNCHRONIZE CACHE fails, though that one ends well") {
    Bench bench({.dpofua = false}, {.queue_depth = 8});
    bench.connect();
    Reply* const running = bench.flush();
    Reply* const fua = bench.write(0, 512, 1, kCmdFlagFua);
    REQUIRE(bench.lun.waiting.size() == 2);
    bench.lun.complete(1, bench.now);
    bench.lun.refuse(0, medium_error, bench.now);
    bench.run();
    CHECK(running->error == Error::eio);
    CHECK(fua->error == Error::eio);
    CHECK(fua->text == kLostItself);
    CHECK(flush(bench) == Error::none);
    bench.check_idle();
  }
}

TEST_CASE("lost cache: FUA by SYNCHRONIZE CACHE speaks for its own write alone") {
  SUBCASE("lost before it was written") {
    Bench bench({.dpofua = false});
    bench.connect();
    cached_write(bench);
    report(bench, attention(0x29, 0x01));
    Reply* const fua = bench.write(512, 512, 1, kCmdFlagFua);
    bench.run();
    CHECK(fua->error == Error::none);
    CHECK(flush(bench) == Error::eio);  // still to be told
    CHECK(flush(bench) == Error::none);
    bench.check_idle();
  }
  SUBCASE("lost between its status and the flush") {
    Bench bench({.dpofua = false});
    bench.connect();
    Reply* const fua = bench.write(512, 512, 1, kCmdFlagFua);
    bench.lun.complete(0, bench.now);
    REQUIRE(bench.lun.waiting.size() == 1);
    bench.lun.power_loss();
    bench.run();
    CHECK(fua->error == Error::eio);
    CHECK(fua->text == kLostItself);
    CHECK(bench.target->counters().flushes_failed_for_lost_cache == 1);
    CHECK(bench.events().size() == 1);
    CHECK(flush(bench) == Error::none);  // nothing else was acknowledged
    bench.check_idle();
  }
  SUBCASE("a part of it, by another's FLUSH that has failed") {
    Bench bench({.blocks = 16384, .dpofua = false}, {.queue_depth = 8});
    bench.connect();
    Reply* const fua = bench.write(0, 2 * 1024 * 1024, 1, kCmdFlagFua);
    REQUIRE(bench.lun.waiting.size() == 2);
    bench.lun.complete(0, bench.now);  // the first part is in the cache
    Reply* const other = bench.flush();
    bench.deliver();
    REQUIRE(bench.lun.waiting.size() == 2);
    bench.lun.refuse(1, make_sense(SenseKey::medium_error, 0x0c), bench.now);
    bench.run();
    CHECK(other->error == Error::eio);
    CHECK(fua->error == Error::eio);
    CHECK(fua->text == kLostItself);
    CHECK(flush(bench) == Error::none);  // nothing was acknowledged
    bench.check_idle();
  }
  SUBCASE("with the bit it needs no flush") {
    Bench bench;
    bench.connect();
    cached_write(bench);
    bench.lun.power_loss();
    Reply* const fua = bench.write(512, 512, 1, kCmdFlagFua);
    bench.run();
    CHECK(fua->error == Error::none);
    CHECK(flush(bench) == Error::eio);
    bench.check_idle();
  }
}

TEST_CASE("lost cache: the power cycle has switched the cache off; the flush fails all the same") {
  Bench bench;
  bench.connect();
  cached_write(bench);
  bench.lun.power_loss();
  bench.lun.options.write_cache = false;
  bench.lose_session();
  bench.connect(10 * kSecond);
  const std::uint64_t before = bench.lun.synchronized;
  CHECK(flush(bench) == Error::eio);
  CHECK(flush(bench) == Error::none);
  CHECK(bench.lun.synchronized == before);
  CHECK(bench.target->cache().unflushed() == 0);
  bench.check_idle();
}

TEST_CASE("lost cache: a client that goes away has not been told") {
  Bench bench;
  bench.connect();
  cached_write(bench);
  Reply* const gone = bench.flush();
  bench.lun.power_loss();
  bench.abandon(*gone);
  bench.run();
  CHECK(flush(bench) == Error::eio);
  CHECK(flush(bench) == Error::none);
  bench.check_idle();
}

TEST_CASE("lost cache: a flush that fails for another reason tells it") {
  SUBCASE("an error of the flush itself") {
    Bench bench;
    bench.connect();
    cached_write(bench);
    report(bench, attention(0x29, 0x01));
    Reply* const reply = bench.flush();
    bench.lun.refuse(0, make_sense(SenseKey::medium_error, 0x0c), bench.now);
    bench.run();
    CHECK(reply->error == Error::eio);
    CHECK(reply->text == kLost);
    CHECK(flush(bench) == Error::none);
    bench.check_idle();
  }
  SUBCASE("no path") {
    Bench bench({}, {.hold_timeout = 30 * kSecond});
    bench.connect();
    cached_write(bench);
    report(bench, attention(0x29, 0x01));
    bench.lose_session();
    Reply* const reply = bench.flush();
    bench.now += 30 * kSecond;
    bench.target->on_deadline(bench.now);
    bench.deliver();
    CHECK(reply->error == Error::eio);
    CHECK(reply->text == kLost);
    bench.connect();
    CHECK(flush(bench) == Error::none);
    bench.check_idle();
  }
}

TEST_CASE("lost cache: after a reset of our own a command that was sent before the probe may meet the attention") {
  Bench bench;
  bench.connect();
  cached_write(bench);
  Reply* const read = bench.read(0, 512);
  // The session hands back what the reset has ended, and then tells of it.
  bench.lun.abort(0, false, bench.now);
  REQUIRE(bench.lun.waiting.size() == 1);
  bench.target->on_unit_reset(bench.now);
  REQUIRE(bench.lun.waiting.size() == 2);
  CHECK(bench.target->state() == ExportState::probing);
  bench.lun.refuse(0, attention(0x29, 0x00), bench.now);
  bench.run();
  CHECK(read->error == Error::none);
  CHECK(flush(bench) == Error::none);
  CHECK(bench.target->counters().power_on_explained == 1);
  CHECK(bench.target->counters().unit_resets == 1);
  bench.check_idle();
}

TEST_CASE("lost cache: a login without the probe's answer explains nothing for ever") {
  Bench bench;
  bench.connect();
  cached_write(bench);
  bench.lose_session();
  bench.connect(kPowerCycleTime - 1);  // no attention follows it
  report(bench, attention(0x29, 0x00));
  CHECK(flush(bench) == Error::eio);
  bench.check_idle();
}

TEST_CASE("lost cache: a reset does not explain what the long outage after it may mean") {
  Bench bench;
  bench.connect();
  cached_write(bench);
  bench.target->on_unit_reset(bench.now);
  bench.lose_session();
  bench.lun.attentions.push_back(attention(0x29, 0x00));
  bench.connect(kPowerCycleTime);
  CHECK(flush(bench) == Error::eio);
  bench.check_idle();
}

TEST_CASE("lost cache: a long outage is suspect until the LUN has answered, whatever comes between") {
  for (const bool reset : {false, true}) {
    Bench bench;
    bench.connect();
    cached_write(bench);
    bench.lose_session();
    bench.lun.power_loss(0x29, 0x00);
    bench.target->on_session_up(10 * kSecond, bench.now);
    REQUIRE(bench.lun.waiting.size() == 1);  // the probe has begun
    if (reset) {
      bench.lun.abort(0, true, bench.now);
      bench.target->on_unit_reset(bench.now);
      bench.run();
    } else {
      bench.lose_session();
      bench.connect(0);
    }
    CHECK(flush(bench) == Error::eio);
    CHECK(flush(bench) == Error::none);
    bench.check_idle();
  }
}
