#pragma once

#include <sys/uio.h>

#include <array>
#include <boost/intrusive/list.hpp>
#include <boost/intrusive/set.hpp>
#include <cstdint>
#include <span>

#include "gateway/bridge/cache_ledger.hpp"
#include "gateway/bridge/fence.hpp"
#include "gateway/bridge/limits.hpp"
#include "gateway/bridge/shares.hpp"
#include "gateway/device/disposition.hpp"
#include "gateway/initiator/scsi_command.hpp"
#include "gateway/nbd/backend.hpp"

namespace nbdgw::bridge {

class Export;
struct IoRequest;
struct Segment;

/// A link that takes itself out of whatever list it is in.
using UnlinkHook = boost::intrusive::list_member_hook<boost::intrusive::link_mode<boost::intrusive::auto_unlink>>;

/// A SCSI command of ours, sent as often as it takes.
struct DiskCommand : initiator::ScsiCommand {
  /// Where the command is.
  enum class Place : std::uint8_t {
    none,     // nothing is to be sent
    ready,    // in the export's queue: waits for the path or for room in the queue depth
    delayed,  // to be sent again at `due`
    lent,     // with the session
  };
  enum class Role : std::uint8_t { segment, flush };

  Place place = Place::none;
  Role role = Role::segment;
  device::Attempts attempts;
  CacheLedger::Known known;  // when it was last sent
  std::uint64_t doubts = 0;  // the same: how often another disk may have come in the LUN's place
  proto::Micros due = 0;
  proto::Micros lost_at = proto::kNever;  // when the session was lost under it for the first time
  bool alone = false;                     // it may be what costs the session: nothing goes along with it
  bool aside = false;                     // lent, and held by the session for want of a proof (CommandQueue)
  boost::intrusive::list_member_hook<> ready_hook;
  boost::intrusive::set_member_hook<> delay_hook;

  /// It becomes another command: what was tried for the one before does not count for it.
  void begin_anew() noexcept {
    attempts = {};
    lost_at = proto::kNever;
    alone = false;
    climbs = 0;
  }
};

/// What a segment's command does. A segment may need several, one after the other.
enum class Operation : std::uint8_t {
  none,
  read,
  head_read,  // unaligned WRITE: the bytes of the first block that the client did not send
  tail_read,  // the same of the last block
  write,
  edge_read,  // unaligned WRITE_ZEROES: the whole block that is to be zeroed in part
  edge_write,
  write_same,
  write_same_unmap,
  write_zeroes,  // data from the zero page
  unmap,
};

/// A place in the fence: of a part of a WRITE, or of a whole TRIM or WRITE_ZEROES.
struct FencedRange : Fence::Entry {
  IoRequest* request = nullptr;
  Segment* segment = nullptr;  // null: the whole request

  static FencedRange& from(Fence::Entry& entry) noexcept { return static_cast<FencedRange&>(entry); }
};

/// A contiguous part of a request, carried by one SCSI command at a time. Of a READ or WRITE: at most kMaxPart bytes,
/// with their memory. Of a TRIM or WRITE_ZEROES: a slot that takes one slice of the range after the other.
///
/// Memory of an unaligned WRITE. The payload is received at its place inside the blocks that will be written, so it
/// is never moved. The missing bytes at both ends are read straight into their places, and the rest of the block that
/// has to be read with them falls into `discard`:
///
///     blocks:  |  head bytes | payload ..................... | tail bytes |
///     head_read: head bytes + discard         tail_read: discard + tail bytes
///
/// `discard` belongs to the segment alone: a data digest covers these bytes too, so nobody else may write there.
struct Segment : nbd::Segment, DiskCommand {
  /// How far it is; where its command is meanwhile says DiskCommand::place.
  enum class Phase : std::uint8_t {
    spare,    // TRIM, WRITE_ZEROES: no slice
    filling,  // WRITE: the payload is on its way
    fenced,   // WRITE: its payload is complete, it waits for the fence
    active,   // READ, and all others: its commands run, or wait to run; `operation` says what the present one does
    done,
  };

  IoRequest* request = nullptr;
  Segment* sibling = nullptr;  // the request's next segment, in the order of offsets
  Segment* next_free = nullptr;
  Phase phase = Phase::spare;
  Operation operation = Operation::none;  // of its command, in Phase::active

  // The blocks it covers, how many of them are done, and how many the command in flight carries.
  std::uint64_t lba = 0;
  std::uint64_t blocks = 0;
  std::uint64_t blocks_done = 0;
  std::uint64_t command_blocks = 0;

  // Memory: the blocks' (as the pool gave it), the payload's place in it or a command's part of it, and `discard`.
  Source source = Source::nowhere;
  std::uint32_t memory_bytes = 0;  // of `memory`
  std::uint32_t cost = 0;          // bytes of the pool's blocks that it holds
  std::uint8_t memory_count = 0;
  std::uint8_t discard_count = 0;
  std::array<iovec, kPartBlocks> memory;
  std::array<iovec, kPartBlocks> view;
  std::array<iovec, kEdgeBlocks> discard;
  std::array<std::uint8_t, 24> unmap_parameters;  // parameter list with one descriptor (SBC-4 5.35.2)

  FencedRange fence;     // WRITE: from the time when its payload is complete to the end of its commands
  UnlinkHook done_hook;  // READ: in the list of what deliver() hands on

  std::span<const iovec> memory_list() const noexcept { return std::span(memory).first(memory_count); }
  std::span<const iovec> discard_list() const noexcept { return std::span(discard).first(discard_count); }
};

/// One NBD request from admit() until it is free again.
struct IoRequest : nbd::Request {
  /// How far it is; Segment::phase says the same of its parts.
  enum class Phase : std::uint8_t {
    free,
    admitted,  // not begun: start() or the first part of a WRITE's payload is still to come
    fenced,    // TRIM, WRITE_ZEROES: waits for an earlier write that it overlaps
    running,   // its commands run, or wait to run
    flushing,  // FLUSH, or FUA without a FUA bit: waits for a SYNCHRONIZE CACHE
    finished,  // waits for deliver()
    answered,  // the protocol engine knows, and will release or abandon it
  };

  Phase phase = Phase::free;
  Export* owner = nullptr;
  nbd::Stake* stake = nullptr;  // of its connection; null: that has gone, or has its answer
  Source source = Source::nowhere;
  bool abandoned = false;
  bool early = false;    // is answered, with its error, although the session holds commands of it
  bool fua = false;      // to be on stable storage before the reply
  bool fua_bit = false;  // WRITE: the commands carry the FUA bit, so no flush is needed
  const char* text = nullptr;
  proto::nbd::Error error = proto::nbd::Error::none;
  /// Reports known when the first of its commands was sent that has put data into the LUN's volatile cache.
  std::uint64_t cached_at = CacheLedger::kNothingCached;
  std::uint64_t acknowledged_before = 0;  // FLUSH: writes that it stands for (CacheLedger::acknowledged)
  LossTold telling = LossTold::no;        // FLUSH: why it fails

  Segment* first_segment = nullptr;
  Segment* last_segment = nullptr;
  bool filling = false;      // WRITE: the last segment is in Phase::filling
  std::uint32_t active = 0;  // segments in Phase::active
  std::uint32_t fenced = 0;  // WRITE: those in Phase::fenced

  // READ, WRITE: what no segment was made for yet. TRIM, WRITE_ZEROES: what is still to be cut into slices. In bytes.
  std::uint64_t cursor = 0;
  std::uint64_t range_end = 0;

  FencedRange fence;  // TRIM, WRITE_ZEROES
  IoRequest* next_free = nullptr;
  UnlinkHook hook;  // flushing, finished: the list it is in
};

using ReadyQueue = boost::intrusive::list<
    DiskCommand,
    boost::intrusive::member_hook<DiskCommand, boost::intrusive::list_member_hook<>, &DiskCommand::ready_hook>>;
using DoneSegments =
    boost::intrusive::list<Segment, boost::intrusive::member_hook<Segment, UnlinkHook, &Segment::done_hook>,
                           boost::intrusive::constant_time_size<false>>;
using RequestList =
    boost::intrusive::list<IoRequest, boost::intrusive::member_hook<IoRequest, UnlinkHook, &IoRequest::hook>,
                           boost::intrusive::constant_time_size<false>>;

struct ByDue {
  using type = proto::Micros;
  type operator()(const DiskCommand& command) const noexcept { return command.due; }
};
using DelayQueue = boost::intrusive::multiset<
    DiskCommand,
    boost::intrusive::member_hook<DiskCommand, boost::intrusive::set_member_hook<>, &DiskCommand::delay_hook>,
    boost::intrusive::key_of_value<ByDue>>;

}  // namespace nbdgw::bridge
