#include "gateway/app/nbdcopy.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <string_view>
#include <system_error>

#include "config/units.hpp"

extern char** environ;

namespace nbdgw::app {

namespace {

constexpr int kProgressDescriptor = 3;  // in the child

[[noreturn]] void give_up(int error, const char* what) {
  throw std::system_error(error, std::generic_category(), what);
}

/// Starts nbdcopy with `progress` as its descriptor 3 and no signal blocked, in a process group of its own: Ctrl-C is
/// for us, and we end it.
pid_t start(const std::string& from, const std::string& to, int progress) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_adddup2(&actions, progress, kProgressDescriptor);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  sigset_t pipe;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  posix_spawnattr_setsigdefault(&attributes, &pipe);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  std::string name = "nbdcopy", option = "--progress=" + std::to_string(kProgressDescriptor), flush = "--flush";
  std::string source = from, target = to;
  std::array<char*, 6> arguments{name.data(), option.data(), flush.data(), source.data(), target.data(), nullptr};
  pid_t child = -1;
  const int error = posix_spawnp(&child, "nbdcopy", &actions, &attributes, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) give_up(error, "cannot start nbdcopy");
  return child;
}

/// nbdcopy writes "42/100\n" now and then; the last whole line counts.
void show_progress(std::string& text, ProgressLine& progress) {
  const std::size_t end = text.rfind('\n');
  if (end == std::string::npos) return;
  const std::size_t before = end == 0 ? std::string::npos : text.rfind('\n', end - 1);
  const std::size_t begin = before == std::string::npos ? 0 : before + 1;
  const std::string_view line = std::string_view(text).substr(begin, end - begin);
  if (const auto percent = config::parse_integer(line.substr(0, line.find('/')))) progress.update(*percent, 100);
  text.erase(0, end + 1);
}

}  // namespace

std::string missing_nbdcopy() {
  const char* path = std::getenv("PATH");
  std::string_view rest = path != nullptr ? path : "/usr/bin:/bin";
  while (!rest.empty()) {
    const std::size_t colon = rest.find(':');
    if (::access((std::string(rest.substr(0, colon)) + "/nbdcopy").c_str(), X_OK) == 0) return {};
    rest = colon == std::string_view::npos ? std::string_view{} : rest.substr(colon + 1);
  }
  return "nbdcopy is not installed; do: apt-get install libnbd-bin";
}

CopyEnd run_nbdcopy(const std::string& from, const std::string& to, ProgressLine& progress, int stop_descriptor) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) give_up(errno, "pipe");
  const pid_t child = start(from, to, ends[1]);
  ::close(ends[1]);
  bool stopped = false;
  std::string text;
  std::array<char, 256> chunk;
  std::array<pollfd, 2> wanted{{{ends[0], POLLIN, 0}, {stop_descriptor, POLLIN, 0}}};
  for (;;) {                                                     // until nbdcopy closes its end, by ending
    if (::poll(wanted.data(), wanted.size(), -1) < 0) continue;  // EINTR
    if (wanted[1].revents != 0) {
      stopped = true;
      ::kill(child, SIGTERM);
      break;
    }
    const ssize_t n = ::read(ends[0], chunk.data(), chunk.size());
    if (n <= 0) break;
    text.append(chunk.data(), static_cast<std::size_t>(n));
    show_progress(text, progress);
  }
  ::close(ends[0]);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (stopped) return CopyEnd::stopped;
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? CopyEnd::done : CopyEnd::failed;
}

}  // namespace nbdgw::app
