#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "gateway/initiator/scsi_command.hpp"
#include "proto/nbd/constants.hpp"
#include "proto/scsi/sense.hpp"
#include "proto/time.hpp"

namespace nbdgw::bridge {

/// A SCSI command that has failed for good.
struct FailedCommand {
  std::uint8_t opcode = 0;  // byte 0 of the CDB
  initiator::Outcome outcome = initiator::Outcome::pending;
  std::uint8_t status = 0;                  // SAM-5 status, with Outcome::completed
  std::optional<proto::scsi::Sense> sense;  // of CHECK CONDITION, if it can be read
  std::uint64_t lba = 0;
  std::uint32_t blocks = 0;  // from `lba` on; 0: it is about no blocks
  std::uint32_t tries = 0;   // how often it was sent
};

/// A request that a client was told an error for, and how many more were like it.
struct RequestFailure {
  std::uint64_t lun = 0;  // the 8 bytes of SAM-5 4.7
  proto::nbd::Command request{};
  std::uint64_t offset = 0;  // bytes, on the export
  std::uint32_t length = 0;  // bytes
  std::uint64_t lba = 0;     // the first block of what failed: of the command, or else of the request
  proto::nbd::Error error{};
  const char* text = nullptr;            // why, as the client was told; static
  std::optional<FailedCommand> command;  // none: the request has failed without one

  // All the rest is of the latest of them.
  std::uint64_t count = 1;  // of this kind, since the last time that one was told
  proto::Micros over = 0;   // the time in which these came; 0: it is the first one, told at once
  /// More kinds than are kept apart: `count` is of several.
  bool mixed = false;
};

/// What has become of the command in words: "CHECK CONDITION: MEDIUM ERROR, unrecovered read error (3/11/00)", or the
/// text that the client was told.
std::string explain(const RequestFailure& failure);

/// The failures of an export, folded: the first one of a kind is told at once, those that follow are counted and told
/// every kInterval with the latest of them. A kind is the request's command, its error, and what has become of the
/// SCSI command. One of which nothing has come for kInterval is forgotten, so that the next one is a first one again.
///
/// Nothing is allocated before the first failure, and nothing for the ones after that.
class Failures {
 public:
  static constexpr proto::Micros kInterval = 10 * proto::kSecond;
  /// Kinds that are kept apart: five commands with three causes each. What is beyond goes into one more.
  static constexpr std::size_t kKinds = 15;

  void note(const RequestFailure& failure);

  bool has_events() const noexcept { return ready_ > 0; }
  /// The next one that is to be told now.
  bool next(RequestFailure& failure, proto::Micros now) noexcept;
  proto::Micros next_deadline() const noexcept { return due_; }
  void on_deadline(proto::Micros now) noexcept;
  /// What was counted so far is to be told now: there will be no later.
  void tell_all(proto::Micros now) noexcept;

 private:
  struct Kind {
    RequestFailure latest;
    std::uint64_t untold = 0;
    proto::Micros told_at = proto::kNever;  // kNever: not yet
    proto::Micros over = 0;
    bool ready = false;
  };

  void make_ready(Kind& kind, proto::Micros now) noexcept;

  std::vector<Kind> kinds_;
  std::size_t ready_ = 0;
  proto::Micros due_ = proto::kNever;
};

}  // namespace nbdgw::bridge
