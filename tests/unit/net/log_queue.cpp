#include "gateway/net/log_queue.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "gateway/net/clock.hpp"
#include "tests/unit/waiting.hpp"

using namespace nbdgw;
using config::LogFormat;
using net::log::Level;
using net::log::Line;
using net::log::Outlet;
using net::log::Queue;

namespace {

constexpr int kLong = 20'000;  // ms: a test that waits for so long has failed

struct Pipe {
  Pipe() {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    out = net::UniqueFd(ends[0]);
    in = net::UniqueFd(ends[1]);
  }
  /// What comes until so many lines are there.
  std::string read_lines(std::size_t lines) {
    while (std::ranges::count(text, '\n') < static_cast<std::ptrdiff_t>(lines)) {
      pollfd wanted{out.get(), POLLIN, 0};
      REQUIRE(::poll(&wanted, 1, kLong) == 1);
      char buffer[4096];
      const ssize_t n = ::read(out.get(), buffer, sizeof buffer);
      REQUIRE(n > 0);
      text.append(buffer, static_cast<std::size_t>(n));
    }
    return text;
  }
  /// Sums up what it was told of dropped lines.
  std::uint64_t told() const {
    std::uint64_t sum = 0;
    each_notice([&sum](std::string_view number) { sum += std::stoul(std::string(number)); });
    return sum;
  }
  std::size_t notices() const {
    std::size_t count = 0;
    each_notice([&count](std::string_view) { ++count; });
    return count;
  }
  template <typename Take>
  void each_notice(Take take) const {
    constexpr std::string_view kBegin = " warn log: ";
    for (std::size_t at = text.find(kBegin); at != std::string::npos; at = text.find(kBegin, at + 1)) {
      const std::string_view rest = std::string_view(text).substr(at + kBegin.size());
      if (rest.find('\n') != std::string_view::npos) take(rest.substr(0, rest.find(' ')));
    }
  }

  net::UniqueFd out, in;
  std::string text;
};

Line line(std::string message, Level level = Level::info) {
  Line made;
  made.level = level;
  made.message = std::move(message);
  return made;
}

struct Folder {
  Folder() { REQUIRE(::mkdtemp(path.data()) != nullptr); }
  ~Folder() {
    ::unlink(file("journal").c_str());
    ::rmdir(path.c_str());
  }
  std::string file(const char* name) const { return path + "/" + name; }
  std::string path = "/tmp/nbdgw-log-XXXXXX";
};

net::UniqueFd listen_as_journal(const std::string& path) {
  net::UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.size());
  REQUIRE(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  return fd;
}

std::uint64_t milliseconds_of(const std::function<void()>& work) {
  const proto::Micros begin = net::steady_now();
  work();
  return static_cast<std::uint64_t>((net::steady_now() - begin) / proto::kMillisecond);
}

}  // namespace

TEST_CASE("log queue: lines come out in their order, and all of them at the end") {
  Pipe pipe;
  Queue queue(Outlet(pipe.in.get(), LogFormat::text));
  for (int i = 0; i < 200; ++i) queue.put(line(fmt::format("line {}", i)));
  queue.finish(10 * proto::kSecond);
  const std::string text = pipe.read_lines(200);
  std::size_t at = 0;
  for (int i = 0; i < 200; ++i) at = text.find(fmt::format("info line {}\n", i), at);
  CHECK(at != std::string::npos);
  const std::uint64_t before = net::log::dropped();
  queue.put(line("too late"));
  CHECK(net::log::dropped() == before + 1);
}

TEST_CASE("log queue: a reader that does not read costs lines, no time, and is told of them in their place") {
  Pipe pipe;
  Queue queue(Outlet(pipe.in.get(), LogFormat::text), {}, {.lines = 100, .bytes = 1 << 20});
  const std::uint64_t before = net::log::dropped();
  constexpr int kLines = 5000;
  const std::string filler(200, 'x');  // 5000 of them are more than a pipe holds
  CHECK(milliseconds_of([&] {
          for (int i = 0; i < kLines; ++i) queue.put(line(fmt::format("line {} {}", i, filler)));
        }) < 5000);
  const std::uint64_t dropped = net::log::dropped() - before;
  CHECK(dropped > 1000);
  // A warning has a place that lesser lines have not.
  queue.put(line("important", Level::warn));
  CHECK(net::log::dropped() - before == dropped);
  // Told once or several times, as often as there was room again.
  std::size_t lines = 0;
  const auto important = [&pipe] { return pipe.text.find("warn important\n") != std::string::npos; };
  while (pipe.told() < dropped || !important()) pipe.read_lines(++lines);
  CHECK(pipe.told() == dropped);
  queue.put(line("afterwards"));
  queue.finish(10 * proto::kSecond);
  const auto all = static_cast<std::size_t>(kLines) - dropped + 2 + pipe.notices();
  CHECK(pipe.read_lines(all).ends_with("afterwards\n"));
}

TEST_CASE("log queue: what was dropped is told before the next line, and also if there is none") {
  Pipe pipe;
  Queue queue(Outlet(pipe.in.get(), LogFormat::text), {}, {.lines = 4, .bytes = 1 << 20});
  const std::uint64_t before = net::log::dropped();
  while (net::log::dropped() < before + 10) queue.put(line(std::string(2000, 'x')));
  std::string text;
  for (std::size_t lines = 1; text.find("belong here") == std::string::npos; ++lines) text = pipe.read_lines(lines);
  CHECK(text.find("log: 10 line(s)") != std::string::npos);
  queue.finish(proto::kSecond);
}

TEST_CASE("log queue: the end is in time while the reader hangs") {
  Pipe pipe;
  Queue queue(Outlet(pipe.in.get(), LogFormat::text));
  for (int i = 0; i < 2000; ++i) queue.put(line(std::string(1000, 'x')));
  const std::uint64_t took = milliseconds_of([&] { queue.finish(300 * proto::kMillisecond); });
  CHECK(took >= 250);
  CHECK(took < 5000);
  CHECK(milliseconds_of([&] { queue.finish(10 * proto::kSecond); }) < 1000);  // once is enough
}

TEST_CASE("log queue: a reader that has gone is no trouble, nor is a descriptor that is closed") {
  Pipe pipe;
  pipe.out.reset();
  Queue queue(Outlet(pipe.in.get(), LogFormat::text));
  Queue nowhere(Outlet(-1, LogFormat::json));
  const std::uint64_t before = net::log::dropped();
  for (int i = 0; i < 100; ++i) {
    queue.put(line("for nobody"));
    nowhere.put(line("for nobody"));
  }
  queue.wait_written(kLong);
  queue.finish(10 * proto::kSecond);
  nowhere.finish(10 * proto::kSecond);
  CHECK(net::log::dropped() >= before + 200);
}

TEST_CASE("log queue: bytes are bounded as lines are") {
  Pipe pipe;
  Queue queue(Outlet(pipe.in.get(), LogFormat::text), {}, {.lines = 100'000, .bytes = 1 << 20});
  const std::uint64_t before = net::log::dropped();
  for (int i = 0; i < 1000; ++i) queue.put(line(std::string(3000, 'x')));
  CHECK(net::log::dropped() > before + 500);
}

TEST_CASE("log queue: its thread looks what is due about once a second") {
  Pipe pipe;
  std::atomic<int> ticks = 0;
  Queue queue(Outlet(pipe.in.get(), LogFormat::text), [&ticks](proto::Micros) { ++ticks; });
  test::until([&] { return ticks >= 2; });
  queue.finish(proto::kSecond);
}

TEST_CASE("log outlet: the journal has its own protocol, and standard error when it is away") {
  const Folder folder;
  Pipe pipe;
  const std::atomic<proto::Micros> never{proto::kNever};
  Outlet outlet(pipe.in.get(), LogFormat::journal, folder.file("journal"));
  CHECK(outlet.put(line("before", Level::error), never));
  CHECK(pipe.read_lines(1) == "<3>before\n");
  {
    const net::UniqueFd journal = listen_as_journal(folder.file("journal"));
    Line one = line("hello");
    one.exported = "vol0";
    CHECK(outlet.put(one, never));
    char buffer[1024];
    const ssize_t n = ::recv(journal.get(), buffer, sizeof buffer, MSG_DONTWAIT);
    REQUIRE(n > 0);
    const std::string got(buffer, static_cast<std::size_t>(n));
    CHECK(got.find("MESSAGE=hello\n") != std::string::npos);
    CHECK(got.find("EXPORT=vol0\n") != std::string::npos);
    // It hangs: nothing of it is read any more.
    const std::atomic<proto::Micros> soon{net::steady_now() + 200 * proto::kMillisecond};
    bool taken = true;
    while (taken) taken = outlet.put(one, soon);
    CHECK(net::steady_now() >= soon);
  }
  CHECK(outlet.put(line("after"), never));
  CHECK(pipe.read_lines(2) == "<3>before\n<6>after\n");
}

TEST_CASE("log outlet: the form that is wanted, and the one that the surroundings ask for") {
  using net::log::format_for;
  Pipe pipe;
  struct stat found {};
  REQUIRE(::fstat(pipe.in.get(), &found) == 0);
  const std::string ours = fmt::format("{}:{}", found.st_dev, found.st_ino);
  const std::string others = fmt::format("{}:{}", found.st_dev, found.st_ino + 1);
  CHECK(format_for(LogFormat::automatic, pipe.in.get(), ours.c_str()) == LogFormat::journal);
  CHECK(format_for(LogFormat::automatic, pipe.in.get(), others.c_str()) == LogFormat::text);
  CHECK(format_for(LogFormat::automatic, pipe.in.get(), nullptr) == LogFormat::text);
  CHECK(format_for(LogFormat::automatic, pipe.in.get(), "") == LogFormat::text);
  CHECK(format_for(LogFormat::automatic, pipe.in.get(), (ours + "x").c_str()) == LogFormat::text);
  CHECK(format_for(LogFormat::automatic, -1, ours.c_str()) == LogFormat::text);
  CHECK(format_for(LogFormat::json, pipe.in.get(), ours.c_str()) == LogFormat::json);
}
