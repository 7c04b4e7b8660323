#pragma once

#include <string>
#include <utility>

#include "tests/unit/initiator/ladder.hpp"

namespace nbdgw::test {

inline constexpr std::uint64_t kLun3 = 0x0003000000000000ULL;

/// A LadderPeer whose session is lost with writes under way.
struct Losing : LadderPeer {
  explicit Losing(initiator::SessionSettings settings = ladder_settings()) : LadderPeer(std::move(settings)) {}

  /// With immediate data: all of it is sent.
  Job& sent_write(std::uint64_t lun = kLun1, bool acknowledged = true) {
    Job& job = queue(initiator::Direction::write, 1000, lun);
    const auto before = exp_cmd_sn;
    take_command(job);
    if (acknowledged) {
      acknowledge();
    } else {
      exp_cmd_sn = before;
    }
    return job;
  }
  /// The rest was not asked for.
  Job& half_sent_write(std::uint64_t lun = kLun1) {
    Job& job = queue(initiator::Direction::write, 60'000, lun);
    take_command(job);
    acknowledge();
    while (!idle(0)) take(0, proto::iscsi::Opcode::data_out);
    return job;
  }
  void lose() {
    disconnect(0);
    pump();
    told();
  }
  /// Lost, and there again, in this group.
  void relogin_to(const std::string& group) {
    keys.portal_group = group;
    advance(proto::kSecond);
    relogin();
  }
};

/// As what is proven after a loss.
inline void check_came_back(const Job& job, initiator::Proof::Kind kind, std::int32_t group) {
  REQUIRE(job.finished == 1);
  CHECK(job.outcome == initiator::Outcome::transport_disrupted);
  CHECK(job.held_since == initiator::ScsiCommand::kNotHeld);
  REQUIRE(job.proof.has_value());
  CHECK(job.proof->kind() == kind);
  CHECK(job.proof->group() == group);
}

}  // namespace nbdgw::test
