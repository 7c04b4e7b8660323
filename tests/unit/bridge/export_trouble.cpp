#include <algorithm>

#include <doctest/doctest.h>

#include "proto/scsi/cdb.hpp"
#include "tests/unit/bridge/bench.hpp"

using nbdgw::bridge::ExportState;
using nbdgw::proto::kSecond;
using nbdgw::proto::nbd::Error;
namespace scsi = nbdgw::proto::scsi;
using scsi::SenseKey;

namespace {

constexpr std::uint8_t kBusy = 0x08;
constexpr std::uint8_t kTaskSetFull = 0x28;

}  // namespace

TEST_CASE("errors: what a failed command becomes for the client") {
  struct Row {
    SenseKey key;
    std::uint8_t asc, ascq;
    Error read, write;
    const char* text;
  };
  const Row rows[] = {
      {SenseKey::medium_error, 0x11, 0, Error::eio, Error::eio, "medium error"},
      {SenseKey::hardware_error, 0x44, 0, Error::eio, Error::eio, "hardware error of the target"},
      {SenseKey::data_protect, 0x27, 0, Error::eperm, Error::eperm, "the LUN is write protected"},
      {SenseKey::data_protect, 0x27, 7, Error::eio, Error::enospc, nullptr},
      {SenseKey::illegal_request, 0x21, 0, Error::einval, Error::enospc, nullptr},
      {SenseKey::illegal_request, 0x24, 0, Error::eio, Error::eio, "the LUN refuses the command"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.asc);
    CAPTURE(row.ascq);
    Bench bench;
    bench.connect();
    Reply* const read = bench.read(0, 512);
    bench.lun.refuse(0, make_sense(row.key, row.asc, row.ascq), bench.now);
    bench.run();
    Reply* const write = bench.write(0, 512, 1);
    bench.lun.refuse(0, make_sense(row.key, row.asc, row.ascq), bench.now);
    bench.run();
    CHECK(read->error == row.read);
    CHECK(write->error == row.write);
    CHECK_FALSE(write->text.empty());
    if (row.text != nullptr) CHECK(read->text == row.text);
    CHECK(bench.target->counters().failed == 2);
    bench.check_idle();
  }
}

TEST_CASE("errors: one part fails, the rest is not begun, the reply comes when nothing runs any more") {
  Bench bench({.blocks = 16384}, {.queue_depth = 2});
  bench.connect();
  Reply* const write = bench.write(0, 4 * 1024 * 1024, 1);
  Reply* const behind = bench.write(0, 512, 2);
  REQUIRE(bench.lun.waiting.size() == 2);
  bench.lun.refuse(0, make_sense(SenseKey::medium_error, 0x0c), bench.now);
  bench.deliver();
  CHECK_FALSE(write->finished);
  // The other part that runs, and the write behind, whose way is free now.
  REQUIRE(bench.lun.waiting.size() == 2);
  CHECK(bench.target->queue().ready() == 0);
  bench.lun.complete(0, bench.now);
  bench.deliver();
  CHECK(write->finished);
  CHECK(write->error == Error::eio);
  CHECK_FALSE(behind->finished);
  bench.run();
  CHECK(behind->error == Error::none);
  bench.check_idle();
}

TEST_CASE("errors: a write that failed is answered before the rest of its payload has come") {
  Bench bench({.blocks = 16384});
  bench.connect();
  const std::vector<std::uint8_t> data(3 * 1024 * 1024, 7);
  Reply* const reply = bench.admit(nbdgw::proto::nbd::Command::write, 0, static_cast<std::uint32_t>(data.size()));
  bench.received(*reply, *bench.fill(*reply, data));
  bench.lun.refuse(0, make_sense(SenseKey::medium_error, 0x0c), bench.now);
  bench.deliver();
  CHECK(reply->finished);  // the protocol engine drops the rest first
  CHECK(bench.write(0, 512, 1) != nullptr);
  CHECK(bench.lun.waiting.size() == 1);
  CHECK(reply->error == Error::eio);
  bench.run();
  bench.check_idle();
}

TEST_CASE("retries: BUSY and TASK SET FULL wait, lower the depth, and it comes back") {
  Bench bench({}, {.queue_depth = 8});
  bench.connect();
  std::vector<Reply*> replies;
  for (std::uint32_t i = 0; i < 16; ++i) replies.push_back(bench.write(i * 512, 512, 1));
  REQUIRE(bench.lun.waiting.size() == 8);
  bench.lun.refuse(0, kTaskSetFull, bench.now);
  CHECK(bench.target->queue().depth() == 7);
  CHECK(bench.lun.waiting.size() == 7);
  bench.lun.refuse(0, kBusy, bench.now);
  CHECK(bench.target->queue().depth() == 6);
  CHECK(bench.target->queue().delayed() == 2);
  bench.run();
  CHECK(std::count_if(replies.begin(), replies.end(), [](const Reply* r) { return r->finished; }) == 14);
  bench.wait_for_deadline();
  bench.run();
  for (const Reply* reply : replies) CHECK(reply->error == Error::none);
  CHECK(std::all_of(replies.begin(), replies.end(), [](const Reply* r) { return r->finished; }));
  // Not at once: the target says when it is full, and not when it is not any more.
  const auto ends_well = [&](int commands) {
    for (int i = 0; i < commands; ++i) {
      bench.read(0, 512);
      bench.run();
    }
    return bench.target->queue().depth();
  };
  CHECK(ends_well(1000) == 6);
  bench.now += nbdgw::bridge::kQueueDepthRest;
  CHECK(ends_well(5) == 6);
  CHECK(ends_well(1) == 7);
  CHECK(ends_well(6) == 7);
  // Full again: another rest.
  bench.read(0, 512);
  bench.lun.refuse(0, kTaskSetFull, bench.now);
  CHECK(bench.target->queue().depth() == 1);
  bench.wait_for_deadline();
  bench.run();
  CHECK(ends_well(1000) == 1);
  bench.now += nbdgw::bridge::kQueueDepthRest;
  CHECK(ends_well(1 + 2 + 3 + 4 + 5 + 6) == 7);
  CHECK(ends_well(1000) == 8);
  bench.check_idle();
}

TEST_CASE("retries: unit attentions are absorbed, short transfers never pass as good") {
  Bench bench;
  bench.connect();
  std::fill(bench.lun.disk.begin(), bench.lun.disk.end(), std::uint8_t{5});
  Reply* const read = bench.read(0, 1024);
  bench.lun.refuse(0, make_sense(SenseKey::unit_attention, 0x29, 0x00), bench.now);
  CHECK(bench.target->counters().unit_attentions == 1);
  CHECK(bench.target->counters().cache_loss_reports == 1);
  while (bench.target->status().state == ExportState::probing) bench.lun.complete(0, bench.now);
  REQUIRE(bench.lun.waiting.size() == 1);
  bench.lun.complete_short(0, 512, bench.now);
  CHECK(bench.target->counters().short_transfers == 1);
  CHECK_FALSE(read->finished);
  bench.run();
  CHECK(read->error == Error::none);
  CHECK(read->data == std::vector<std::uint8_t>(1024, 5));

  Reply* const never = bench.read(0, 1024);
  for (int i = 0; i < 100 && !never->finished; ++i) {
    if (bench.lun.waiting.empty()) bench.wait_for_deadline();
    if (!bench.lun.waiting.empty()) bench.lun.complete_short(0, 1, bench.now);
    bench.deliver();
  }
  CHECK(never->finished);
  CHECK(never->error == Error::eio);
  bench.check_idle();
}

TEST_CASE("session: requests are held while it is away, and go on after the probe") {
  Bench bench({.blocks = 16384});
  bench.connect();
  Reply* const write = bench.write(0, 2 * 1024 * 1024, 1);
  Reply* const blocked = bench.write(512, 512, 2);
  bench.lose_session();
  CHECK(bench.target->status().state == ExportState::offline);
  CHECK(bench.target->status().reason == "connection reset");
  Reply* const while_away = bench.read(0, 512);
  Reply* const flush = bench.flush();
  CHECK(bench.lun.waiting.empty());
  bench.now += 60 * kSecond;
  bench.target->on_deadline(bench.now);
  bench.target->on_session_up(0, bench.now);
  CHECK(bench.target->status().state == ExportState::probing);
  REQUIRE(bench.lun.waiting.size() == 1);  // the probe alone
  CHECK(FakeLun::opcode(*bench.lun.waiting[0]) == 0x00);
  bench.run();
  for (const Reply* reply : {write, blocked, while_away, flush}) {
    CHECK(reply->finished);
    CHECK(reply->error == Error::none);
  }
  CHECK(bench.lun.disk[0] == 1);
  CHECK(bench.lun.disk[512] == 2);
  CHECK(bench.target->counters().held == 2);
  CHECK(bench.target->counters().path_losses == 1);
  bench.check_idle();
}

TEST_CASE("session: a command that comes back disrupted is not sent before the new login, whoever tells first") {
  Bench bench;
  bench.connect();
  Reply* const reply = bench.write(0, 512, 1);
  bench.lun.disrupt([](const FakeLun::Command&) { return false; }, bench.now);
  bench.deliver();
  CHECK(bench.lun.waiting.empty());
  CHECK(bench.target->status().state == ExportState::offline);
  bench.connect();
  CHECK(reply->finished);
  bench.check_idle();
}

TEST_CASE("session: away again while the LUN is probed") {
  Bench bench;
  bench.connect();
  Reply* const reply = bench.write(0, 512, 1);
  bench.lose_session();
  bench.target->on_session_up(0, bench.now);
  bench.lun.complete(0, bench.now);
  bench.lose_session();
  // The unit may begin its probe anew at once: its answers count only once the session is up.
  for (int i = 0; i < 30 && !bench.lun.waiting.empty(); ++i) bench.lun.complete(0, bench.now);
  CHECK(bench.target->status().state == ExportState::offline);
  CHECK_FALSE(reply->finished);
  bench.connect();
  CHECK(reply->finished);
  bench.check_idle();
}

TEST_CASE("session: away for too long, requests fail, until it is back") {
  Bench bench({}, {.hold_timeout = 30 * kSecond});
  bench.connect();
  Reply* const write = bench.write(0, 512, 1);
  Reply* const blocked = bench.write(0, 512, 2);
  bench.lose_session();
  Reply* const flush = bench.flush();
  const auto since = bench.now;
  CHECK(bench.target->next_deadline() == since + 30 * kSecond);
  bench.now = since + 30 * kSecond - 1;
  bench.target->on_deadline(bench.now);
  bench.deliver();
  CHECK_FALSE(write->finished);
  bench.wait_for_deadline();
  for (const Reply* reply : {write, blocked, flush}) {
    CHECK(reply->finished);
    CHECK(reply->error == Error::eio);
    CHECK(reply->text == "no path to the target");
  }
  Reply* const late = bench.read(0, 512);
  bench.deliver();
  CHECK(late->finished);
  CHECK(late->error == Error::eio);
  CHECK(bench.target->next_deadline() == nbdgw::proto::kNever);
  bench.connect();
  Reply* const after = bench.read(0, 512);
  bench.run();
  CHECK(after->error == Error::none);
  CHECK(bench.target->counters().hold_timeouts == 1);
  bench.check_idle();
}

TEST_CASE("session: given up for good") {
  Bench bench;
  bench.connect();
  Reply* const write = bench.write(0, 512, 1);
  bench.lun.lose_path(bench.now);
  bench.deliver();
  CHECK(write->error == Error::eio);
  CHECK(write->text == "no path to the target");
  bench.check_idle();
}

TEST_CASE("LUN: another disk under the same number is not written to") {
  Bench bench;
  bench.connect();
  Reply* const held = bench.write(0, 512, 1);
  bench.lose_session();
  bench.lun.options.serial = "disk-2";
  bench.target->on_session_up(0, bench.now);
  bench.run();
  CHECK(bench.target->status().state == ExportState::refused);
  CHECK(bench.target->status().reason.find("another unit") != std::string::npos);
  CHECK(held->finished);
  CHECK(held->error == Error::eio);
  Reply* const later = bench.write(0, 512, 1);
  bench.deliver();
  CHECK(later->finished);
  CHECK(later->error == Error::eio);
  CHECK(bench.lun.disk[0] == 0);
  bench.lun.options.serial = "disk-1";
  bench.wait_for_deadline();
  bench.run();
  CHECK(bench.target->status().state == ExportState::online);
  bench.check_idle();
}

TEST_CASE("LUN: smaller than it was is refused, larger is shown to new clients") {
  Bench bench;
  bench.connect();
  bench.lose_session();
  bench.lun.options.blocks = 4000;
  bench.target->on_session_up(0, bench.now);
  bench.run();
  CHECK(bench.target->status().state == ExportState::refused);
  CHECK(bench.target->status().reason.find("shrank from 2097152 to 2048000 bytes") != std::string::npos);
  CHECK(bench.target->info().size == 4096 * 512);
  Reply* const reply = bench.read(0, 512);
  bench.deliver();
  CHECK(reply->error == Error::eio);
  bench.lun.options.blocks = 5000;
  bench.wait_for_deadline();
  bench.run();
  CHECK(bench.target->status().state == ExportState::online);
  CHECK(bench.target->info().size == 5000 * 512);
  bench.check_idle();
}

TEST_CASE("LUN: a capacity that changes while it is used is read again, and requests wait for it") {
  Bench bench;
  bench.connect();
  Reply* const read = bench.read(0, 512);
  bench.lun.options.blocks = 6000;
  bench.lun.disk.resize(6000 * 512);
  bench.lun.refuse(0, make_sense(SenseKey::unit_attention, 0x2a, 0x09), bench.now);
  CHECK(bench.target->status().state == ExportState::probing);
  REQUIRE(bench.lun.waiting.size() == 1);
  CHECK(FakeLun::opcode(*bench.lun.waiting[0]) == 0x9e);
  bench.run();
  CHECK(read->error == Error::none);
  CHECK(bench.target->info().size == 6000 * 512);
  CHECK(bench.target->status().state == ExportState::online);
  bench.check_idle();
}

TEST_CASE("LUN: not ready yet, then it is") {
  Bench bench;
  bench.target->on_session_up(0, bench.now);
  for (int i = 0; i < 200 && bench.target->status().state == ExportState::probing; ++i) {
    if (bench.lun.waiting.empty()) {
      bench.wait_for_deadline();
    } else {
      bench.lun.refuse(0, make_sense(SenseKey::not_ready, 0x04, 0x03), bench.now);
    }
  }
  CHECK(bench.target->status().state == ExportState::offline);
  CHECK(bench.target->status().reason.find("not ready") != std::string::npos);
  CHECK_FALSE(bench.target->status().known);
  bench.wait_for_deadline();
  bench.run();
  CHECK(bench.target->status().state == ExportState::online);
  bench.check_idle();
}
