#pragma once

#include <cstdint>

#include "gateway/bridge/request.hpp"

namespace nbdgw::bridge {

/// The requests of an export that wait for a SYNCHRONIZE CACHE: FLUSH, and FUA where the LUN has no FUA bit. One such
/// command runs at a time, and all that came before it was sent share it: it covers every write whose status came
/// before (NBD protocol, NBD_CMD_FLUSH: writes completed before the server begins to process the flush). Who comes
/// while it runs waits for the next one. When it has to be sent again, that is a new one, and may cover more.
class FlushGroup {
 public:
  FlushGroup() { task_.role = Task::Role::flush; }

  Task& task() noexcept { return task_; }

  void join(IoRequest& request) noexcept { waiting_.push_back(request); }
  bool wanted() const noexcept { return !waiting_.empty() || !covered_.empty(); }

  /// The command goes out now.
  void on_sent() noexcept {
    covered_.splice(covered_.end(), waiting_);
    writes_covered_ = writes_;
  }

  /// The command has succeeded: what was done before it was sent is on stable storage.
  void on_success() noexcept { writes_flushed_ = writes_covered_; }

  /// The next of those that the command has covered, taken out; nullptr: no more.
  IoRequest* take_covered() noexcept {
    if (covered_.empty()) return nullptr;
    IoRequest& request = covered_.front();
    covered_.pop_front();
    return &request;
  }

  /// The command fails without being sent (again): all who wait share its fate.
  void cover_all() noexcept { covered_.splice(covered_.end(), waiting_); }

  /// A write-like request has ended well and is only in the LUN's cache.
  void count_write() noexcept { ++writes_; }
  /// Such requests since the last success that covers them: what the loss of the cache would lose.
  std::uint64_t unflushed() const noexcept { return writes_ - writes_flushed_; }

 private:
  RequestList waiting_;
  RequestList covered_;
  Task task_;
  std::uint64_t writes_ = 0;
  std::uint64_t writes_covered_ = 0;
  std::uint64_t writes_flushed_ = 0;
};

}  // namespace nbdgw::bridge
