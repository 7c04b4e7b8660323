#include "gateway/app/signals.hpp"

#include <unistd.h>

#include <csignal>

#include <doctest/doctest.h>

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
