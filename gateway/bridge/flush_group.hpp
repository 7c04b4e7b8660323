#pragma once

#include "gateway/bridge/cache_ledger.hpp"
#include "gateway/bridge/request.hpp"

namespace nbdgw::bridge {

/// The requests of an export that wait for a SYNCHRONIZE CACHE: FLUSH, and FUA where the LUN has no FUA bit. One such
/// command runs at a time, and all that came before it was sent share it: it covers every write whose status came
/// before (NBD protocol, NBD_CMD_FLUSH: writes completed before the server begins to process the flush). Who comes
/// while it runs waits for the next one. When it has to be sent again, that is a new one, and may cover more.
class FlushGroup {
 public:
  FlushGroup() { command_.role = DiskCommand::Role::flush; }

  DiskCommand& command() noexcept { return command_; }

  void join(IoRequest& request) noexcept { waiting_.push_back(request); }
  bool wanted() const noexcept { return !waiting_.empty() || !covered_.empty(); }

  /// The command goes out now, or fails without being sent (again): all who wait share its fate. It covers what is
  /// acknowledged by now.
  void cover_all(const CacheLedger& ledger) noexcept {
    covered_.splice(covered_.end(), waiting_);
    covers_ = ledger.acknowledged();
  }
  std::uint64_t covers() const noexcept { return covers_; }

  /// The next of those that the command has covered, taken out; nullptr: no more.
  IoRequest* take_covered() noexcept {
    if (covered_.empty()) return nullptr;
    IoRequest& request = covered_.front();
    covered_.pop_front();
    return &request;
  }

  /// The next FLUSH for which `fails` says so, of those that wait for the command after the one that is out; taken
  /// out. nullptr: no more.
  template <typename Fails>
  IoRequest* take_waiting_failure(Fails fails) {
    for (IoRequest& request : waiting_) {
      if (request.header.command != proto::nbd::Command::flush || !fails(request)) continue;
      request.hook.unlink();
      return &request;
    }
    return nullptr;
  }

 private:
  RequestList waiting_;
  RequestList covered_;
  std::uint64_t covers_ = 0;  // writes
  DiskCommand command_;
};

}  // namespace nbdgw::bridge
