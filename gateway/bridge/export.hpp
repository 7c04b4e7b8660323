#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gateway/bridge/abilities.hpp"
#include "gateway/bridge/cache_event.hpp"
#include "gateway/bridge/command_queue.hpp"
#include "gateway/bridge/counters.hpp"
#include "gateway/bridge/disk.hpp"
#include "gateway/bridge/export_config.hpp"
#include "gateway/bridge/export_state.hpp"
#include "gateway/bridge/failures.hpp"
#include "gateway/bridge/flush_group.hpp"
#include "gateway/bridge/limits.hpp"
#include "gateway/bridge/power_on.hpp"
#include "gateway/bridge/request.hpp"
#include "gateway/bridge/slab.hpp"
#include "gateway/bridge/split.hpp"
#include "gateway/device/disposition.hpp"
#include "gateway/device/logical_unit.hpp"
#include "gateway/initiator/scsi_command.hpp"
#include "gateway/nbd/backend.hpp"
#include "proto/bell.hpp"
#include "proto/bytes/buffer_pool.hpp"

namespace nbdgw::bridge {

/// Where outcomes go, so that this layer need not know the protocol engine: in production ConnectionReplies.
class Replies {
 public:
  virtual void segment_done(nbd::Request& request, nbd::Segment& segment) = 0;
  virtual void finish(nbd::Request& request, proto::nbd::Error error, const char* text) = 0;

 protected:
  ~Replies() = default;
};

/// What an export that goes knows of its LUN, for the one that comes in its place: writes that were acknowledged and
/// not flushed stay so, whoever serves the LUN, and the disk stays who it was.
struct CacheLegacy {
  CacheNumbers cache;
  proto::Micros seen_at = 0;   // when there was still a path to the LUN
  bool path_was_up = false;    // at the end: it was given up by us, and not lost
  proto::DiskIdentity disk{};  // as far as known
  PowerOnJudge::Learnt power_on{};
  /// Commands that write were with the target at the end, and nothing proves that it will not run them any more.
  bool writes_left = false;
  /// The same, where they were; empty: nobody knows. Without them: where the session was, which may still be there.
  std::vector<initiator::LeftWrites> left{};
  /// The LUN was not served for a time after that: it may rightly be another disk now, which then inherits nothing.
  bool gap = false;
  /// Clients that have lost their connection, and would make another one.
  std::vector<CacheLedger::AbsentLegacy> absent{};
  /// The target may have said that it has lost its cache to somebody who has died before he could heed it.
  bool unjudged = false;
};

/// How a session that is there now has come about, for what follows from it.
enum class Login : std::uint8_t {
  after_loss,  // or the first one
  after_own,   // we have ended the session before ourselves
  long_ago,    // the export is new, the session is not
};

/// What an export has heard of its LUN that concerns other exports of the same session.
enum class UnitNews : std::uint8_t {
  none,
  unit,       // those of the same LUN: another disk may be there, or none
  inventory,  // all: LUNs came or went
};

/// One export: a LUN, as the NBD protocol engine sees it. Turns NBD requests into SCSI commands and their ends into
/// replies.
///
/// What the shell does: on_session_up() and on_session_down() as the session comes and goes, on_deadline() at
/// next_deadline(), and deliver() once it has rung its bell (set_bell()). Outcomes collect in lists until then, so
/// the protocol engine is never called from inside one of its own calls. When room() has changed, connections that
/// stalled are worth an on_room().
///
/// Nothing may reach a new session before the LUN there was probed, for it might be another disk; so a session that
/// is lost hands back what it has not sent. Of what it has sent, it keeps a write for as long as that might still run
/// at the target, and a request has no end before that: it stays in the fence, with its memory. But after the hold
/// timeout its client is answered EIO, and so is, each in its time, whoever waits behind it.
///
/// Inside a session the same: once the LUN has said that it may be another disk now, or none, nothing is sent to it
/// before it was probed. What waits in the session without a CmdSN is taken back; what has one is under way. A target
/// tells such a change to one command, and executes those behind it: what was under way may have met either disk, so
/// its end is not believed, and it is sent again when the probe has found the disk that it was. It cannot be known
/// whether it has written to the other one before.
///
/// There are targets that do not tell it at all (tgtd: whoever sends no command while the LUN is gone never hears of
/// it). So after a silence of the LUN its identity is asked for before anything else is sent.
///
/// The life of a request: admitted, then (WRITE, TRIM, WRITE_ZEROES) through the fence, running, flushing where FUA
/// needs a SYNCHRONIZE CACHE, finished, answered, free. Its commands wait in a queue for the path and for queue
/// depth.
///
/// Why nothing can wait for itself: a part of a request has all it needs (its segment, memory for its payload and for
/// the blocks around it) before it begins. It waits for the fence, where everybody waits only for earlier parts,
/// whose payload is there; for queue depth, which running commands give back; and for the session, at most until the
/// hold timeout. None of these waits for room. Who waits for room, holding some, is a WRITE for its next part, and
/// its other parts run and end meanwhile. Why nobody waits for room for ever: Shares.
class Export final : public nbd::Backend,
                     private initiator::CommandSink,
                     private device::LogicalUnitObserver,
                     private ShareListener {
 public:
  /// `shares`: of the shard. It and the transport must outlive the export; it must be idle() when it goes, or the
  /// transport, the pool and the connections go without calling it again.
  /// `directory`: who else serves which disk; null: nobody does. It must outlive the export, too.
  Export(ExportConfig config, Shares& shares, initiator::CommandTransport& transport,
         DiskDirectory* directory = nullptr, proto::Micros now = 0);
  Export(const Export&) = delete;
  Export& operator=(const Export&) = delete;
  ~Export();

  // nbd::Backend
  const nbd::ExportInfo& info() const noexcept override { return info_; }
  std::unique_ptr<nbd::Attachment> attach(const nbd::Attaching& who) override;
  nbd::Request* admit(const nbd::RequestHeader& header, nbd::Connection& connection, nbd::Stake& stake,
                      proto::Micros now) override;
  bool others_wait(const nbd::Stake& stake) const noexcept override { return share_.others_wait(stake); }
  proto::Micros patience(proto::Micros timeout, proto::Micros now) const noexcept override {
    return share_.shares().patience().with_next(timeout, now);
  }
  void closed_for_stalling(proto::Micros timeout, proto::Micros now) override {
    share_.shares().patience().on_closed(timeout, now);
  }
  nbd::Segment* next_write_segment(nbd::Request& request) override;
  void segment_received(nbd::Request& request, nbd::Segment& segment, proto::Micros now) override;
  void start(nbd::Request& request, proto::Micros now) override;
  bool has_payload(const nbd::Request& request) const noexcept override;
  void copy_payload(const nbd::Request& request, std::vector<std::uint8_t>& to) const override;
  void release(nbd::Request& request, nbd::Segment& segment) override;
  void release(nbd::Request& request) override;
  void abandon(nbd::Request& request) override;
  void refused(const nbd::RequestHeader& header, proto::nbd::Error error, const char* text) override;

  // For the shell.
  /// Rung, whoever has called the export (a client, the shell, another export of the disk), if there is something to
  /// do after that, another state, or an earlier deadline. deliver() follows what the session tells in its own.
  void set_bell(proto::Bell* bell) noexcept { bell_.hang(bell); }
  /// There is something for deliver() now, or to be fetched.
  bool wants_turn() const noexcept;
  /// `outage`: how long the target may have been away (initiator::SessionEvent::outage).
  void on_session_up(proto::Micros outage, proto::Micros now, Login login = Login::after_loss);
  void on_session_down(const std::string& reason, proto::Micros now);
  /// The ladder has reset the LUN, or the whole target. The LUN is probed again: its mode parameters may be others
  /// now, and the unit attentions of the reset are met by the probe.
  void on_unit_reset(proto::Micros now);
  /// The ladder has asked the LUN whether it answers, and this is what it said: a unit attention that no command of
  /// this export will be told any more.
  void on_unit_answer(const initiator::ScsiCommand& command, proto::Micros now);
  /// Another disk may be behind the LUN now, or none: so says somebody else than a command of this export. Requests
  /// are held, and the LUN is probed.
  void on_unit_event(const std::string& why, proto::Micros now);
  /// What the other exports of the session have to be told by on_unit_event(); none after that.
  bool has_news() const noexcept { return news_ != UnitNews::none; }
  UnitNews take_news() noexcept { return std::exchange(news_, UnitNews::none); }
  /// No other export of the session has the same LUN.
  void set_alone(bool alone) noexcept { power_on_.set_alone(alone); }
  /// What has happened to the LUN and its cache; for the log.
  bool has_events() const noexcept { return !events_.empty(); }
  bool next_event(CacheEvent& event);
  /// Requests that clients were told an error for, a few of each kind; what was only counted so far, too, once
  /// tell_failures() was called.
  bool has_failures() const noexcept { return failures_.has_events(); }
  bool next_failure(RequestFailure& failure, proto::Micros now) noexcept { return failures_.next(failure, now); }
  void tell_failures(proto::Micros now) noexcept { failures_.tell_all(now); }
  proto::Micros next_deadline() const noexcept;
  void on_deadline(proto::Micros now);
  /// Hands on what has come about, and sends what abandoned requests have made way for.
  void deliver(Replies& replies, proto::Micros now);

  /// Reads the capacity of the LUN again, if the export is online and the LUN is not being asked anything else. After
  /// a silence the LUN is asked first which disk it is. Its end is told as nothing, unless the LUN has changed.
  void poll_capacity(proto::Micros now);
  /// The same if nothing was heard of the LUN for kUnheard.
  void ask_if_unheard(proto::Micros now);
  /// The LUN is online, and is being asked for its capacity or its identity.
  bool asks_online() const noexcept;

  /// Probes the LUN anew, by hand: what it has refused so far is tried again. Requests are held meanwhile. It ends
  /// with a CacheEvent of this number. False: another one is under way, or there is no session.
  bool rescan(std::uint32_t request_id, proto::Micros now);
  bool rescanning() const noexcept { return rescan_ != 0; }

  /// Takes over what may change while there are clients: all that comes from the configuration but name, lun and
  /// read_only. What is under way goes on by the new values.
  void retune(const ExportConfig& config, proto::Micros now);

  /// Before on_session_up(), and for the record alone.
  void on_session_at(const initiator::PortalGroup& group);
  /// Something has come from the target, last then.
  void on_heard(proto::Micros at) noexcept {
    if (record_ != nullptr && session_up_ && known_) record_->seen_at = at;
  }

  CacheLegacy cache_legacy(proto::Micros now) const;
  /// See CacheLegacy::writes_left.
  bool leaves_writes() const noexcept {
    return writes_left_ || queue_.lent() > 0 || transport_.suspects(config_.lun);
  }
  /// Before the first session: this export stands in the place of another one of the same LUN.
  void inherit(const CacheLegacy& legacy);
  /// What the next process has to know if this one dies is kept there from now on; null: no more. After inherit().
  void record_in(LunRecord* record);

  /// Names of other exports of the same disk whose writes are not kept apart from those of this one; empty: none.
  const std::string& same_disk() const noexcept { return same_disk_; }
  std::shared_ptr<Disk> disk() const noexcept { return disk_; }

  /// Shutdown: requests admitted from now on fail with ESHUTDOWN; those in flight go on.
  void drain() noexcept { draining_ = true; }
  /// The LUN cannot be used over this path: it is not there, or not ready, as with a port in standby.
  bool path_unusable() const noexcept;
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
  const CommandQueue& queue() const noexcept { return queue_; }
  /// Acknowledged writes, and those of them that may be lost, see CacheLedger.
  const CacheLedger& cache() const noexcept { return disk_->cache; }
  const PowerOnJudge& power_on() const noexcept { return power_on_; }
  /// Since when requests wait for the path; proto::kNever: there is one, or there has never been one.
  proto::Micros held_since() const noexcept { return held_since_; }
  /// Since when it is not online, from the beginning for one that never was; proto::kNever: it is.
  proto::Micros down_since() const noexcept { return down_since_; }
  /// In force: what it was made with, and has taken over since (retune()).
  const ExportConfig& config() const noexcept { return config_; }

 private:
  // Admission (export_admission.cpp).
  struct Part {
    std::uint64_t end = 0;    // on the export, of its payload
    BlockRange blocks{};      // that it touches
    std::uint32_t bytes = 0;  // of these
    std::uint32_t cost = 0;   // of memory for them
  };
  struct Plan {
    Need need;
    Part first{};           // READ
    std::uint64_t end = 0;  // READ: of what it begins with
  };
  Plan plan_of(const nbd::RequestHeader& header, const nbd::Stake& stake) const noexcept;
  Plan plan_of_read(const nbd::RequestHeader& header, const nbd::Stake& stake) const noexcept;
  Part part_at(std::uint64_t at, std::uint64_t end) const noexcept;
  void begin(IoRequest& request, const nbd::RequestHeader& header, proto::Micros now) noexcept;
  bool count(proto::nbd::Command command) noexcept;
  bool reserve(IoRequest& request, const Plan& plan);
  bool reserve_slots(IoRequest& request, std::uint32_t bytes_of_memory);
  Segment* add_part(IoRequest& request, const Part& part);
  Segment* add_write_part(IoRequest& request, const Part& part, bool edges);
  void place_part(IoRequest& request, Segment& segment, const Part& part) noexcept;
  void read_on(IoRequest& request, Segment& segment);
  Segment* add_segment(IoRequest& request, std::uint32_t bytes_of_memory);
  void release_memory(Segment& segment) noexcept;
  void unlink_segment(IoRequest& request, Segment& segment) noexcept;
  void drop_segment(IoRequest& request, Segment& segment) noexcept;
  void leave_stake(IoRequest& request) noexcept;
  void free_memory(Segment& segment) noexcept;
  Need take_apart(IoRequest& request) noexcept;
  void free_request(IoRequest& request) noexcept;

  void on_divided() noexcept override;

  // The way of a request (export.cpp).
  bool enters_fence(FencedRange& place, BlockRange range);
  void run_fenced(IoRequest& request, BlockRange range);
  void leave_fence(FencedRange& place);
  void go_on(FencedRange& place);
  void run_part(Segment& segment);
  void run(IoRequest& request);
  void launch(Segment& segment, Operation operation);
  void settle(Segment& segment, bool good);
  void conclude(IoRequest& request);
  void fail(IoRequest& request, proto::nbd::Error error, const char* text, const DiskCommand* command = nullptr);
  RequestFailure failure_of(const nbd::RequestHeader& header, proto::nbd::Error error,
                            const char* text) const noexcept;
  void finish(IoRequest& request);

  // READ and WRITE (export_parts.cpp); TRIM and WRITE_ZEROES (export_range.cpp).
  Operation first_write_operation(const Segment& segment) const noexcept;
  void segment_good(Segment& segment);
  void feed(IoRequest& request);
  bool cut_slice(IoRequest& request, Segment& segment);
  BlockRange trim_range(std::uint64_t offset, std::uint64_t length) const noexcept;
  bool cut_unmap_slice(IoRequest& request, Segment& segment);
  bool cut_zero_slice(IoRequest& request, Segment& segment);
  Operation zero_operation(const IoRequest& request) const noexcept;
  bool falls_back(Segment& segment, proto::Micros now);
  bool forgoes_16_bytes(const Segment& segment, proto::Micros now);
  void revise_operation(Segment& segment) const noexcept;

  // Commands (export_commands.cpp).
  void pump(proto::Micros now);
  bool looks_first(proto::Micros now);
  void send(DiskCommand& command, proto::Micros now);
  void on_command_done(initiator::ScsiCommand& command, proto::Micros now) override;
  void note_loss(DiskCommand& command, proto::Micros now) noexcept;
  void disbelieve(DiskCommand& command, device::Disposition& disposition, const device::Attempts& before) noexcept;
  void take_shortfall(DiskCommand& command, device::Disposition& disposition,
                      const device::Attempts& before) noexcept;
  bool keep_moved(Segment& segment, std::uint32_t bytes) noexcept;
  void command_over(DiskCommand& command, const device::Disposition& disposition, proto::Micros now);
  void segment_over(Segment& segment);
  void command_failed(DiskCommand& command, proto::nbd::Error error, const char* text, bool sent);
  void drop_unsent(IoRequest& request);
  void fail_held();

  // What the session holds (export_stuck.cpp).
  void look_at_stuck(proto::Micros now);
  void set_held_aside(const IoRequest& request) noexcept;
  void set_stuck(bool stuck, bool news) noexcept;
  void answer_early(IoRequest& request);

  // FLUSH (export_flush.cpp).
  void join_flush(IoRequest& request);
  void leave_flush(IoRequest& request);
  void queue_flush();
  void flush_over(proto::nbd::Error error, const char* text, const DiskCommand* command = nullptr);
  void note_failed_flush(const DiskCommand& command);
  bool flush_falls_back();
  void finish_without_cache(IoRequest& request);
  bool fails_for_loss(IoRequest& request, CacheEvent& told);
  void fail_for_lost_cache(IoRequest& request);
  void note_heard(IoRequest& request) noexcept;
  void note_cached(const Segment& segment) noexcept;
  void conclude_cached_write(IoRequest& request);
  void cache_may_be_lost(const CacheLedger::Known& when_sent, std::string cause);
  void tell_doubt(bool news);
  void tell(CacheEvent::Kind kind, std::uint64_t writes, std::uint64_t requests);
  void tell(CacheEvent::Kind kind, std::string cause);

  // The path and the LUN (export_life.cpp).
  void on_probe_done(device::LogicalUnit& unit, proto::Micros now) override;
  void on_unit_notes(device::LogicalUnit& unit, const device::Notes& notes, proto::Micros now) override;
  void take_notes(const device::Notes& notes, const initiator::ScsiCommand& command, const CacheLedger::Known& sent,
                  proto::Micros now);
  void look_again(const device::Notes& notes, const initiator::ScsiCommand& command, proto::Micros now);
  void doubt_identity(const std::string& why, proto::Micros now);
  void begin_doubt(const std::string& why, proto::Micros now);
  bool looks_twice(const device::Facts& facts) noexcept;
  void accept_facts(const device::Facts& facts, proto::Micros now);
  void judge_inheritance(const device::Facts& facts) noexcept;
  void refuse_out_of_reach(proto::Micros now);
  void rescan_over();
  bool enter_directory(const device::Facts& facts, proto::Micros now);
  void share(std::shared_ptr<Disk> disk);
  void record_disk() noexcept;
  void record_left(const initiator::PortalGroup* present);
  void leave_record() noexcept;
  void enter(ExportState state, std::string reason, proto::Micros now);
  void refresh_abilities() noexcept;
  proto::Micros hold_expiry() const noexcept;
  void tell_hold_expired(proto::Micros now);
  void hold_over(proto::Micros now);
  bool fails_now() const noexcept { return state_ == ExportState::refused || hold_expired_; }

  proto::BellPull bell_;
  ExportConfig config_;
  proto::BufferPool& pool_;
  Share share_;
  initiator::CommandTransport& transport_;
  nbd::ExportInfo info_;
  Abilities can_;
  Refusals refused_;
  ExportCounters counters_;

  DiskDirectory* const directory_;
  std::shared_ptr<Disk> disk_ = std::make_shared<Disk>();
  std::string same_disk_;         // names of exports of the same disk that do not share it
  std::uint64_t stuck_seen_ = 0;  // of Disk::stuck_changes

  // The pools come before the lists: what is linked must outlive what links it.
  Slab<IoRequest> requests_;
  Slab<Segment> segments_;
  FlushGroup flush_;
  CacheLedger::Known known_when_online_;  // the unit's own commands are sent later than that
  std::vector<CacheEvent> events_;
  Failures failures_;
  CommandQueue queue_;
  DoneSegments done_segments_;
  RequestList finished_;
  std::uint64_t room_ = 0;
  bool draining_ = false;

  device::LogicalUnit unit_;
  ExportState state_ = ExportState::offline;
  std::string reason_ = "not connected yet";
  bool known_ = false;  // has been online: info_ and can_ hold
  bool session_up_ = false;
  PowerOnJudge power_on_;
  std::uint64_t doubts_ = 0;  // how often another disk may have come in the LUN's place; see DiskCommand::doubts
  bool in_question_ = false;  // that was told as an event, and the answer was not yet
  UnitNews news_ = UnitNews::none;
  proto::Micros threshold_told_at_ = proto::kNever;  // that the thin pool runs low
  proto::Micros heard_at_ = 0;                       // when the LUN has last answered a command
  bool looking_ = false;           // it is being asked which disk it is, and nothing is sent meanwhile
  std::uint32_t rescan_ = 0;       // the number of the rescan that is under way
  std::uint64_t size_before_ = 0;  // the LUN's before that, bytes; 0: not known
  bool hold_expired_ = false;
  proto::Micros expired_at_ = 0;     // when that came about
  std::uint64_t failed_before_ = 0;  // requests, by then
  proto::Micros down_since_;
  proto::Micros held_since_ = proto::kNever;  // since when there is no path, if there was one before
  bool stuck_ = false;  // the session holds commands of requests that it has no proof of their end for
  proto::Micros stuck_at_ = proto::kNever;  // when one of these, or what waits behind it, has waited long enough
  proto::Micros recheck_at_ = proto::kNever;
  bool growth_found_ = false;                     // by the last probe, and not believed yet
  proto::Micros inherited_from_ = proto::kNever;  // CacheLegacy::seen_at, until the first session is there
  LunRecord* record_ = nullptr;                   // see record_in()
  bool writes_left_ = false;                      // CacheLegacy::writes_left, of its own commands
  bool inherited_path_ = false;                   // CacheLegacy::path_was_up
  proto::DiskIdentity heir_of_;  // whose inheritance is for this disk alone, if it is the one behind the LUN
};

}  // namespace nbdgw::bridge
