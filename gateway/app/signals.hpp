#pragma once

#include <functional>

namespace nbdgw::app {

/// SIGINT and SIGTERM as something to wait for. Made before any thread is started, so that all of them have the two
/// signals blocked and none is interrupted.
class StopSignals {
 public:
  StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
  ~StopSignals();

  /// Waits for the next one; returns its number.
  int wait();

  /// Readable while a signal waits: for poll().
  int descriptor() const noexcept { return descriptor_; }

  /// Runs `work` in a thread of its own until it is done. A signal meanwhile ends the process at once, with `message`
  /// and exit status 1.
  void run_unless_signalled(const std::function<void()>& work, const char* message);

 private:
  int descriptor_ = -1;  // signalfd
};

}  // namespace nbdgw::app
