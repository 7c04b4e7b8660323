#include "gateway/net/listener.hpp"

#include <netdb.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <system_error>
#include <utility>

#include "config/address.hpp"
#include "gateway/net/clock.hpp"
#include "gateway/net/log.hpp"
#include "gateway/net/stream_socket.hpp"
#include "gateway/net/tcp_options.hpp"

namespace nbdgw::net {
namespace {

[[noreturn]] void fail(const config::Endpoint& endpoint, const std::string& what) {
  throw ListenError("cannot listen on " + config::to_string(endpoint) + ": " + what);
}

UniqueFd open_socket(int family) {
  return UniqueFd(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

/// That client has gone already, or its network has: the next one may be there (accept(2)). Anything else would only
/// come again and again.
bool is_of_the_client(int error) noexcept {
  constexpr std::array kOfTheClient{ECONNABORTED, EINTR,       EPERM,  EPROTO,    ENOPROTOOPT,  EOPNOTSUPP,
                                    ENETDOWN,     ENETUNREACH, ENONET, EHOSTDOWN, EHOSTUNREACH, ETIMEDOUT};
  return std::ranges::find(kOfTheClient, error) != kOfTheClient.end();
}

bool is_shortage(int error) noexcept {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

const char* advice_on_accept(int error) noexcept {
  switch (error) {
    case EMFILE:
      return "; they wait. Raise the limit of open files (ulimit -n, LimitNOFILE=)";
    case ENFILE:
      return "; they wait. The whole system is at its limit of open files (sysctl fs.file-max)";
    case ENOBUFS:
    case ENOMEM:
      return "; they wait. The system is short of memory";
    default:
      return "; it is tried again every second. If it goes on, restart the gateway";
  }
}

/// What a connect to a UNIX socket comes to: 0, or an errno.
int try_to_connect(const sockaddr_un& address) {
  const UniqueFd probe = open_socket(AF_UNIX);
  if (!probe) return errno;
  return ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ? 0 : errno;
}

const char* kind_of(mode_t mode) noexcept {
  if (S_ISDIR(mode)) return "a folder";
  return S_ISLNK(mode) ? "a symbolic link" : "a file";
}

}  // namespace

Listener::Listener(boost::asio::io_context& control, const config::Endpoint& endpoint, ConnectionLimit& limit,
                   OnClient on_client, ListenerSettings settings, UniqueFd inherited)
    : socket_(control), timer_(control), limit_(limit), on_client_(std::move(on_client)), settings_(settings) {
  if (inherited) {
    take(endpoint, std::move(inherited));
  } else if (endpoint.kind == config::Endpoint::Kind::tcp) {
    listen_tcp(endpoint);
  } else {
    listen_unix(endpoint);
  }
}

Listener::~Listener() {
  stop();
}

std::string Listener::advice(int error) const {
  switch (error) {
    case EADDRINUSE:
      return std::string("another program listens there (ss -ltnp or ss -lxp shows which); stop it or change ") +
             settings_.address;
    case EADDRNOTAVAIL:
      return std::string("this machine has no such address; change ") + settings_.address;
    case EACCES:
      return "not permitted; choose a port above 1023 or a folder that this user may write to";
    case ENOENT:
      return "the folder does not exist; make it first";
    case ENOTDIR:
      return std::string("a part of the path is no folder; change ") + settings_.address;
    default:
      return error_text(error);
  }
}

/// A file left by a gateway that ended without cleaning up must not keep the next one from starting. Only a refused
/// connect proves that nobody has it any more.
void Listener::remove_stale(const config::Endpoint& endpoint, const sockaddr_un& address) const {
  struct stat found {};
  if (::lstat(address.sun_path, &found) != 0) return;  // bind() will say what is wrong, if something is
  const std::string change = std::string(" or change ") + settings_.address;
  if (!S_ISSOCK(found.st_mode)) {
    fail(endpoint, std::string("there is ") + kind_of(found.st_mode) +
                       " of that name which is no socket; remove or rename it," + change);
  }
  switch (const int error = try_to_connect(address); error) {
    case ECONNREFUSED:
      break;
    case ENOENT:
      return;  // it has gone meanwhile
    case 0:
    case EAGAIN:      // its queue is full
    case EPROTOTYPE:  // of another kind than ours, datagrams for one
      fail(endpoint, "another program answers there; stop it" + change);
    default:
      fail(endpoint,
           "there is a socket, and whether a program still uses it cannot be found out: " + error_text(error) +
               "; if none does (ss -lxp shows who), remove it, else stop that program" + change);
  }
  if (::unlink(address.sun_path) != 0) fail(endpoint, "cannot remove the socket left there: " + error_text(errno));
  log::info({}, "removed {}, left by a program that has ended", address.sun_path);
}

void Listener::listen_tcp(const config::Endpoint& endpoint) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int result = ::getaddrinfo(endpoint.host.c_str(), std::to_string(endpoint.port).c_str(), &hints, &found);
  if (result != 0) fail(endpoint, std::string("cannot look up the host: ") + ::gai_strerror(result));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owned(found, ::freeaddrinfo);

  UniqueFd fd = open_socket(found->ai_family);
  if (!fd) fail(endpoint, error_text(errno));
  const int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(fd.get(), found->ai_addr, found->ai_addrlen) != 0) fail(endpoint, advice(errno));
  set_options_to_listen(fd.get());
  if (::listen(fd.get(), SOMAXCONN) != 0) fail(endpoint, advice(errno));
  sockaddr_storage bound{};
  socklen_t length = sizeof bound;
  ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&bound), &length);
  const std::string text = address_text(reinterpret_cast<sockaddr*>(&bound), length);
  address_ = "tcp://" + text;
  port_ = static_cast<std::uint16_t>(std::stoul(text.substr(text.rfind(':') + 1)));
  socket_.assign(fd.release());
}

void Listener::listen_unix(const config::Endpoint& endpoint) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (endpoint.path.size() >= sizeof address.sun_path) {
    fail(endpoint, "the path is longer than " + std::to_string(sizeof address.sun_path - 1) + " bytes");
  }
  std::memcpy(address.sun_path, endpoint.path.c_str(), endpoint.path.size());
  remove_stale(endpoint, address);

  UniqueFd fd = open_socket(AF_UNIX);
  if (!fd) fail(endpoint, error_text(errno));
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    fail(endpoint, advice(errno));
  path_ = endpoint.path;
  struct stat made {};
  // Nobody can connect before listen(), so nobody gets in before the mode is right.
  if (::chmod(path_.c_str(), kUnixSocketMode) != 0 || ::lstat(path_.c_str(), &made) != 0 ||
      ::listen(fd.get(), SOMAXCONN) != 0) {
    fail(endpoint, error_text(errno));
  }
  device_ = made.st_dev;
  inode_ = made.st_ino;
  address_ = "unix://" + path_;
  socket_.assign(fd.release());
}

void Listener::take(const config::Endpoint& endpoint, UniqueFd inherited) {
  address_ = config::to_string(endpoint);
  port_ = endpoint.port;
  set_options_to_listen(inherited.get());
  socket_.assign(inherited.release());
}

void Listener::start() {
  open_ = true;
  const std::string text = "listening on " + address_ + " (" + settings_.address + ")";
  if (settings_.observer != nullptr) {
    settings_.observer->on_listener(ListenerObserver::News::open, text, 0);
  } else {
    log::info({}, "{}", text);
  }
  wait();
}

void Listener::stop() {
  if (std::exchange(open_, false) && settings_.observer != nullptr) {
    settings_.observer->on_listener(ListenerObserver::News::closed, "no longer listening on " + address_, 0);
  }
  timer_.cancel();
  boost::system::error_code ignored;
  socket_.close(ignored);
  struct stat found {};
  if (!path_.empty() && ::lstat(path_.c_str(), &found) == 0 && found.st_dev == device_ && found.st_ino == inode_) {
    ::unlink(path_.c_str());
  }
  path_.clear();
}

void Listener::wait() {
  socket_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                     [this](const boost::system::error_code& error) {
                       if (!error) accept_some();
                     });
}

void Listener::accept_some() {
  for (int i = 0; i < settings_.accepts_per_turn; ++i) {
    UniqueFd fd(::accept4(socket_.native_handle(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd) {
      const int error = errno;
      if (error == EAGAIN || error == EWOULDBLOCK) {
        accepts_again();
        break;
      }
      if (is_of_the_client(error)) continue;
      pause(error);
      return;
    }
    accepts_again();
    ConnectionLimit::Ticket ticket = limit_.take();
    if (!ticket) {
      over_limit(fd.get());
      continue;
    }
    ++counters_.accepted;
    on_client_(std::move(fd), std::move(ticket));
  }
  wait();
}

void Listener::over_limit(int fd) {
  ++counters_.over_limit;
  const proto::Micros now = steady_now();
  if (settings_.observer != nullptr) return settings_.observer->on_sent_away(limit_.lowered(), peer_text(fd), now);
  if (!may_log(now)) return;
  const std::string peer = peer_text(fd);
  log::warn({.client = peer}, "{}: {} sent away, there are {} clients already ({}); {} so far", address_, peer,
            limit_.limit(), limit_.lowered() ? "the limit of open files allows no more" : settings_.limit,
            counters_.over_limit);
}

/// A call of accept() has gone well: if there was trouble it is over.
void Listener::accepts_again() {
  if (failing_since_ == proto::kNever) return;
  const proto::Micros lasting = steady_now() - std::exchange(failing_since_, proto::kNever);
  settings_.observer->on_listener(ListenerObserver::News::back, address_ + ": clients are accepted again", lasting);
}

void Listener::pause(int error) {
  if (is_shortage(error)) ++counters_.out_of_fds;
  const proto::Micros now = steady_now();
  const std::string text = address_ + ": cannot accept clients: " + error_text(error) + advice_on_accept(error);
  if (settings_.observer == nullptr) {
    if (may_log(now)) log::error({}, "{}", text);
  } else if (failing_since_ == proto::kNever) {
    failing_since_ = now;
    settings_.observer->on_listener(ListenerObserver::News::failing, text, 0);
  }
  timer_.expires_after(std::chrono::microseconds(kAcceptPause));
  timer_.async_wait([this](const boost::system::error_code& cancelled) {
    if (!cancelled) accept_some();
  });
}

bool Listener::may_log(proto::Micros now) {
  if (now - logged_at_ < kAcceptLogInterval) return false;
  logged_at_ = now;
  return true;
}

}  // namespace nbdgw::net
