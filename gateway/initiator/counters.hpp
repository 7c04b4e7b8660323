#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "gateway/initiator/recovery_event.hpp"
#include "proto/histogram.hpp"
#include "proto/iscsi/constants.hpp"
#include "proto/scsi/constants.hpp"

/// What sessions and connections have done since they were made; for the metrics. Plain numbers that only grow, also
/// over reconnects and new logins.
namespace nbdgw::initiator {

/// Counts by a number that a peer or a protocol gives, of which only some are worth a place of their own: those of
/// `known`, in that order, and one place for all others.
template <typename Number, std::size_t kCount>
class NumberTable {
 public:
  static constexpr std::size_t kOther = kCount;
  static constexpr std::size_t kPlaces = kCount + 1;

  constexpr explicit NumberTable(const std::array<Number, kCount>& known) noexcept : known_(known) {
    place_.fill(static_cast<std::uint8_t>(kOther));
    for (std::size_t i = 0; i < kCount; ++i) {
      place_[static_cast<std::uint8_t>(known[i])] = static_cast<std::uint8_t>(i);
    }
  }

  constexpr std::size_t place_of(std::uint8_t number) const noexcept { return place_[number]; }
  constexpr const std::array<Number, kCount>& known() const noexcept { return known_; }

 private:
  std::array<Number, kCount> known_;
  std::array<std::uint8_t, 256> place_{};
};

/// PDUs that a session sends in its life.
inline constexpr NumberTable kSentPdus{std::array{
    proto::iscsi::Opcode::nop_out, proto::iscsi::Opcode::scsi_command, proto::iscsi::Opcode::task_management_request,
    proto::iscsi::Opcode::login_request, proto::iscsi::Opcode::data_out, proto::iscsi::Opcode::logout_request}};

/// PDUs that a target may send.
inline constexpr NumberTable kReceivedPdus{std::array{
    proto::iscsi::Opcode::nop_in, proto::iscsi::Opcode::scsi_response, proto::iscsi::Opcode::task_management_response,
    proto::iscsi::Opcode::login_response, proto::iscsi::Opcode::text_response, proto::iscsi::Opcode::data_in,
    proto::iscsi::Opcode::logout_response, proto::iscsi::Opcode::r2t, proto::iscsi::Opcode::async_message,
    proto::iscsi::Opcode::reject}};

/// SCSI commands that the gateway sends.
inline constexpr NumberTable kSentCommands{std::array{
    proto::scsi::Opcode::test_unit_ready, proto::scsi::Opcode::inquiry, proto::scsi::Opcode::mode_sense_6,
    proto::scsi::Opcode::mode_sense_10, proto::scsi::Opcode::read_capacity_10, proto::scsi::Opcode::read_10,
    proto::scsi::Opcode::write_10, proto::scsi::Opcode::write_same_10, proto::scsi::Opcode::synchronize_cache_10,
    proto::scsi::Opcode::unmap, proto::scsi::Opcode::read_16, proto::scsi::Opcode::write_16,
    proto::scsi::Opcode::synchronize_cache_16, proto::scsi::Opcode::write_same_16,
    proto::scsi::Opcode::service_action_in_16, proto::scsi::Opcode::report_luns}};

inline constexpr NumberTable kStatuses{std::array{
    proto::scsi::Status::good, proto::scsi::Status::check_condition, proto::scsi::Status::condition_met,
    proto::scsi::Status::busy, proto::scsi::Status::reservation_conflict, proto::scsi::Status::task_set_full,
    proto::scsi::Status::aca_active, proto::scsi::Status::task_aborted}};

struct ConnectionCounters {
  std::uint64_t pdus_sent = 0;
  std::uint64_t pdus_received = 0;
  std::uint64_t bytes_sent = 0;
  std::uint64_t bytes_received = 0;
  std::array<std::uint64_t, kSentPdus.kPlaces> sent_by_opcode{};          // by kSentPdus
  std::array<std::uint64_t, kReceivedPdus.kPlaces> received_by_opcode{};  // by kReceivedPdus

  void sent(proto::iscsi::Opcode opcode) noexcept {
    ++pdus_sent;
    ++sent_by_opcode[kSentPdus.place_of(static_cast<std::uint8_t>(opcode))];
  }
  void received(proto::iscsi::Opcode opcode) noexcept {
    ++pdus_received;
    ++received_by_opcode[kReceivedPdus.place_of(static_cast<std::uint8_t>(opcode))];
  }
};

struct SessionCounters {
  std::uint64_t logins = 0;
  std::uint64_t login_failures = 0;
  std::uint64_t losses = 0;
  std::uint64_t commands = 0;
  std::uint64_t window_closed = 0;  // times that dispatch stopped at a closed command window
  std::uint64_t digest_errors = 0;
  std::uint64_t rejects = 0;
  std::uint64_t async_messages = 0;
  std::uint64_t pings = 0;
  std::uint64_t ping_timeouts = 0;       // each of which cost the session
  std::uint64_t late_answers = 0;        // to tasks that the ladder had ended, or to a function whose time was up
  std::uint64_t commands_timed_out = 0;  // that became a matter for the ladder

  std::array<std::uint64_t, kSentCommands.kPlaces> commands_by_opcode{};  // by kSentCommands
  std::array<std::uint64_t, kStatuses.kPlaces> statuses{};                // by kStatuses, of commands that completed
  /// Of CHECK CONDITION, by sense key; the last one: sense that cannot be read.
  static constexpr std::size_t kSenseKeys = 16;
  std::array<std::uint64_t, kSenseKeys + 1> sense_keys{};
  /// From the command being given to a connection to its end, whatever that was.
  proto::DurationHistogram command_durations;

  /// What the ladder did, by Rung and RungOutcome, as told by RecoveryEvents.
  std::array<std::array<std::uint64_t, kRungOutcomeCount>, kRungCount> rungs{};
  std::array<proto::DurationHistogram, kRungCount> rung_durations{};
};

}  // namespace nbdgw::initiator
