#include "proto/bell.hpp"

#include <doctest/doctest.h>

using nbdgw::proto::Bell;
using nbdgw::proto::BellPull;

namespace {

struct Shell {
  static void note(void* shell) noexcept { ++static_cast<Shell*>(shell)->heard; }

  int heard = 0;
  Bell bell{&Shell::note, this};
};

}  // namespace

TEST_CASE("bell: it is heard once, until the shell has looked") {
  Shell shell;
  CHECK_FALSE(shell.bell.rung());
  shell.bell.ring();
  shell.bell.ring();
  CHECK(shell.bell.rung());
  CHECK(shell.heard == 1);
  shell.bell.hush();
  shell.bell.ring();
  CHECK(shell.heard == 1);
  shell.bell.listen();
  CHECK_FALSE(shell.bell.rung());
  CHECK(shell.heard == 1);
  shell.bell.ring();
  CHECK(shell.heard == 2);
}

TEST_CASE("bell: while the shell looks by itself it is not told") {
  Shell shell;
  shell.bell.hush();
  shell.bell.ring();
  CHECK(shell.heard == 0);
  shell.bell.listen();
  shell.bell.ring();
  CHECK(shell.heard == 1);
}

TEST_CASE("bell: several engines ring the same one, and one without a bell rings none") {
  Shell shell;
  BellPull one;
  BellPull two;
  one.ring();
  one.hang(&shell.bell);
  CHECK(shell.heard == 1);  // what has come about before
  two.hang(&shell.bell);
  two.ring();
  CHECK(shell.heard == 1);
  shell.bell.listen();
  two.ring();
  CHECK(shell.heard == 2);
  shell.bell.listen();
  two.hang(nullptr);
  two.ring();
  CHECK(shell.heard == 2);
}

TEST_CASE("bell: one that nobody listens to tells all the same that it was rung") {
  Bell bell;
  BellPull engine;
  engine.hang(&bell);
  CHECK(bell.rung());
  bell.listen();
  engine.ring();
  CHECK(bell.rung());
}
