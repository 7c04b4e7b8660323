#include "gateway/device/command_runner.hpp"

#include <algorithm>

#include "tests/unit/device/fake_unit.hpp"

using namespace device_test;
using nbdgw::device::Action;
using nbdgw::device::CommandRunner;
using nbdgw::device::Disposition;
using nbdgw::device::Notes;
using nbdgw::proto::kNever;

namespace {

struct Runner final : CommandRunner::Owner {
  Runner() : runner(transport, *this, 7, 64) {}

  void on_notes(const Notes&, Micros) override { ++notes; }
  void on_command_over(const Disposition& disposition, std::span<const std::uint8_t> received, Micros) override {
    action = disposition.action;
    data.assign(received.begin(), received.end());
    ++over;
  }

  initiator::ScsiCommand& take() {
    REQUIRE(transport.queued.size() == 1);
    initiator::ScsiCommand& command = *transport.queued.front();
    transport.queued.pop_front();
    return command;
  }
  void end(initiator::ScsiCommand& command) { command.sink->on_command_done(command, 100); }

  FakeTransport transport;
  CommandRunner runner;
  Action action = Action::error;
  std::vector<std::uint8_t> data;
  int over = 0;
  int notes = 0;
};

}  // namespace

TEST_CASE("command runner: what is queued is exactly what was asked for") {
  Runner bench;
  const scsi::Cdb inquiry = scsi::Inquiry{.evpd = true, .page = 0x83, .allocation_length = 64}.build();
  bench.runner.start(inquiry, 64, 0);
  initiator::ScsiCommand& command = bench.take();
  CHECK(command.lun == 7);
  CHECK(command.cdb == inquiry.bytes);
  CHECK(command.cdb_length == 6);
  CHECK(command.direction == initiator::Direction::read);
  CHECK(command.data_length == 64);
  good(command, std::vector<std::uint8_t>{1, 2, 3});
  bench.end(command);
  CHECK(bench.data == std::vector<std::uint8_t>{1, 2, 3});

  // A shorter CDB leaves nothing of the longer one behind; no data means no direction.
  bench.runner.start(scsi::test_unit_ready(), 0, 0);
  initiator::ScsiCommand& next = bench.take();
  CHECK(next.cdb == scsi::test_unit_ready().bytes);
  CHECK(next.direction == initiator::Direction::none);
  CHECK(next.data.empty());
}

TEST_CASE("command runner: old bytes are never taken for new ones") {
  Runner bench;
  const scsi::Cdb cdb = scsi::read_capacity_10();
  bench.runner.start(cdb, 8, 0);
  good(*bench.transport.queued.front(), std::vector<std::uint8_t>(8, 0xaa));
  bench.end(bench.take());
  bench.runner.start(cdb, 8, 0);
  initiator::ScsiCommand& silent = bench.take();
  silent.outcome = initiator::Outcome::completed;  // GOOD, no residual, and not a byte sent
  bench.end(silent);
  CHECK(bench.action == Action::done);
  CHECK(bench.data.empty());

  // What came counts, with or without a residual.
  bench.runner.start(cdb, 8, 0);
  initiator::ScsiCommand& brief = bench.take();
  nbdgw::proto::copy_in(brief.data, 0, std::vector<std::uint8_t>(3, 0xbb).data(), 3);
  brief.outcome = initiator::Outcome::completed;
  brief.transferred = 3;
  bench.end(brief);
  CHECK(bench.data == std::vector<std::uint8_t>(3, 0xbb));

  // A residual beyond the transfer leaves nothing.
  bench.runner.start(cdb, 8, 0);
  initiator::ScsiCommand& lying = bench.take();
  lying.outcome = initiator::Outcome::completed;
  lying.transferred = 8;
  lying.residual_underflow = 0xffffffff;
  bench.end(lying);
  CHECK(bench.data.empty());
}

TEST_CASE("command runner: a command that failed hands on no data") {
  Runner bench;
  bench.runner.start(scsi::read_capacity_10(), 8, 0);
  initiator::ScsiCommand& command = bench.take();
  good(command, std::vector<std::uint8_t>(8, 0xaa));
  check_condition(command, scsi::SenseKey::medium_error, scsi::asc::kUnrecoveredReadError);
  command.residual_underflow = 0;
  bench.end(command);
  CHECK(bench.action == Action::error);
  CHECK(bench.data.empty());
}

TEST_CASE("command runner: waiting, the deadline, and cutting short") {
  Runner bench;
  CHECK(!bench.runner.running());
  bench.runner.on_deadline(1000);
  CHECK(bench.transport.queued.empty());
  bench.runner.start(scsi::test_unit_ready(), 0, 0);
  CHECK(bench.runner.lent());
  initiator::ScsiCommand& command = bench.take();
  status(command, scsi::Status::busy);
  bench.end(command);
  CHECK(bench.notes == 1);
  CHECK(bench.over == 0);
  CHECK(bench.runner.running());
  CHECK(!bench.runner.lent());
  const Micros at = bench.runner.next_deadline();
  CHECK(at == 100 + nbdgw::device::kFirstWait);
  bench.runner.on_deadline(at - 1);
  CHECK(bench.transport.queued.empty());
  bench.runner.on_deadline(at);
  status(bench.take(), scsi::Status::busy);
  bench.runner.on_deadline(at);  // while the command is out
  CHECK(bench.transport.queued.empty());
  bench.end(command);

  CHECK(bench.runner.cut_short());
  CHECK(!bench.runner.running());
  CHECK(bench.runner.next_deadline() == kNever);
  CHECK(bench.over == 0);

  bench.runner.start(scsi::test_unit_ready(), 0, 0);
  CHECK(!bench.runner.cut_short());
  good(bench.take(), {});
  bench.end(command);
  CHECK(bench.over == 1);
  CHECK(bench.action == Action::hold);
  // The next command is not cut short by that.
  bench.runner.start(scsi::test_unit_ready(), 0, 0);
  good(bench.take(), {});
  bench.end(command);
  CHECK(bench.action == Action::done);
}
