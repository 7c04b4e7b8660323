#include "gateway/app/signals.hpp"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <system_error>
#include <thread>

#include "gateway/app/exit_codes.hpp"
#include "gateway/app/logging.hpp"
#include "gateway/net/log.hpp"

namespace nbdgw::app {

namespace {

[[noreturn]] void give_up(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

}  // namespace

StopSignals::StopSignals(Hangup hangup) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  if (hangup == Hangup::waited_for) sigaddset(&set, SIGHUP);
  if (pthread_sigmask(SIG_BLOCK, &set, nullptr) != 0) give_up("cannot block signals");
  descriptor_ = signalfd(-1, &set, SFD_CLOEXEC);
  if (descriptor_ < 0) give_up("signalfd");
}

StopSignals::~StopSignals() {
  ::close(descriptor_);
}

int StopSignals::wait() {
  signalfd_siginfo info{};
  while (::read(descriptor_, &info, sizeof(info)) != static_cast<ssize_t>(sizeof(info))) {
    if (errno != EINTR) give_up("cannot wait for signals");
  }
  return static_cast<int>(info.ssi_signo);
}

void StopSignals::run_unless_signalled(const std::function<void()>& work, const char* message) {
  const int done = eventfd(0, EFD_CLOEXEC);
  if (done < 0) give_up("eventfd");
  std::thread worker([&work, done] {
    work();
    const std::uint64_t one = 1;
    // Cannot fail: the counter is 0 and the descriptor is ours.
    [[maybe_unused]] const ssize_t written = ::write(done, &one, sizeof(one));
  });
  std::array<pollfd, 2> wanted{{{done, POLLIN, 0}, {descriptor_, POLLIN, 0}}};
  bool stopped = false;
  do {
    if (::poll(wanted.data(), wanted.size(), -1) < 0) {
      if (errno != EINTR) give_up("poll");
      continue;
    }
    if ((wanted[0].revents & POLLIN) != 0) break;
    stopped = wait() != SIGHUP;
  } while (!stopped);
  if (stopped) {
    net::log::warn({}, "{}", message);
    finish_logging();
    _exit(kFailed);  // threads are in the middle of something: no destructors
  }
  worker.join();
  ::close(done);
}

}  // namespace nbdgw::app
