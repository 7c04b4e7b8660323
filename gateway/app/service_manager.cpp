#include "gateway/app/service_manager.hpp"

#include <fmt/core.h>
#include <pthread.h>

#include <chrono>
#include <cstdlib>
#include <future>
#include <memory>
#include <utility>
#include <vector>

#ifdef NBDGW_SYSTEMD
#include <systemd/sd-daemon.h>
#include <time.h>
#endif

#include "gateway/app/restart_store.hpp"
#include "gateway/control/gateway.hpp"
#include "gateway/control/reload.hpp"
#include "gateway/net/listener.hpp"
#include "gateway/net/log.hpp"
#include "gateway/net/stream_socket.hpp"

namespace nbdgw::app {

#ifdef NBDGW_SYSTEMD

namespace {

void notify(const std::string& text) {
  if (const int result = ::sd_notify(0, text.c_str()); result < 0)
    net::log::debug({}, "cannot notify the service manager: {}", net::error_text(-result));
}

/// Microseconds of the clock that systemd compares with.
std::uint64_t monotonic() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000 + static_cast<std::uint64_t>(now.tv_nsec) / 1'000;
}

}  // namespace

PassedDescriptors passed_descriptors() {
  char** names = nullptr;
  const int count = ::sd_listen_fds_with_names(1, &names);
  if (count < 0) throw net::ListenError("cannot take the sockets of systemd: " + net::error_text(-count));
  std::vector<net::InheritedSockets::Named> sockets, stored;
  for (int i = 0; i < count; ++i) {
    const int fd = SD_LISTEN_FDS_START + i;
    (RestartStore::is_stored(names[i], fd) ? stored : sockets).emplace_back(names[i], net::UniqueFd(fd));
    std::free(names[i]);
  }
  std::free(names);
  return {net::InheritedSockets(std::move(sockets)), std::move(stored)};
}

void ServiceManager::ready(control::Gateway& gateway, const std::string& status) {
  tell_ready(status);
  std::uint64_t limit = 0;
  if (::sd_watchdog_enabled(1, &limit) <= 0) return;
  const auto interval = static_cast<proto::Micros>(limit / 3);
  net::log::info({}, "the service manager's watchdog hears from this program every {:.1f} s",
                 static_cast<double>(interval) / static_cast<double>(proto::kSecond));
  watchdog_ = std::thread([this, &gateway, interval] {
    ::pthread_setname_np(::pthread_self(), "watchdog");
    watch(gateway, interval);
  });
}

/// A shard that does not answer in time is not reported; the next round asks it again.
void ServiceManager::watch(control::Gateway& gateway, proto::Micros interval) {
  std::unique_lock lock(mutex_);
  while (!ending_) {
    lock.unlock();
    const auto answered = std::make_shared<std::promise<bool>>();  // shared with an answer that comes late
    std::future<bool> answer = answered->get_future();
    gateway.ping_all([answered](bool all) { answered->set_value(all); });
    const auto next = std::chrono::steady_clock::now() + std::chrono::microseconds(interval);
    if (answer.wait_until(next) == std::future_status::ready && answer.get()) {
      notify("WATCHDOG=1");
    } else {
      net::log::error(
          {},
          "a worker has not answered for {:.1f} s; if that goes on, the service manager's watchdog ends this "
          "program and starts it again",
          static_cast<double>(interval) / static_cast<double>(proto::kSecond));
    }
    lock.lock();
    wake_.wait_until(lock, next, [this] { return ending_; });
  }
}

void ServiceManager::tell_ready(const std::string& status) {
  notify("READY=1\nSTATUS=" + status);
}

void ServiceManager::reloading() {
  notify(fmt::format("RELOADING=1\nMONOTONIC_USEC={}", monotonic()));
}

void ServiceManager::reloaded(const control::ReloadOutcome& outcome) {
  notify(std::string("READY=1\nSTATUS=") + (outcome.refused()
                                                ? "running; the reload changed nothing, the log says why"
                                                : "running, configuration reloaded"));
}

void ServiceManager::stopping(const std::string& status) {
  notify("STOPPING=1\nSTATUS=" + status);
  end_watchdog();
}

#else

PassedDescriptors passed_descriptors() {
  return {};
}
void ServiceManager::ready(control::Gateway&, const std::string&) {}
void ServiceManager::tell_ready(const std::string&) {}
void ServiceManager::reloading() {}
void ServiceManager::reloaded(const control::ReloadOutcome&) {}
void ServiceManager::stopping(const std::string&) {}

#endif

ServiceManager::~ServiceManager() {
  end_watchdog();
}

void ServiceManager::end_watchdog() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  wake_.notify_all();
  if (watchdog_.joinable()) watchdog_.join();
}

}  // namespace nbdgw::app
