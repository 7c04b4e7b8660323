#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "gateway/net/inherited_sockets.hpp"
#include "proto/time.hpp"

namespace nbdgw::control {
class Gateway;
struct ReloadOutcome;
}  // namespace nbdgw::control

namespace nbdgw::app {

/// The descriptors that systemd has passed to this process (LISTEN_FDS, LISTEN_FDNAMES; sd_listen_fds(3)).
struct PassedDescriptors {
  net::InheritedSockets sockets;                     // that it listens on for us
  std::vector<net::InheritedSockets::Named> stored;  // that a process before this one has left (RestartStore)
};

/// Once: the environment does not say so any more after that. Throws net::ListenError.
PassedDescriptors passed_descriptors();

/// Tells systemd how the program is (sd_notify(3)), and that it lives: where the unit has WatchdogSec=, a thread asks
/// every shard again and again, and reports that all have answered. A program that hangs is killed then, and started
/// again. Does nothing where nobody asked for it (NOTIFY_SOCKET, WATCHDOG_USEC), or built without libsystemd.
class ServiceManager {
 public:
  ServiceManager() = default;
  ~ServiceManager();
  ServiceManager(const ServiceManager&) = delete;
  ServiceManager& operator=(const ServiceManager&) = delete;

  /// The listeners are open. Starts the watchdog; the gateway must be there until stopping().
  void ready(control::Gateway& gateway, const std::string& status);
  /// Likewise of a program without a gateway and a watchdog.
  static void tell_ready(const std::string& status);
  static void reloading();
  /// From any thread, after reloading(): it is over, one way or the other.
  static void reloaded(const control::ReloadOutcome& outcome);
  /// No more is accepted; ends the watchdog.
  void stopping(const std::string& status);

 private:
  void watch(control::Gateway& gateway, proto::Micros interval);
  void end_watchdog();

  std::mutex mutex_;
  std::condition_variable wake_;
  bool ending_ = false;
  std::thread watchdog_;
};

}  // namespace nbdgw::app
