#include "gateway/bridge/errors.hpp"
#include "gateway/bridge/export.hpp"

/// FLUSH, and FUA by SYNCHRONIZE CACHE.
namespace nbdgw::bridge {

using proto::nbd::Error;

void Export::join_flush(IoRequest& request) {
  if (!can_.cache) {
    finish(request);  // no volatile cache: what has its status is on stable storage
    return;
  }
  request.progress = IoRequest::State::flushing;
  flush_.join(request);
  queue_flush();
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

void Export::flush_over(Error error, const char* text) {
  if (error == Error::none) flush_.on_success();
  while (IoRequest* const request = flush_.take_covered()) {
    if (error != Error::none) fail(*request, error, text);
    finish(*request);
  }
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
  flush_over(Error::none, nullptr);
  return true;
}

}  // namespace nbdgw::bridge
