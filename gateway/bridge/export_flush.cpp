#include <algorithm>
#include <utility>

#include "gateway/bridge/attached.hpp"
#include "gateway/bridge/errors.hpp"
#include "gateway/bridge/export.hpp"
#include "gateway/nbd/connection.hpp"
#include "proto/mutant.hpp"

/// FLUSH, and FUA by SYNCHRONIZE CACHE.
namespace nbdgw::bridge {

using proto::nbd::Command;
using proto::nbd::Error;

namespace {

constexpr const char* kLostBefore = "the target may have lost writes that were acknowledged and not flushed";
constexpr const char* kLostItself = "the target may have lost this write before it was on stable storage";

/// Of a request whose client is there.
Attached& observer_of(const IoRequest& request) noexcept {
  return static_cast<Attached&>(*request.connection->attachment());
}

}  // namespace

void Export::join_flush(IoRequest& request) {
  request.acknowledged_before = disk_->cache.acknowledged();
  if (!can_.cache) {
    finish_without_cache(request);
    return;
  }
  request.phase = IoRequest::Phase::flushing;
  flush_.join(request);
  queue_flush();
}

/// What has its status is on stable storage. But the cache may have been there until a moment ago: a power cycle can
/// switch it off.
void Export::finish_without_cache(IoRequest& request) {
  disk_->cache.flush_succeeds(disk_->cache.acknowledged());
  CacheEvent told;
  if (request.header.command == Command::flush && fails_for_loss(request, told)) {
    disk_->cache.end_telling();
    tell(CacheEvent::Kind::told, told.writes, told.requests);
  }
  finish(request);
}

/// One SYNCHRONIZE CACHE at a time; who comes while it runs is served by the next. It does not wait behind writes
/// that it need not cover.
void Export::queue_flush() {
  DiskCommand& command = flush_.command();
  if (command.place != DiskCommand::Place::none || !flush_.wanted()) return;
  command.begin_anew();
  command.sink = this;
  queue_.push_front(command);
  bell_.ring();
}

/// An abandoned request does not wait any more.
void Export::leave_flush(IoRequest& request) {
  request.hook.unlink();
  DiskCommand& command = flush_.command();
  const bool unsent = command.place == DiskCommand::Place::ready || command.place == DiskCommand::Place::delayed;
  if (unsent && !flush_.wanted()) queue_.remove(command);
}

/// The command has ended, or will not be sent. A lost cache comes before any other error, so that it is told as such.
void Export::flush_over(Error error, const char* text, const DiskCommand* command) {
  if (NBDGW_MUTANT(flush_joins_the_running)) flush_.cover_all(disk_->cache);
  if (NBDGW_MUTANT(failed_sync_is_success)) error = Error::none;
  if (error == Error::none) disk_->cache.flush_succeeds(flush_.covers());
  CacheEvent told;
  while (IoRequest* const request = flush_.take_covered()) {
    if (!fails_for_loss(*request, told) && error != Error::none) fail(*request, error, text, command);
    finish(*request);
  }
  // Others of a connection that came before it could know of the failure stand for the same writes.
  const auto fails = [this](const IoRequest& request) {
    const Attached& observer = observer_of(request);
    return observer.telling() && disk_->cache.must_tell(observer, request.acknowledged_before) == LossTold::own;
  };
  while (IoRequest* const request = told.requests > 0 ? flush_.take_waiting_failure(fails) : nullptr) {
    fails_for_loss(*request, told);
    finish(*request);
  }
  if (told.requests > 0) {
    disk_->cache.end_telling();
    tell(CacheEvent::Kind::told, told.writes, told.requests);
  }
  queue_flush();
}

/// Whoever is attached will hear of it: who has asked right now, the others by their next FLUSH. It was about all
/// that was in the cache when it was executed, and that may be more than what was acknowledged when it was sent.
void Export::note_failed_flush(const DiskCommand& command) {
  if (!may_have_lost_cache(command) || NBDGW_MUTANT(failed_sync_is_harmless)) return;
  cache_may_be_lost(command.known, device::explain(command) + ", to a SYNCHRONIZE CACHE");
}

/// The LUN refuses SYNCHRONIZE CACHE(16): the 10-byte form is tried. If it does not know that one either, it cannot
/// have a volatile cache that initiators were meant to flush, whatever its WCE bit says: taken as write-through from
/// now on, with success. False: neither; the error stands.
bool Export::flush_falls_back() {
  if (!refused_.synchronize_16) {
    refused_.synchronize_16 = true;
    refresh_abilities();
    queue_flush();
    return true;
  }
  if (!unknown_command(flush_.command())) return false;
  refused_.synchronize = true;
  refresh_abilities();
  flush_.cover_all(disk_->cache);
  flush_over(Error::none, nullptr);
  return true;
}

/// `told`: counts what fails, and the writes in doubt before that.
bool Export::fails_for_loss(IoRequest& request, CacheEvent& told) {
  CacheLedger& cache = disk_->cache;
  if (request.header.command != Command::flush) {
    // FUA speaks for its own write alone: what was lost of others is for a FLUSH to tell.
    if (!cache.lost_since(request.cached_at)) return false;
    if (NBDGW_MUTANT(fua_takes_the_blame))
      cache.begin_telling(observer_of(request), LossTold::own, cache.acknowledged());
  } else {
    Attached& observer = observer_of(request);
    request.telling = cache.must_tell(observer, request.acknowledged_before);
    if (request.telling == LossTold::no || NBDGW_MUTANT(flush_hides_loss)) return false;
    told.writes = std::max(told.writes, cache.doubtful());
    cache.begin_telling(observer, request.telling, request.acknowledged_before);
  }
  ++told.requests;
  fail_for_lost_cache(request);
  return true;
}

/// A FLUSH was answered, and the reply is sent.
void Export::note_heard(IoRequest& request) noexcept {
  if (request.telling != LossTold::no) disk_->cache.heard(observer_of(request), request.telling);
}

void Export::fail_for_lost_cache(IoRequest& request) {
  ++counters_.flushes_failed_for_lost_cache;
  const bool flush = request.header.command == Command::flush;
  if (request.error != Error::none) return;
  request.error = Error::eio;  // and not by fail(): it is told as CacheEvent::Kind::told
  request.text = flush ? kLostBefore : kLostItself;
}

/// A command has ended well that has put something into the cache.
void Export::note_cached(const Segment& segment) noexcept {
  IoRequest& request = *segment.request;
  const bool reads = segment.operation == Operation::read || segment.operation == Operation::head_read ||
                     segment.operation == Operation::tail_read || segment.operation == Operation::edge_read;
  if (reads || request.fua_bit || !can_.cache) return;
  if (segment.operation == Operation::write_same && NBDGW_MUTANT(write_same_not_noted)) return;
  request.cached_at = std::min(request.cached_at, segment.known.reports);
}

/// All of a write-like request is done, and some of it is in the cache.
void Export::conclude_cached_write(IoRequest& request) {
  if (request.fua && !NBDGW_MUTANT(fua_without_flush)) {
    if (!disk_->cache.lost_since(request.cached_at)) return join_flush(request);
    fail_for_lost_cache(request);
    tell(CacheEvent::Kind::told, 0, 1);
  } else {
    tell_doubt(disk_->cache.count_write(request.cached_at));
  }
  finish(request);
}

void Export::cache_may_be_lost(const CacheLedger::Known& when_sent, std::string cause) {
  ++counters_.cache_loss_reports;
  disk_->cache_report = std::move(cause);
  tell_doubt(disk_->cache.report(when_sent));
}

/// `news`: somebody is owed a failing FLUSH now who was not before.
void Export::tell_doubt(bool news) {
  if (news) tell(CacheEvent::Kind::in_doubt, disk_->cache.doubtful(), 0);
}

void Export::tell(CacheEvent::Kind kind, std::uint64_t writes, std::uint64_t requests) {
  events_.push_back(
      {.kind = kind, .lun = config_.lun, .writes = writes, .requests = requests, .cause = disk_->cache_report});
  bell_.ring();
}

bool Export::next_event(CacheEvent& event) {
  if (events_.empty()) return false;
  event = std::move(events_.front());
  events_.erase(events_.begin());
  return true;
}

}  // namespace nbdgw::bridge
