// What is told of requests that fail: the first of a kind at once, then how many.
#include "gateway/bridge/failures.hpp"

#include <doctest/doctest.h>

#include "proto/scsi/lun.hpp"
#include "tests/unit/bridge/bench.hpp"

using nbdgw::bridge::CacheEvent;
using nbdgw::bridge::ExportConfig;
using nbdgw::bridge::Failures;
using nbdgw::bridge::RequestFailure;
using nbdgw::initiator::Outcome;
using nbdgw::proto::kNever;
using nbdgw::proto::kSecond;
using nbdgw::proto::Micros;
using nbdgw::proto::nbd::Command;
using nbdgw::proto::nbd::Error;
using nbdgw::proto::scsi::SenseKey;

namespace {

constexpr const char* kText = "medium error";

RequestFailure medium_error(std::uint64_t lba, std::uint8_t ascq = 0) {
  RequestFailure failure;
  failure.request = Command::read;
  failure.lba = lba;
  failure.error = Error::eio;
  failure.text = kText;
  failure.command = {
      .outcome = Outcome::completed, .status = 2, .sense = make_sense(SenseKey::medium_error, 0x11, ascq)};
  return failure;
}

std::vector<RequestFailure> take(Failures& failures, Micros now) {
  std::vector<RequestFailure> told;
  for (RequestFailure failure; failures.next(failure, now);) told.push_back(failure);
  CHECK_FALSE(failures.has_events());
  return told;
}

std::vector<RequestFailure> take(Bench& bench) {
  std::vector<RequestFailure> told;
  for (RequestFailure failure; bench.target->next_failure(failure, bench.now);) told.push_back(failure);
  return told;
}

}  // namespace

TEST_CASE("failures: the first of a kind at once, the others counted, with the latest") {
  Failures failures;
  CHECK_FALSE(failures.has_events());
  CHECK(failures.next_deadline() == kNever);
  failures.note(medium_error(1));
  REQUIRE(failures.has_events());
  auto told = take(failures, kSecond);
  REQUIRE(told.size() == 1);
  CHECK(told[0].count == 1);
  CHECK(told[0].over == 0);
  CHECK(told[0].lba == 1);
  for (std::uint64_t lba = 2; lba < 22; ++lba) failures.note(medium_error(lba));
  CHECK_FALSE(failures.has_events());
  CHECK(failures.next_deadline() == kSecond + Failures::kInterval);
  failures.on_deadline(failures.next_deadline() - 1);
  CHECK_FALSE(failures.has_events());
  const Micros due = failures.next_deadline();
  failures.on_deadline(due);
  told = take(failures, due);
  REQUIRE(told.size() == 1);
  CHECK(told[0].count == 20);
  CHECK(told[0].over == Failures::kInterval);
  CHECK(told[0].lba == 21);
  // Nothing for a while: forgotten, and the next one is a first one.
  failures.on_deadline(failures.next_deadline());
  CHECK_FALSE(failures.has_events());
  CHECK(failures.next_deadline() == kNever);
  failures.note(medium_error(5));
  told = take(failures, 100 * kSecond);
  REQUIRE(told.size() == 1);
  CHECK(told[0].over == 0);
}

TEST_CASE("failures: before the first was fetched others may come, and are told with it") {
  Failures failures;
  for (std::uint64_t lba = 1; lba <= 3; ++lba) failures.note(medium_error(lba));
  const auto told = take(failures, kSecond);
  REQUIRE(told.size() == 1);
  CHECK(told[0].count == 3);
  CHECK(told[0].lba == 3);
}

TEST_CASE("failures: what differs in command, error or sense is another kind; in its place it is not") {
  Failures failures;
  failures.note(medium_error(1));
  failures.note(medium_error(2, 4));
  RequestFailure other = medium_error(3);
  other.request = Command::write;
  failures.note(other);
  other.error = Error::enospc;
  failures.note(other);
  other.command.reset();
  failures.note(other);
  failures.note(medium_error(9));
  CHECK(take(failures, kSecond).size() == 5);
}

TEST_CASE("failures: of many kinds some are kept apart, and none is lost") {
  Failures failures;
  constexpr std::uint64_t kAll = 100;
  for (std::uint64_t n = 0; n < kAll; ++n) failures.note(medium_error(n, static_cast<std::uint8_t>(n)));
  std::uint64_t count = 0;
  const auto told = take(failures, kSecond);
  CHECK(told.size() == Failures::kKinds + 1);
  for (const RequestFailure& failure : told) count += failure.count;
  CHECK(count == kAll);
  CHECK(told.back().mixed);
  CHECK_FALSE(told.front().mixed);
}

TEST_CASE("failures: at the end what was only counted is told") {
  Failures failures;
  failures.note(medium_error(1));
  take(failures, kSecond);
  failures.note(medium_error(2));
  failures.tell_all(3 * kSecond);
  const auto told = take(failures, 3 * kSecond);
  REQUIRE(told.size() == 1);
  CHECK(told[0].count == 1);
  CHECK(told[0].over == 2 * kSecond);
  failures.tell_all(4 * kSecond);
  CHECK_FALSE(failures.has_events());
}

TEST_CASE("failures: in words") {
  CHECK(explain(medium_error(1)) == "CHECK CONDITION: MEDIUM ERROR, unrecovered read error (3/11/00)");
  RequestFailure failure = medium_error(1);
  failure.command->sense.reset();
  CHECK(explain(failure) == "CHECK CONDITION without valid sense data");
  failure.command->status = 8;
  failure.text = "the LUN stays busy";
  CHECK(explain(failure) == "BUSY: the LUN stays busy");
  failure.command->status = 0;
  CHECK(explain(failure) == "the LUN stays busy");
  failure.command.reset();
  CHECK(explain(failure) == "the LUN stays busy");
}

TEST_CASE("an export tells the command, its place and its sense of a READ that fails") {
  Bench bench;
  bench.connect();
  Reply* const read = bench.read(8192, 4096);
  bench.deliver();
  REQUIRE(bench.lun.waiting.size() == 1);
  bench.lun.refuse(0, make_sense(SenseKey::medium_error, 0x11), bench.now);
  bench.deliver();
  CHECK(read->error == Error::eio);
  REQUIRE(bench.target->has_failures());
  const auto told = take(bench);
  REQUIRE(told.size() == 1);
  CHECK(told[0].request == Command::read);
  CHECK(told[0].offset == 8192);
  CHECK(told[0].length == 4096);
  CHECK(told[0].lba == 16);
  CHECK(told[0].error == Error::eio);
  REQUIRE(told[0].command.has_value());
  CHECK(told[0].command->opcode == 0x88);
  CHECK(told[0].command->lba == 16);
  CHECK(told[0].command->blocks == 8);
  CHECK(told[0].command->tries == 1);
  REQUIRE(told[0].command->sense.has_value());
  CHECK(told[0].command->sense->asc == 0x11);
  CHECK(bench.target->next_deadline() == bench.now + Failures::kInterval);
}

TEST_CASE("an export counts the tries, and tells nothing of what ends well, or of whom nobody waits for") {
  ExportConfig config;
  config.retries = 2;
  Bench bench({}, config);
  bench.connect();
  Reply* const read = bench.read(0, 512);
  for (int tries = 0; tries < 3; ++tries) {
    bench.deliver();
    if (bench.lun.waiting.empty()) bench.wait_for_deadline();
    bench.deliver();
    REQUIRE(bench.lun.waiting.size() == 1);
    bench.lun.refuse(0, make_sense(SenseKey::aborted_command, 0), bench.now);
  }
  bench.deliver();
  CHECK(read->error == Error::eio);
  auto told = take(bench);
  REQUIRE(told.size() == 1);
  CHECK(told[0].command->tries == 3);
  CHECK(bench.read(0, 512) != nullptr);
  bench.run();
  Reply* const left = bench.write(0, 512, 1);
  bench.deliver();
  bench.abandon(*left);
  bench.lun.refuse(0, make_sense(SenseKey::medium_error, 0x0c), bench.now);
  bench.deliver();
  CHECK_FALSE(bench.target->has_failures());
}

TEST_CASE("an export tells when it gives up waiting for a path, how many failed, and that it is over") {
  ExportConfig config;
  config.hold_timeout = 20 * kSecond;
  Bench bench({}, config);
  CHECK(bench.target->down_since() == 0);
  bench.connect();
  CHECK(bench.target->down_since() == kNever);
  bench.lose_session();
  CHECK(bench.target->down_since() == bench.now);
  Reply* const read = bench.read(0, 512);
  bench.wait_for_deadline();
  CHECK(read->error == Error::eio);
  auto events = bench.unit_events();
  REQUIRE(events.size() == 1);
  CHECK(events[0].kind == CacheEvent::Kind::hold_expired);
  CHECK(events[0].requests == 1);
  CHECK(events[0].duration == 20 * kSecond);
  CHECK_FALSE(events[0].cause.empty());
  const auto told = take(bench);
  REQUIRE(told.size() == 1);
  CHECK_FALSE(told[0].command.has_value());
  bench.now += 5 * kSecond;
  bench.read(512, 512);
  bench.deliver();
  bench.connect();
  events = bench.unit_events();
  REQUIRE(events.size() == 1);
  CHECK(events[0].kind == CacheEvent::Kind::hold_over);
  CHECK(events[0].requests == 2);
  CHECK(events[0].duration >= 5 * kSecond);
}
