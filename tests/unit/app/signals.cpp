#include "gateway/app/signals.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include <doctest/doctest.h>

#include "gateway/app/exit_codes.hpp"

using nbdgw::app::StopSignals;

TEST_CASE("stop signals are waited for") {
  StopSignals signals;
  ::kill(::getpid(), SIGTERM);
  CHECK(signals.wait() == SIGTERM);
  ::kill(::getpid(), SIGINT);
  CHECK(signals.wait() == SIGINT);
}

TEST_CASE("without a second signal the work runs to its end") {
  StopSignals signals;
  bool done = false;
  signals.run_unless_signalled([&done] { done = true; }, "not printed");
  CHECK(done);
}

TEST_CASE("a hangup is waited for where that is asked for, and is no second signal") {
  StopSignals signals(StopSignals::Hangup::waited_for);
  ::kill(::getpid(), SIGHUP);
  CHECK(signals.wait() == SIGHUP);
  bool done = false;
  signals.run_unless_signalled(
      [&done] {
        ::kill(::getpid(), SIGHUP);
        ::kill(::getpid(), SIGHUP);
        done = true;
      },
      "not printed");
  CHECK(done);
  ::kill(::getpid(), SIGTERM);
  while (signals.wait() != SIGTERM) {  // a hangup may be left, as the work was over so soon
  }
}

TEST_CASE("a second signal ends the process at once, in the middle of the work") {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    StopSignals signals;
    signals.run_unless_signalled(
        [] {
          ::kill(::getpid(), SIGTERM);
          for (;;) ::pause();
        },
        "expected: ended by a second signal");
    ::_exit(99);  // not reached
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == nbdgw::app::kFailed);
}
