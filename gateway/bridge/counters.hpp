#pragma once

#include <cstdint>

#include "proto/histogram.hpp"
#include "proto/nbd/constants.hpp"

namespace nbdgw::bridge {

/// How long requests took, by command: from the header's arrival to the reply being ready, waits included.
struct RequestDurations {
  proto::DurationHistogram read;
  proto::DurationHistogram write;
  proto::DurationHistogram flush;
  proto::DurationHistogram trim;
  proto::DurationHistogram write_zeroes;

  /// Null for commands that exports do not serve.
  proto::DurationHistogram* of(proto::nbd::Command command) noexcept {
    using proto::nbd::Command;
    switch (command) {
      case Command::read:
        return &read;
      case Command::write:
        return &write;
      case Command::flush:
        return &flush;
      case Command::trim:
        return &trim;
      case Command::write_zeroes:
        return &write_zeroes;
      default:
        return nullptr;
    }
  }
};

/// What an export has done since it was made; for the metrics. Only ever grows.
struct ExportCounters {
  // Requests by command, counted when they are admitted.
  std::uint64_t reads = 0;
  std::uint64_t writes = 0;
  std::uint64_t flushes = 0;
  std::uint64_t trims = 0;
  std::uint64_t write_zeroes = 0;
  std::uint64_t bytes_read = 0;     // of READs answered without an error
  std::uint64_t bytes_written = 0;  // of WRITEs answered without an error

  std::uint64_t no_room = 0;             // admit() had nothing to give
  std::uint64_t fenced = 0;              // requests that had to wait for one that they overlap
  std::uint64_t read_modify_writes = 0;  // blocks read because a request covered them only in part
  std::uint64_t failed = 0;              // requests that ended with an error
  std::uint64_t abandoned = 0;           // requests whose client went away

  std::uint64_t commands = 0;  // SCSI commands sent, retries included
  std::uint64_t retries_at_once = 0;
  std::uint64_t retries_delayed = 0;
  std::uint64_t held = 0;             // commands that came back without an end and waited for the session
  std::uint64_t short_transfers = 0;  // ended well, but less data moved than asked for
  std::uint64_t queue_full = 0;       // BUSY or TASK SET FULL
  std::uint64_t unit_attentions = 0;
  std::uint64_t looks = 0;               // times that the LUN was asked which disk it is, after a silence
  std::uint64_t identity_doubts = 0;     // times that another disk, or none, may have come in the LUN's place
  std::uint64_t disbelieved = 0;         // commands sent again because that happened while they were under way
  std::uint64_t threshold_reports = 0;   // the thin pool runs low
  std::uint64_t power_on_explained = 0;  // 29/00 and 29/02 after a reset or login of our own
  std::uint64_t cache_loss_reports = 0;  // signs that a volatile cache may be gone
  std::uint64_t flushes_failed_for_lost_cache = 0;  // FLUSHes, and FUA writes without a FUA bit
  std::uint64_t flush_commands = 0;                 // SYNCHRONIZE CACHE commands that came to an end
  std::uint64_t refusals = 0;                       // commands that the LUN does not know, against its probe
  std::uint64_t unit_resets = 0;                    // of the LUN or the target, by our own ladder

  std::uint64_t path_losses = 0;
  std::uint64_t probes = 0;
  std::uint64_t probe_failures = 0;
  std::uint64_t hold_timeouts = 0;  // times the hold window ran out

  RequestDurations durations;  // of requests that were answered, with or without an error
};

}  // namespace nbdgw::bridge
