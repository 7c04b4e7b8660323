#include <algorithm>
#include <utility>

#include "gateway/bridge/errors.hpp"
#include "gateway/bridge/export.hpp"

/// FLUSH, and FUA by SYNCHRONIZE CACHE.
namespace nbdgw::bridge {

using proto::nbd::Command;
using proto::nbd::Error;

namespace {

constexpr const char* kLostBefore = "the target may have lost writes that were acknowledged and not flushed";
constexpr const char* kLostItself = "the target may have lost this write before it was on stable storage";

}  // namespace

void Export::join_flush(IoRequest& request) {
  request.acknowledged_before = cache_.acknowledged();
  if (!can_.cache) {
    finish_without_cache(request);
    return;
  }
  request.progress = IoRequest::State::flushing;
  flush_.join(request);
  queue_flush();
}

/// What has its status is on stable storage. But the cache may have been there until a moment ago: a power cycle can
/// switch it off.
void Export::finish_without_cache(IoRequest& request) {
  cache_.flush_begins();
  cache_.flush_succeeds();
  if (request.header.command == Command::flush && cache_.flush_must_fail(request.acknowledged_before)) {
    fail_for_lost_cache(request);
    tell(CacheEvent::Kind::told, cache_.doubtful(), 1);
    cache_.told(request.acknowledged_before);
  }
  finish(request);
}

/// One SYNCHRONIZE CACHE at a time; who comes while it runs is served by the next. It does not wait behind writes
/// that it need not cover.
void Export::queue_flush() {
  Task& task = flush_.task();
  if (task.state != Task::State::idle || !flush_.wanted()) return;
  task.attempts = {};
  task.sink = this;
  queue_.push_front(task);
}

/// An abandoned request does not wait any more.
void Export::leave_flush(IoRequest& request) {
  request.hook.unlink();
  Task& task = flush_.task();
  const bool unsent = task.state == Task::State::ready || task.state == Task::State::delayed;
  if (unsent && !flush_.wanted()) queue_.remove(task);
}

/// The command has ended, or will not be sent. A lost cache comes before any other error, so that it is told as such.
void Export::flush_over(Error error, const char* text) {
  if (error == Error::none) cache_.flush_succeeds();
  const std::uint64_t writes = cache_.doubtful();
  std::uint64_t told = 0;  // acknowledged writes for which a FLUSH has failed
  std::uint32_t failed = 0;
  while (IoRequest* const request = flush_.take_covered()) {
    // FUA speaks for its own write alone: what was lost of others is for a FLUSH to tell.
    const bool flush = request->header.command == Command::flush;
    if (flush ? cache_.flush_must_fail(request->acknowledged_before) : cache_.lost_since(request->cached_at)) {
      fail_for_lost_cache(*request);
      if (flush) told = std::max(told, request->acknowledged_before);
      ++failed;
    } else if (error != Error::none) {
      fail(*request, error, text);
    }
    finish(*request);
  }
  // Others that came before anybody could know of the failure stand for the same writes.
  while (IoRequest* const request = told > 0 ? flush_.take_waiting_failure(cache_) : nullptr) {
    fail_for_lost_cache(*request);
    told = std::max(told, request->acknowledged_before);
    ++failed;
    finish(*request);
  }
  cache_.told(told);
  if (failed > 0) tell(CacheEvent::Kind::told, writes, failed);
  queue_flush();
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
  if (!unknown_command(flush_.task())) return false;
  refused_.synchronize = true;
  refresh_abilities();
  flush_.cover_all();
  cache_.flush_begins();
  flush_over(Error::none, nullptr);
  return true;
}

void Export::fail_for_lost_cache(IoRequest& request) {
  ++counters_.flushes_failed_for_lost_cache;
  const bool flush = request.header.command == Command::flush;
  fail(request, Error::eio, flush ? kLostBefore : kLostItself);
}

/// A command has ended well that has put something into the cache.
void Export::note_cached(const Segment& segment) noexcept {
  IoRequest& request = *segment.request;
  const bool reads = segment.step == Step::read || segment.step == Step::head_read ||
                     segment.step == Step::tail_read || segment.step == Step::edge_read;
  if (reads || request.fua_bit || !can_.cache) return;
  request.cached_at = std::min(request.cached_at, segment.known.reports);
}

/// All of a write-like request is done, and some of it is in the cache.
void Export::conclude_cached_write(IoRequest& request) {
  if (request.fua) {
    if (!cache_.lost_since(request.cached_at)) return join_flush(request);
    fail_for_lost_cache(request);
    tell(CacheEvent::Kind::told, 0, 1);
  } else {
    const bool doubt = cache_.doubtful() > 0;
    cache_.count_write(request.cached_at);
    if (!doubt && cache_.doubtful() > 0) tell(CacheEvent::Kind::in_doubt, cache_.doubtful(), 0);
  }
  finish(request);
}

void Export::cache_may_be_lost(const CacheLedger::Known& when_sent, std::string cause) {
  ++counters_.cache_loss_reports;
  const bool doubt = cache_.doubtful() > 0;
  cache_.report(when_sent);
  cache_report_ = std::move(cause);
  if (!doubt && cache_.doubtful() > 0) tell(CacheEvent::Kind::in_doubt, cache_.doubtful(), 0);
}

void Export::tell(CacheEvent::Kind kind, std::uint64_t writes, std::uint32_t requests) {
  events_.push_back(
      {.kind = kind, .lun = config_.lun, .writes = writes, .requests = requests, .cause = cache_report_});
}

bool Export::next_event(CacheEvent& event) {
  if (events_.empty()) return false;
  event = std::move(events_.front());
  events_.erase(events_.begin());
  return true;
}

}  // namespace nbdgw::bridge
