#include "gateway/net/log_outlet.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <exception>

#include "gateway/net/clock.hpp"

namespace nbdgw::net::log {

namespace {

/// How long it waits before it looks again whether it shall give up.
constexpr int kLookMs = 50;
/// Bytes at a time: a pipe that has room at all has so much (PIPE_BUF), so that the write does not block.
constexpr std::size_t kPiece = 4096;

bool is_late(const std::atomic<proto::Micros>& give_up_at) noexcept {
  const proto::Micros limit = give_up_at.load(std::memory_order_relaxed);
  return limit != proto::kNever && steady_now() >= limit;
}

/// Waits until there is room. False: too late, or there will never be any.
bool wait_for_room(int fd, const std::atomic<proto::Micros>& give_up_at) noexcept {
  for (;;) {
    pollfd wanted{fd, POLLOUT, 0};
    const int n = ::poll(&wanted, 1, kLookMs);
    if (n > 0) return (wanted.revents & POLLOUT) != 0 && (wanted.revents & (POLLERR | POLLNVAL)) == 0;
    if (n < 0 && errno != EINTR) return false;
    if (is_late(give_up_at)) return false;
  }
}

bool is_of_kind(int fd, mode_t kind) noexcept {
  struct stat found {};
  return ::fstat(fd, &found) == 0 && (found.st_mode & S_IFMT) == kind;
}

bool is_colour_terminal(int fd) noexcept {
  const char* const term = std::getenv("TERM");
  return ::isatty(fd) != 0 && term != nullptr && std::strcmp(term, "dumb") != 0;
}

}  // namespace

config::LogFormat format_for(config::LogFormat wanted, int fd, const char* journal_stream) noexcept {
  if (wanted != config::LogFormat::automatic) return wanted;
  struct stat found {};
  if (journal_stream == nullptr || ::fstat(fd, &found) != 0) return config::LogFormat::text;
  char* end = nullptr;
  const unsigned long long device = std::strtoull(journal_stream, &end, 10);
  if (*end != ':') return config::LogFormat::text;
  const unsigned long long inode = std::strtoull(end + 1, &end, 10);
  return *end == '\0' && device == found.st_dev && inode == found.st_ino ? config::LogFormat::journal
                                                                         : config::LogFormat::text;
}

Outlet::Outlet(int fd, config::LogFormat format, std::string journal_socket)
    : fd_(fd),
      format_(format),
      journal_socket_(std::move(journal_socket)),
      colours_(is_colour_terminal(fd)),
      is_socket_(is_of_kind(fd, S_IFSOCK)) {
  if (format_ == config::LogFormat::journal) journal_ = UniqueFd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
}

bool Outlet::put(const Line& line, const std::atomic<proto::Micros>& give_up_at) noexcept {
  if (is_late(give_up_at)) return false;  // once for each of thousands of lines, so without a wait
  try {
    switch (format_) {
      case config::LogFormat::json:
        return write_all(json_form(line), give_up_at);
      case config::LogFormat::journal:
        switch (send_to_journal(line, give_up_at)) {
          case Sent::yes:
            return true;
          case Sent::given_up:
            return false;
          case Sent::no_journal:
            return write_all(marked_form(line), give_up_at);
        }
        return false;
      case config::LogFormat::automatic:
      case config::LogFormat::text:
        break;
    }
    return write_all(text_form(line, colours_), give_up_at);
  } catch (const std::exception&) {
    return false;  // no memory for it
  }
}

Outlet::Sent Outlet::send_to_journal(const Line& line, const std::atomic<proto::Micros>& give_up_at) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (!journal_ || journal_socket_.size() >= sizeof address.sun_path) return Sent::no_journal;
  std::memcpy(address.sun_path, journal_socket_.c_str(), journal_socket_.size() + 1);
  const std::string datagram = journal_form(line);
  for (;;) {
    // By its name each time: a journal that was started anew is another socket.
    if (::sendto(journal_.get(), datagram.data(), datagram.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
                 reinterpret_cast<const sockaddr*>(&address), sizeof address) >= 0)
      return Sent::yes;
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK && errno != ENOBUFS) return Sent::no_journal;
    // Its queue is full, which poll() does not tell of a socket that is not connected.
    if (is_late(give_up_at)) return Sent::given_up;
    ::poll(nullptr, 0, kLookMs);
  }
}

bool Outlet::write_all(std::string_view bytes, const std::atomic<proto::Micros>& give_up_at) noexcept {
  while (!bytes.empty()) {
    if (!wait_for_room(fd_, give_up_at)) return false;
    const std::size_t piece = std::min(bytes.size(), kPiece);
    const ssize_t n = is_socket_ ? ::send(fd_, bytes.data(), piece, MSG_NOSIGNAL | MSG_DONTWAIT)
                                 : ::write(fd_, bytes.data(), piece);
    if (n >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(n));
    } else if (errno != EINTR && errno != EAGAIN && errno != EWOULDBLOCK) {
      return false;
    } else if (is_late(give_up_at)) {
      return false;
    }
  }
  return true;
}

}  // namespace nbdgw::net::log
