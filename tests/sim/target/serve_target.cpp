// nbdgw-sim-target: the model of an array behind real sockets, for initiators that others wrote.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/sim/target/target_model.hpp"

namespace nbdgw::sim {
namespace {

/// What the model leaves unsent beyond this keeps its reader waiting.
constexpr std::size_t kMostUnsent = 64 << 20;

volatile sig_atomic_t wanted_to_end = 0;

[[noreturn]] void fail(const char* call) {
  throw std::runtime_error(std::string(call) + ": " + std::strerror(errno));
}

Micros real_now() {
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

/// A TCP connection of an initiator.
class RealLine final : public Line {
 public:
  RealLine(int fd, Controller& controller) : fd_(fd), port_(controller.connect(*this)) {}
  ~RealLine() {
    if (fd_ >= 0) ::close(fd_);
  }
  RealLine(const RealLine&) = delete;
  RealLine& operator=(const RealLine&) = delete;

  void send(std::span<const Piece> pieces) override {
    for (const Piece& piece : pieces) {
      const Bytes bytes = piece.bytes();  // all are plain: main()
      out_.insert(out_.end(), bytes.begin(), bytes.end());
    }
    transmit();
  }
  std::size_t backlog() const override { return out_.size() - sent_; }
  void read(bool on) override { reads_ = on; }
  void stall(bool yes) override { stalled_ = yes; }
  void half_close() override { closing_ = true; }
  void close() override {
    let_go();
    closing_ = true;
    transmit();
  }
  void reset() override {
    let_go();
    const linger at_once{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    out_.clear();
    sent_ = 0;
    over_ = true;
  }
  /// The nearest thing that a real connection has.
  void vanish() override { reset(); }

  bool over() const noexcept { return over_; }
  pollfd question() const noexcept {
    const bool takes = reads_ && !stalled_ && !ended_ && backlog() < kMostUnsent;
    return {
        .fd = fd_, .events = static_cast<short>((takes ? POLLIN : 0) | (backlog() > 0 ? POLLOUT : 0)), .revents = 0};
  }
  void answer(short events) {
    if ((events & (POLLIN | POLLHUP | POLLERR)) != 0) receive();
    if ((events & POLLOUT) != 0 && !over_) transmit();
  }

 private:
  /// The model knows it no more; what is unsent leaves all the same.
  void let_go() noexcept { let_go_ = ended_ = true; }

  void receive() {
    static std::array<std::uint8_t, 1 << 18> room;
    const ssize_t got = ::recv(fd_, room.data(), room.size(), 0);
    if (got > 0) {
      if (!let_go_) port_.on_bytes(Bytes(room.data(), static_cast<std::size_t>(got)));
      return;
    }
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    lost(got < 0);
  }
  void lost(bool reset) {
    if (let_go_ || reset) over_ = true;
    const bool known = let_go_ || (!reset && ended_);
    ended_ = true;
    if (!known) port_.on_end(reset);
  }
  void transmit() {
    while (backlog() > 0 && !stalled_) {
      const ssize_t part = ::send(fd_, out_.data() + sent_, backlog(), MSG_NOSIGNAL);
      if (part < 0 && errno != EAGAIN && errno != EINTR) sent_ = out_.size();  // receive() hears of it
      if (part <= 0) break;
      sent_ += static_cast<std::size_t>(part);
    }
    if (backlog() > 0) return;
    out_.clear();
    sent_ = 0;
    if (!closing_) return;
    ::shutdown(fd_, SHUT_WR);
    closing_ = false;
    if (let_go_) over_ = true;
  }

  int fd_;
  std::vector<std::uint8_t> out_;
  std::size_t sent_ = 0;
  bool reads_ = true;
  bool stalled_ = false;
  bool closing_ = false;  // when all is sent
  bool ended_ = false;    // the initiator sends no more, or nobody listens
  bool let_go_ = false;
  bool over_ = false;
  ConnectionPort port_;
};

int listen_on_loopback() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* const plain = reinterpret_cast<sockaddr*>(&address);
  if (fd < 0 || ::bind(fd, plain, length) != 0 || ::listen(fd, 64) != 0) fail("listen");
  if (::getsockname(fd, plain, &length) != 0) fail("getsockname");
  std::printf("port %d\n", ntohs(address.sin_port));
  std::fflush(stdout);
  return fd;
}

/// What the initiator does against the rules, as seen by the model.
class Told final : public ProtocolComplaints {
 public:
  void on_violation(const std::string& what) override { std::fprintf(stderr, "%s\n", what.c_str()); }
};

class Server {
 public:
  Server(const TargetOptions& options, std::uint64_t seed)
      : target_(timeline_, Random(seed), options),
        listener_(listen_on_loopback()),
        ahead_(timeline_.now() - real_now()) {}
  ~Server() {
    lines_.clear();
    ::close(listener_);
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  void run(const sigset_t& while_waiting) {
    std::vector<pollfd> asked;
    while (wanted_to_end == 0) {
      std::erase_if(lines_, [](const auto& line) { return line->over(); });
      asked.assign(1, {.fd = listener_, .events = POLLIN, .revents = 0});
      for (const auto& line : lines_) asked.push_back(line->question());
      if (wait(asked, while_waiting) < 0 && errno != EINTR) fail("ppoll");
      timeline_.advance(std::max(now(), timeline_.now()));
      for (std::size_t i = 1; i < asked.size(); ++i) {
        if (asked[i].revents != 0 && !lines_[i - 1]->over()) lines_[i - 1]->answer(asked[i].revents);
      }
      if (asked[0].revents != 0) accept();
    }
  }

 private:
  Micros now() const { return real_now() + ahead_; }

  int wait(std::vector<pollfd>& asked, const sigset_t& while_waiting) const {
    timespec limit{};
    const bool forever = timeline_.next() == proto::kNever;
    if (!forever) {
      const Micros left = std::max<Micros>(0, timeline_.next() - now());
      limit = {.tv_sec = left / proto::kSecond, .tv_nsec = left % proto::kSecond * 1000};
    }
    for (pollfd& each : asked) each.revents = 0;
    return ::ppoll(asked.data(), asked.size(), forever ? nullptr : &limit, &while_waiting);
  }

  void accept() {
    const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) return;
    const int at_once = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof at_once);
    lines_.push_back(std::make_unique<RealLine>(fd, target_.controller(0)));
  }

  Timeline timeline_;
  Target target_;
  const int listener_;
  const Micros ahead_;
  std::vector<std::unique_ptr<RealLine>> lines_;
};

/// Without a seed (0) a target of no peculiarities, with one those that the world draws of it. No faults.
TargetOptions options_of(std::uint64_t seed, ProtocolComplaints& complaints) {
  TargetOptions options;
  options.controllers = {{.addresses = {"127.0.0.1:3260"}, .group_tag = 1}};
  options.luns = {{.number = 0, .medium = 0}};
  options.media = {MediumOptions{}};
  options.complaints = &complaints;
  if (seed == 0) return options;
  Random random(seed);
  options.habits = TargetHabits::draw(random);
  return options;
}

void serve(std::uint64_t seed) {
  sigset_t ends, before;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  ::sigprocmask(SIG_BLOCK, &ends, &before);
  struct sigaction action {};
  action.sa_handler = [](int) { wanted_to_end = 1; };
  ::sigaction(SIGTERM, &action, nullptr);
  ::sigaction(SIGINT, &action, nullptr);
  Told told;
  Server(options_of(seed, told), seed).run(before);
}

}  // namespace
}  // namespace nbdgw::sim

int main(int argc, char** argv) try {
  if (argc > 2) throw std::runtime_error("usage: nbdgw-sim-target [SEED]");
  nbdgw::sim::keep_of_payload(nbdgw::sim::kCellBytes);
  nbdgw::sim::serve(argc == 2 ? std::stoull(argv[1]) : 0);
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 2;
}
