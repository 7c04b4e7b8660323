// After warm-up an export costs no allocation for each request.
#include <cstdlib>

#include <doctest/doctest.h>

#include "tests/unit/allocations.hpp"
#include "tests/unit/bridge/bench.hpp"
#include "tests/unit/proofs.hpp"

using nbdgw::test::Allocations;

namespace {

using nbdgw::initiator::Outcome;
using nbdgw::initiator::ScsiCommand;
using nbdgw::proto::nbd::Command;
namespace nbd = nbdgw::nbd;

/// Ends every command well without looking at it, and allocates nothing.
struct QuickLun final : nbdgw::initiator::CommandTransport {
  void queuecommand(ScsiCommand& command, nbdgw::proto::Micros) override {
    command.next = nullptr;
    (last == nullptr ? first : last->next) = &command;
    last = &command;
  }
  bool complete_one(std::uint8_t status) {
    if (first == nullptr) return false;
    ScsiCommand& command = *first;
    first = command.next;
    if (first == nullptr) last = nullptr;
    command.outcome = Outcome::completed;
    command.status = status;
    command.proof = nbdgw::initiator::ProofMaker::make(nbdgw::initiator::Proof::Kind::answered);
    command.sink->on_command_done(command, 0);
    return true;
  }
  ScsiCommand* first = nullptr;
  ScsiCommand* last = nullptr;
};

/// Sends requests to the real LUN for the probe, and then to the quick one.
struct Switch final : nbdgw::initiator::CommandTransport {
  explicit Switch(CommandTransport& first) : to(&first) {}
  void queuecommand(ScsiCommand& command, nbdgw::proto::Micros now) override { to->queuecommand(command, now); }
  CommandTransport* to;
};

struct CountReplies final : nbdgw::bridge::Replies {
  explicit CountReplies(nbdgw::bridge::Export& to) : target(to) {}
  void segment_done(nbd::Request& request, nbd::Segment& segment) override { target.release(request, segment); }
  void finish(nbd::Request& request, nbdgw::proto::nbd::Error, const char*) override {
    ++finished;
    target.release(request);
  }
  nbdgw::bridge::Export& target;
  std::uint64_t finished = 0;
};

}  // namespace

TEST_CASE("export: no allocation for each request once it is warm") {
  std::vector<std::byte> arena(32 * 1024 * 1024);
  nbdgw::proto::BufferPool pool(arena);
  nbdgw::bridge::Shares shares(pool, 0, nbdgw::bridge::memory_for(4 * 1024 * 1024));
  nbdgw::nbd::Stake stake;
  FakeLun lun({.blocks = 65536, .dpofua = false});
  QuickLun quick;
  Switch transport(lun);
  nbdgw::bridge::Export target({.name = "vol0", .max_payload = 4 * 1024 * 1024, .silence = nbdgw::proto::kNever},
                               shares, transport);
  CountReplies replies(target);
  target.on_session_up(0, 0);
  while (!lun.waiting.empty()) lun.complete(0, 0);
  REQUIRE(target.status().state == nbdgw::bridge::ExportState::online);
  transport.to = &quick;

  BenchClient attached(target, nbd::LossStanding::newcomer, 0);
  nbd::Connection& client = attached.connection;
  const auto round = [&] {
    std::uint64_t asked = 0;
    const auto one = [&](Command command, std::uint64_t offset, std::uint32_t length, std::uint16_t flags) {
      nbd::Request* const request = target.admit({0, command, flags, offset, length}, client, stake, 0);
      if (request == nullptr) std::abort();
      ++asked;
      if (command != Command::write) return target.start(*request, 0);
      for (std::uint32_t done = 0; done < length;) {
        nbd::Segment* const segment = target.next_write_segment(*request);
        done += segment->length;
        target.segment_received(*request, *segment, 0);
      }
    };
    const std::uint64_t before = replies.finished;
    for (std::uint64_t i = 0; i < 32; ++i) {
      one(Command::read, i * 4096, 4096, 0);
      one(Command::write, i * 4096, 4096, 0);
      one(Command::write, i * 4096 + 100, 3000,
          nbdgw::proto::nbd::kCmdFlagFua);  // waits in the fence, then for the cache
    }
    one(Command::read, 0, 4 * 1024 * 1024, 0);
    one(Command::write, 1, 4 * 1024 * 1024, 0);
    one(Command::flush, 0, 0, 0);
    one(Command::trim, 0, 1 << 20, 0);
    one(Command::write_zeroes, 77, 1 << 20, 0);
    int nth = 0;
    do {
      target.deliver(replies, 0);
      if (target.next_deadline() != nbdgw::proto::kNever && quick.first == nullptr) {
        target.on_deadline(target.next_deadline());
      }
    } while (quick.complete_one(++nth % 17 == 0 ? 0x08 : 0x00) || target.in_flight() > 0);
    return replies.finished - before == asked;
  };
  REQUIRE(round());
  const std::uint64_t before = Allocations::total;
  bool all_answered = true;
  for (int i = 0; i < 20; ++i) all_answered = round() && all_answered;
  CHECK(Allocations::total == before);
  CHECK(all_answered);
  CHECK(target.counters().fenced > 0);
  CHECK(target.counters().retries_delayed > 0);
  CHECK(target.idle());
  CHECK(pool.used() == 0);
}
