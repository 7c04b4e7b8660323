#pragma once

#include <functional>

namespace nbdgw::app {

/// SIGINT and SIGTERM, and SIGHUP if asked for, as something to wait for. Made before any thread is started, so that
/// all of them have the signals blocked and none is interrupted.
class StopSignals {
 public:
  /// What a SIGHUP does: as ever (it ends the process), or wait() returns it.
  enum class Hangup : bool { as_ever, waited_for };
  explicit StopSignals(Hangup hangup = Hangup::as_ever);
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
  ~StopSignals();

  /// Waits for the next one; returns its number.
  int wait();

  /// Readable while a signal waits: for poll().
  int descriptor() const noexcept { return descriptor_; }

  /// Runs `work` in a thread of its own until it is done. A signal to stop meanwhile ends the process at once, with
  /// `message` and exit status 1; a SIGHUP that is waited for is dropped.
  void run_unless_signalled(const std::function<void()>& work, const char* message);

 private:
  int descriptor_ = -1;  // signalfd
};

}  // namespace nbdgw::app
