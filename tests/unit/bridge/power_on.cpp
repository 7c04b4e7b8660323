#include "gateway/bridge/power_on.hpp"

#include <doctest/doctest.h>

#include "tests/unit/bridge/bench.hpp"

using namespace nbdgw::bridge;
using nbdgw::proto::kSecond;
using nbdgw::proto::nbd::Error;
using nbdgw::proto::scsi::SenseKey;

namespace {

/// A cached write that nothing has flushed.
void cached_write(Bench& bench) {
  Reply* const reply = bench.write(0, 512, 1);
  bench.run();
  REQUIRE(reply->error == Error::none);
}
Error flush(Bench& bench) {
  Reply* const reply = bench.flush();
  bench.run();
  return reply->error;
}

/// The session is lost and comes back, with the attention that the target raises then.
void come_back(Bench& bench, Login login, bool attention, nbdgw::proto::Micros outage = kSecond) {
  bench.lose_session();
  if (attention) bench.lun.attentions.push_back(make_sense(SenseKey::unit_attention, 0x29, 0x00));
  bench.target->on_session_up(outage, bench.now, login);
  bench.run();
  REQUIRE(bench.target->state() == ExportState::online);
}
void reset(Bench& bench, bool attention) {
  if (attention) bench.lun.attentions.push_back(make_sense(SenseKey::unit_attention, 0x29, 0x00));
  bench.target->on_unit_reset(bench.now);
  bench.run();
  REQUIRE(bench.target->state() == ExportState::online);
}

}  // namespace

TEST_CASE("power on: a target that has come back without it means a lost cache by it, however short the outage") {
  Bench bench;
  bench.connect();
  cached_write(bench);
  come_back(bench, Login::after_loss, true);
  CHECK(flush(bench) == Error::none);  // nothing learnt yet: it may be of those that do so at every login
  come_back(bench, Login::after_own, false);
  CHECK(bench.target->power_on().learnt().login_is_silent);
  cached_write(bench);
  come_back(bench, Login::after_loss, true);
  CHECK(flush(bench) == Error::eio);
  CHECK(flush(bench) == Error::none);
  cached_write(bench);
  come_back(bench, Login::after_loss, false);
  CHECK(flush(bench) == Error::none);
}

TEST_CASE("power on: a target that raises it at our own return stays ambiguous") {
  Bench bench;
  bench.connect();
  come_back(bench, Login::after_own, true);
  CHECK_FALSE(bench.target->power_on().learnt().login_is_silent);
  cached_write(bench);
  come_back(bench, Login::after_loss, true);
  CHECK(flush(bench) == Error::none);
  cached_write(bench);
  come_back(bench, Login::after_loss, true, kPowerCycleTime);
  CHECK(flush(bench) == Error::eio);
}

TEST_CASE("power on: nothing is learnt from the first login, nor from a return that was not our doing") {
  Bench bench;
  bench.connect();
  come_back(bench, Login::after_loss, false);
  come_back(bench, Login::long_ago, false);
  CHECK_FALSE(bench.target->power_on().learnt().login_is_silent);
  CHECK_FALSE(bench.target->power_on().learnt().reset_is_silent);
}

TEST_CASE("power on: resets are learnt apart from logins") {
  Bench bench;
  bench.connect();
  reset(bench, false);
  CHECK(bench.target->power_on().learnt().reset_is_silent);
  CHECK_FALSE(bench.target->power_on().learnt().login_is_silent);
  cached_write(bench);
  come_back(bench, Login::after_loss, true);
  CHECK(flush(bench) == Error::none);
  cached_write(bench);
  reset(bench, true);
  CHECK(flush(bench) == Error::eio);
}

TEST_CASE("power on: an attention that a command met which was under way is no silence") {
  Bench bench;
  bench.connect();
  bench.read(0, 512);
  bench.target->on_unit_reset(bench.now);
  bench.lun.refuse(0, make_sense(SenseKey::unit_attention, 0x29, 0x00), bench.now);
  bench.run();
  CHECK_FALSE(bench.target->power_on().learnt().reset_is_silent);
  bench.check_idle();
}

TEST_CASE("power on: where another export of the session has the LUN, silence says nothing") {
  Bench bench;
  bench.target->set_alone(false);
  bench.connect();
  come_back(bench, Login::after_own, false);
  reset(bench, false);
  CHECK_FALSE(bench.target->power_on().learnt().login_is_silent);
  CHECK_FALSE(bench.target->power_on().learnt().reset_is_silent);
}

TEST_CASE("power on: what was learnt survives the export, and a planned restart teaches, too") {
  Bench first;
  first.connect();
  come_back(first, Login::after_own, false);
  const CacheLegacy legacy = first.target->cache_legacy(first.now);
  CHECK(legacy.power_on.login_is_silent);
  Bench second;
  second.target->inherit(legacy);
  second.connect();
  CHECK(second.target->power_on().learnt().login_is_silent);

  for (const bool path : {true, false}) {
    Bench before;
    before.connect();
    if (!path) before.lose_session();
    Bench after;
    after.target->inherit(before.target->cache_legacy(before.now));
    after.connect();
    CHECK(after.target->power_on().learnt().login_is_silent == path);
  }
}

TEST_CASE("power on: the session that was there already teaches the export nothing that comes in another's place") {
  Bench before;
  before.connect();
  Bench after;
  after.target->inherit(before.target->cache_legacy(before.now));
  after.target->on_session_up(0, after.now, Login::long_ago);
  after.run();
  CHECK_FALSE(after.target->power_on().learnt().login_is_silent);
}

TEST_CASE("power on: the words of the configuration") {
  for (const PowerOnPolicy policy : {PowerOnPolicy::ignore, PowerOnPolicy::unexplained, PowerOnPolicy::always}) {
    for (const bool login : {false, true}) {
      Bench bench({}, {.power_on = policy});
      bench.connect();
      cached_write(bench);
      login ? come_back(bench, Login::after_own, true) : reset(bench, true);
      CHECK(flush(bench) == (policy == PowerOnPolicy::always ? Error::eio : Error::none));
    }
  }
}
