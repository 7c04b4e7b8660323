// What a target's recovery is configured with: timeouts, retries, and what becomes of requests that have to wait.
#include <doctest/doctest.h>

#include "config/parse.hpp"
#include "tests/unit/config/support.hpp"

using namespace nbdgw::config;
using namespace nbdgw::config::test;
using nbdgw::proto::kMillisecond;
using nbdgw::proto::kSecond;
using nbdgw::proto::Micros;

namespace {

ParseResult with_target(const std::string& line) {
  return parse(replaced(kGood, "exports:\n", "    " + line + "\nexports:\n"), "f", MemoryFiles());
}

Lines errors_of(const std::string& line) {
  return strings(with_target(line).errors);
}

/// The target of a line that must be good.
Target target_of(const std::string& line) {
  const ParseResult result = with_target(line);
  REQUIRE(strings(result.errors) == Lines{});
  return result.config->targets[0];
}

}  // namespace

TEST_CASE("recovery: the defaults are those of the design") {
  const Target target = parse(kGood, "f", MemoryFiles()).config->targets[0];
  CHECK(target.queue_depth == 128);
  CHECK(target.retries == 5);
  CHECK(target.fast_abort);
  CHECK(target.after_reinstatement == AfterReinstatement::reset);
  CHECK(target.other_group == OtherGroup::prove);
  CHECK(target.after_silence == AfterSilence::look);
  CHECK(target.time2wait == Time2Wait::ignore);
  CHECK(target.on_path_loss == PathLoss::fail);
  CHECK(target.power_on_attention == PowerOnAttention::fail_flush);
  const TargetTimeouts& timeouts = target.timeouts;
  CHECK(timeouts.command == 15 * kSecond);
  CHECK(timeouts.slow_command == 90 * kSecond);
  CHECK(timeouts.abort == 10 * kSecond);
  CHECK(timeouts.lu_reset == 15 * kSecond);
  CHECK(timeouts.target_reset == 30 * kSecond);
  CHECK(timeouts.nop_interval == 5 * kSecond);
  CHECK(timeouts.nop_timeout == 5 * kSecond);
  CHECK(timeouts.login == 15 * kSecond);
  CHECK(timeouts.logout == 15 * kSecond);
  CHECK(timeouts.replacement == 120 * kSecond);
}

TEST_CASE("recovery: every timeout is read, and has its bounds") {
  struct Row {
    const char* key;
    Micros TargetTimeouts::*member;
    const char* least;
    const char* most;
    const char* less;  // than that, and more: refused
    const char* more;
    const char* expected;
  };
  const Row rows[] = {
      {"command", &TargetTimeouts::command, "1s", "10min", "999ms", "601s", "a time from 1s to 10min"},
      {"abort", &TargetTimeouts::abort, "1s", "10min", "999ms", "601s", "a time from 1s to 10min"},
      {"lu_reset", &TargetTimeouts::lu_reset, "1s", "10min", "999ms", "601s", "a time from 1s to 10min"},
      {"target_reset", &TargetTimeouts::target_reset, "1s", "10min", "999ms", "601s", "a time from 1s to 10min"},
      {"nop_interval", &TargetTimeouts::nop_interval, "100ms", "10min", "1us", "601s",
       "0s (never) or a time from 100ms to 10min"},
      {"nop_timeout", &TargetTimeouts::nop_timeout, "100ms", "10min", "99ms", "601s", "a time from 100ms to 10min"},
      {"login", &TargetTimeouts::login, "1s", "10min", "999ms", "601s", "a time from 1s to 10min"},
      {"logout", &TargetTimeouts::logout, "1s", "10min", "999ms", "601s", "a time from 1s to 10min"},
      {"replacement", &TargetTimeouts::replacement, "1s", "24h", "999ms", "1441min", "a time from 1s to 24h"},
  };
  const auto line = [](const Row& row, const std::string& value) {
    return std::string("timeouts: {") + row.key + ": " + value + "}";
  };
  for (const Row& row : rows) {
    CAPTURE(row.key);
    CHECK(target_of(line(row, "7s")).timeouts.*row.member == 7 * kSecond);
    CHECK(errors_of(line(row, row.least)).empty());
    CHECK(errors_of(line(row, row.most)).empty());
    for (const char* value : {row.less, row.more}) {
      const Lines found = errors_of(line(row, value));
      REQUIRE(found.size() == 1);
      CHECK(found[0].ends_with(std::string("targets[0].timeouts.") + row.key + ": expected " + row.expected +
                               ", found \"" + value + "\""));
    }
    CHECK(errors_of(line(row, "-5s")).size() == 1);
    CHECK(errors_of(line(row, "5")).size() == 1);
    CHECK(errors_of(line(row, "99999999999999999999s")).size() == 1);
    const bool never = row.member == &TargetTimeouts::nop_interval;
    CHECK(errors_of(line(row, "0s")).empty() == never);
    CHECK(errors_of(line(row, "0ms")).empty() == never);
  }
  CHECK(target_of("timeouts: {nop_interval: 0s}").timeouts.nop_interval == 0);
  CHECK(target_of("timeouts: {slow_command: 5min}").timeouts.slow_command == 300 * kSecond);
  CHECK(target_of("timeouts: {command: 1500ms}").timeouts.command == 1500 * kMillisecond);
}

TEST_CASE("recovery: retries, queue depth and the words") {
  CHECK(target_of("retries: 1").retries == 1);
  CHECK(target_of("retries: 100").retries == 100);
  CHECK(errors_of("retries: 0") ==
        Lines{"f:9:14: targets[0].retries: expected a whole number from 1 to 100, found \"0\""});
  CHECK(errors_of("retries: 101").size() == 1);
  CHECK(errors_of("retries: -1").size() == 1);
  CHECK(target_of("queue_depth: 1024").queue_depth == 1024);
  CHECK(errors_of("queue_depth: 0").size() == 1);
  CHECK_FALSE(target_of("fast_abort: false").fast_abort);
  CHECK(errors_of("fast_abort: no").size() == 1);
  CHECK(target_of("on_path_loss: hold").on_path_loss == PathLoss::hold);
  CHECK(target_of("on_path_loss: fail").on_path_loss == PathLoss::fail);
  CHECK(errors_of("on_path_loss: held") ==
        Lines{"f:9:19: targets[0].on_path_loss: expected fail or hold, found \"held\"; did you mean hold?"});
  CHECK(target_of("after_reinstatement: trust").after_reinstatement == AfterReinstatement::trust);
  CHECK(target_of("after_reinstatement: reset").after_reinstatement == AfterReinstatement::reset);
  CHECK(errors_of("after_reinstatement: prove") ==
        Lines{"f:9:26: targets[0].after_reinstatement: expected reset or trust, found \"prove\""});
  CHECK(target_of("after_silence: trust").after_silence == AfterSilence::trust);
  CHECK(target_of("after_silence: look").after_silence == AfterSilence::look);
  CHECK(target_of("other_group: trust").other_group == OtherGroup::trust);
  CHECK(target_of("other_group: prove").other_group == OtherGroup::prove);
  CHECK(errors_of("other_group: reset") ==
        Lines{"f:9:18: targets[0].other_group: expected prove or trust, found \"reset\""});
  CHECK(target_of("time2wait: negotiated").time2wait == Time2Wait::negotiated);
  CHECK(target_of("time2wait: ignore").time2wait == Time2Wait::ignore);
  CHECK(errors_of("time2wait: 2s") ==
        Lines{"f:9:16: targets[0].time2wait: expected ignore or negotiated, found \"2s\""});
  CHECK(target_of("power_on_attention: ignore").power_on_attention == PowerOnAttention::ignore);
  CHECK(target_of("power_on_attention: fail_flush").power_on_attention == PowerOnAttention::fail_flush);
  CHECK(target_of("power_on_attention: always").power_on_attention == PowerOnAttention::always);
  CHECK(errors_of("power_on_attention: 1") ==
        Lines{"f:9:25: targets[0].power_on_attention: expected fail_flush, ignore or always, found \"1\""});
}

TEST_CASE("recovery: a replacement timeout that nothing waits for is pointed out") {
  const ParseResult result = with_target("on_path_loss: hold\n    timeouts: {replacement: 60s}");
  CHECK(result.config);
  CHECK(
      strings(result.warnings) ==
      Lines{"f:10:29: targets[0].timeouts.replacement: has no effect: with on_path_loss: hold, requests wait for as "
            "long as it takes"});
  CHECK(with_target("on_path_loss: fail\n    timeouts: {replacement: 60s}").warnings.empty());
  CHECK(with_target("on_path_loss: hold").warnings.empty());
}
