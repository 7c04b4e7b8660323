#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "gateway/bridge/abilities.hpp"
#include "gateway/bridge/cache_event.hpp"
#include "gateway/bridge/cache_ledger.hpp"
#include "gateway/bridge/counters.hpp"
#include "gateway/bridge/fence.hpp"
#include "gateway/bridge/flush_group.hpp"
#include "gateway/bridge/limits.hpp"
#include "gateway/bridge/request.hpp"
#include "gateway/bridge/slab.hpp"
#include "gateway/bridge/split.hpp"
#include "gateway/bridge/task_queue.hpp"
#include "gateway/device/disposition.hpp"
#include "gateway/device/logical_unit.hpp"
#include "gateway/initiator/scsi_command.hpp"
#include "gateway/nbd/backend.hpp"
#include "proto/bytes/buffer_pool.hpp"

namespace nbdgw::bridge {

struct ExportConfig {
  std::string name{};
  std::string description{};
  bool read_only = false;                     // whatever the LUN says
  std::uint64_t lun = 0;                      // the 8 bytes of SAM-5 4.7
  std::uint32_t queue_depth = kQueueDepth;    // tasks with the session at once, > 0
  std::size_t requests = kRequestsPerExport;  // > 0
  std::size_t segments = kSegmentsPerExport;  // at least segments_for(max_payload)
  std::uint32_t max_payload = kMaxPayload;    // bytes of one READ or WRITE; the pool holds memory_for() them
  proto::Micros hold_timeout = kHoldTimeout;  // proto::kNever: requests never fail for want of a path
  std::uint8_t retries = device::kDefaultRetries;
  /// 29/00 and 29/02 without an explanation mean that the cache may be lost; else they mean nothing.
  bool power_on_fails_flush = true;
};

/// Where outcomes go, so that this layer need not know the protocol engine: in production ConnectionReplies.
class Replies {
 public:
  virtual void segment_done(nbd::Request& request, nbd::Segment& segment) = 0;
  virtual void finish(nbd::Request& request, proto::nbd::Error error, const char* text) = 0;

 protected:
  ~Replies() = default;
};

enum class ExportState : std::uint8_t {
  offline,  // no session, or the probe failed and will be repeated: requests are held
  probing,  // the LUN is being looked at, after each login and after some unit attentions: requests are held
  online,
  refused,  // the LUN is there but must not be used: another disk, or one that shrank. Requests fail.
};

const char* to_string(ExportState state) noexcept;

/// For the shell, the logs and the admin API.
struct ExportStatus {
  ExportState state = ExportState::offline;
  std::string reason;  // offline, refused: why, for people
  bool known = false;  // has been online once: info() is valid
};

/// What an export that goes knows of its LUN's volatile cache, for the one that comes in its place: writes that were
/// acknowledged and not flushed stay so, whoever serves the LUN.
struct CacheLegacy {
  CacheLedger cache;
  proto::Micros seen_at = 0;  // when there was still a path to the LUN
};

/// One export: a LUN, as the NBD protocol engine sees it. Turns NBD requests into SCSI tasks and their ends into
/// replies.
///
/// What the shell does: on_session_up() and on_session_down() as the session comes and goes, on_deadline() at
/// next_deadline(), and after each turn, whatever was called, deliver(). Outcomes collect in lists until then, so the
/// protocol engine is never called from inside one of its own calls. When room() has changed, connections that
/// stalled are worth an on_room().
///
/// A session that is lost hands back every task it holds, sent or not, before it tells of the next login: nothing may
/// reach the new session before the LUN there was probed, for it might be another disk.
///
/// The life of a request: admitted, then (WRITE, TRIM, WRITE_ZEROES) through the fence, running, flushing where FUA
/// needs a SYNCHRONIZE CACHE, finished, answered, free. Its tasks wait in a queue for the path and for queue depth.
///
/// Why nothing can wait for itself: a request has all it needs (request, segments, memory for all of its payload and
/// for the blocks around it) before admit() returns it, so an admitted request never waits for memory. It waits for
/// the fence, where everybody waits only for earlier ones; for its own client's payload, which has its memory and so
/// can always be received, or else the client goes away and the request is abandoned; for queue depth, which running
/// tasks give back; and for the session, at most until the hold timeout. None of these waits for a request that was
/// not admitted.
class Export final : public nbd::Backend, private initiator::CommandSink, private device::LogicalUnitObserver {
 public:
  /// `pool` is shared by the exports of a shard. Both must outlive the export; it must be idle() when it goes, or the
  /// transport, the pool and the connections go without calling it again.
  Export(ExportConfig config, proto::BufferPool& pool, initiator::CommandTransport& transport);
  Export(const Export&) = delete;
  Export& operator=(const Export&) = delete;
  ~Export();

  // nbd::Backend
  const nbd::ExportInfo& info() const noexcept override { return info_; }
  std::uint64_t memory_free() const noexcept override { return pool_.capacity() - pool_.used(); }
  nbd::Request* admit(const nbd::RequestHeader& header, nbd::Connection& connection, proto::Micros now) override;
  nbd::Segment* next_write_segment(nbd::Request& request) override;
  void segment_received(nbd::Request& request, nbd::Segment& segment, proto::Micros now) override;
  void start(nbd::Request& request, proto::Micros now) override;
  void release(nbd::Request& request, nbd::Segment& segment) override;
  void release(nbd::Request& request) override;
  void abandon(nbd::Request& request) override;

  // For the shell.
  /// `outage`: how long the target may have been away (initiator::SessionEvent::outage).
  void on_session_up(proto::Micros outage, proto::Micros now);
  void on_session_down(const std::string& reason, proto::Micros now);
  /// The ladder has reset the LUN, or the whole target. The LUN is probed again: its mode parameters may be others
  /// now, and the unit attentions of the reset are met by the probe.
  void on_unit_reset(proto::Micros now);
  /// What has happened to the LUN's cache; for the log.
  bool next_event(CacheEvent& event);
  proto::Micros next_deadline() const noexcept;
  void on_deadline(proto::Micros now);
  /// Hands on what has come about, and sends what abandoned requests have made way for.
  void deliver(Replies& replies, proto::Micros now);

  /// Takes over what may change while there are clients: description, queue_depth, hold_timeout, retries and
  /// power_on_fails_flush. What is under way goes on by the new values.
  void retune(const ExportConfig& config, proto::Micros now);

  CacheLegacy cache_legacy(proto::Micros now) const noexcept;
  /// Before the first session: this export stands in the place of another one of the same LUN.
  void inherit(const CacheLegacy& legacy) noexcept;

  /// Shutdown: requests admitted from now on fail with ESHUTDOWN; those in flight go on.
  void drain() noexcept { draining_ = true; }
  /// Nothing is held and nothing runs.
  bool idle() const noexcept { return requests_.used() == 0 && queue_.idle() && !unit_.command_lent(); }

  ExportStatus status() const;
  ExportState state() const noexcept { return state_; }
  /// Has been online once: info() is valid.
  bool known() const noexcept { return known_; }
  const device::LogicalUnit& unit() const noexcept { return unit_; }
  const ExportCounters& counters() const noexcept { return counters_; }
  /// Grows whenever requests, segments or memory came back.
  std::uint64_t room() const noexcept { return room_; }
  std::size_t in_flight() const noexcept { return requests_.used(); }
  const TaskQueue& queue() const noexcept { return queue_; }
  /// Acknowledged writes, and those of them that may be lost, see CacheLedger.
  const CacheLedger& cache() const noexcept { return cache_; }
  /// Since when requests wait for the path; proto::kNever: there is one, or there has never been one.
  proto::Micros held_since() const noexcept { return held_since_; }

 private:
  // Admission (export_admission.cpp).
  bool reserve_parts(IoRequest& request);
  bool reserve_slots(IoRequest& request);
  Segment* add_segment(IoRequest& request, std::uint64_t bytes_of_memory);
  void free_memory(Segment& segment) noexcept;
  void free_segments(IoRequest& request) noexcept;
  void free_request(IoRequest& request) noexcept;

  // The way of a request (export.cpp).
  bool begins_fenced(IoRequest& request, BlockRange range);
  void run(IoRequest& request);
  void launch(Segment& segment, Step step);
  void settle(Segment& segment, bool good);
  void conclude(IoRequest& request);
  void fail(IoRequest& request, proto::nbd::Error error, const char* text);
  void finish(IoRequest& request);

  // READ and WRITE (export_parts.cpp); TRIM and WRITE_ZEROES (export_range.cpp).
  Step first_write_step(const Segment& segment) const noexcept;
  void segment_good(Segment& segment);
  void feed(IoRequest& request);
  bool cut_slice(IoRequest& request, Segment& segment);
  BlockRange trim_range(std::uint64_t offset, std::uint64_t length) const noexcept;
  bool cut_unmap_slice(IoRequest& request, Segment& segment);
  bool cut_zero_slice(IoRequest& request, Segment& segment);
  Step zero_step(const IoRequest& request) const noexcept;
  bool falls_back(Segment& segment);
  void revise_step(Segment& segment) const noexcept;

  // Tasks (export_tasks.cpp).
  void pump(proto::Micros now);
  void send(Task& task, proto::Micros now);
  void on_command_done(initiator::ScsiCommand& command, proto::Micros now) override;
  void keep_moved(Segment& segment, std::uint32_t bytes) noexcept;
  void task_over(Task& task, const device::Disposition& disposition);
  void task_failed(Task& task, proto::nbd::Error error, const char* text);
  void drop_unsent(IoRequest& request) noexcept;
  void fail_held();

  // FLUSH (export_flush.cpp).
  void join_flush(IoRequest& request);
  void leave_flush(IoRequest& request);
  void queue_flush();
  void flush_over(proto::nbd::Error error, const char* text);
  bool flush_falls_back();
  void finish_without_cache(IoRequest& request);
  void fail_for_lost_cache(IoRequest& request);
  void note_cached(const Segment& segment) noexcept;
  void conclude_cached_write(IoRequest& request);
  void cache_may_be_lost(const CacheLedger::Known& when_sent, std::string cause);
  void tell(CacheEvent::Kind kind, std::uint64_t writes, std::uint32_t requests);

  // The path and the LUN (export_life.cpp).
  void on_probe_done(device::LogicalUnit& unit, proto::Micros now) override;
  void on_unit_notes(device::LogicalUnit& unit, const device::Notes& notes, proto::Micros now) override;
  void count_notes(const device::Notes& notes) noexcept;
  /// "Power on or reset" is ambiguous: after a reset or login of our own it follows from that, unless the target may
  /// have lost its power before.
  bool power_on_explained() const noexcept { return attentions_expected_ && !power_cycle_possible_; }
  bool means_lost_cache(const device::Notes& notes) const noexcept;
  void look_again(const device::Notes& notes, proto::Micros now);
  void accept_facts(const device::Facts& facts, proto::Micros now);
  void enter(ExportState state, std::string reason, proto::Micros now);
  void refresh_abilities() noexcept;
  proto::Micros hold_expiry() const noexcept;
  bool fails_now() const noexcept { return state_ == ExportState::refused || hold_expired_; }

  ExportConfig config_;
  proto::BufferPool& pool_;
  initiator::CommandTransport& transport_;
  nbd::ExportInfo info_;
  Abilities can_;
  Refusals refused_;
  ExportCounters counters_;

  // The pools come before the lists: what is linked must outlive what links it.
  Slab<IoRequest> requests_;
  Slab<Segment> segments_;
  Fence fence_;
  FlushGroup flush_;
  CacheLedger cache_;
  CacheLedger::Known known_when_online_;  // the unit's own commands are sent later than that
  std::vector<CacheEvent> events_;
  std::string cache_report_;  // the last report that the cache may be lost, in words
  TaskQueue queue_;
  DoneSegments done_segments_;
  RequestList finished_;
  std::uint64_t room_ = 0;
  bool draining_ = false;

  device::LogicalUnit unit_;
  ExportState state_ = ExportState::offline;
  std::string reason_ = "not connected yet";
  bool known_ = false;  // has been online: info_ and can_ hold
  bool session_up_ = false;
  bool attentions_expected_ = false;   // a reset or login of our own has raised unit attentions, not met yet
  bool power_cycle_possible_ = false;  // the target was away for long enough, and the LUN has not answered since
  bool hold_expired_ = false;
  proto::Micros held_since_ = proto::kNever;  // since when there is no path, if there was one before
  proto::Micros recheck_at_ = proto::kNever;
  proto::Micros inherited_from_ = proto::kNever;  // CacheLegacy::seen_at, until the first session is there
};

}  // namespace nbdgw::bridge
