#include "proto/assert.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

namespace {

/// A child that breaks an invariant, with the end of this pipe as its standard error. How it ended, as waitpid()
/// tells.
int broken_child(int standard_error) {
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const rlimit no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    ::signal(SIGABRT, SIG_DFL);
    ::dup2(standard_error, STDERR_FILENO);
    ::alarm(20);  // it hangs: then this ends it, by another signal
    nbdgw::proto::assertion_failed("1 == 2", "one is two", "here.cpp", 7);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return status;
}

}  // namespace

TEST_CASE("assert: what is wrong is said, and the program ends") {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const int status = broken_child(ends[1]);
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGABRT);
  ::close(ends[1]);
  char said[256] = {};
  const ssize_t length = ::read(ends[0], said, sizeof said);
  CHECK(std::string(said, static_cast<std::size_t>(length)) ==
        "nbdgw: broken invariant: one is two (1 == 2) at here.cpp:7\n");
  ::close(ends[0]);
}

TEST_CASE("assert: who does not read standard error does not keep a broken program from ending") {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const int flags = ::fcntl(ends[1], F_GETFL);
  REQUIRE(::fcntl(ends[1], F_SETFL, flags | O_NONBLOCK) == 0);
  const std::string filling(4096, 'x');
  while (::write(ends[1], filling.data(), filling.size()) > 0) {
  }
  REQUIRE(::fcntl(ends[1], F_SETFL, flags) == 0);
  const int status = broken_child(ends[1]);
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGABRT);
  ::close(ends[0]);
  ::close(ends[1]);
}
