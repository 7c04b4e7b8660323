#include "gateway/app/restart_store.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#ifdef NBDGW_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

#include "config/units.hpp"
#include "gateway/app/kept_state_text.hpp"
#include "gateway/net/log.hpp"
#include "gateway/net/stream_socket.hpp"
#include "proto/time.hpp"

namespace nbdgw::app {

namespace {

constexpr const char* kStateName = "nbdgw-state";

/// -1: the kernel does not tell.
int socket_option(int fd, int name) {
  int value = -1;
  socklen_t length = sizeof value;
  return ::getsockopt(fd, SOL_SOCKET, name, &value, &length) == 0 ? value : -1;
}

}  // namespace

#ifdef NBDGW_SYSTEMD

namespace {

using Named = net::InheritedSockets::Named;

/// How long systemd may take to say that it has done what we told it.
constexpr proto::Micros kBarrier = 5 * proto::kSecond;
/// A state larger than this is none of ours: unread bytes of all clients that a gateway can have.
constexpr std::size_t kMaxState = std::size_t{1} << 30;

/// Descriptors that the store takes.
std::size_t places() {
  const char* const told = std::getenv("FDSTORE");
  return told == nullptr ? 0 : std::strtoul(told, nullptr, 10);
}

/// systemd has done all that it was told before.
bool done_by_now() {
  if (const int result = ::sd_notify_barrier(0, static_cast<std::uint64_t>(kBarrier)); result <= 0) {
    net::log::error({}, "the service manager does not answer: {}", net::error_text(-result));
    return false;
  }
  return true;
}

bool store(const std::string& name, int fd) {
  const int result = ::sd_pid_notify_with_fds(0, 0, ("FDSTORE=1\nFDNAME=" + name).c_str(), &fd, 1);
  if (result <= 0) net::log::error({}, "the service manager does not take {}: {}", name, net::error_text(-result));
  return result > 0;
}

/// A file in memory with this content; none if the system has no memory.
net::UniqueFd memory_file(const std::string& content) {
  net::UniqueFd file(::memfd_create(kStateName, MFD_CLOEXEC));
  for (std::size_t written = 0; file && written < content.size();) {
    const ssize_t n = ::write(file.get(), content.data() + written, content.size() - written);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return {};
    written += static_cast<std::size_t>(n);
  }
  return file;
}

std::string content_of(int fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0 || status.st_size < 0 || static_cast<std::uint64_t>(status.st_size) > kMaxState)
    throw std::runtime_error("it cannot be read");
  std::string content(static_cast<std::size_t>(status.st_size), '\0');
  for (std::size_t got = 0; got < content.size();) {
    const ssize_t n = ::pread(fd, content.data() + got, content.size() - got, static_cast<off_t>(got));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) throw std::runtime_error("it cannot be read");
    got += static_cast<std::size_t>(n);
  }
  return content;
}

bool let_go_of(const std::vector<Named>& passed) {
  for (const auto& [name, fd] : passed) ::sd_notify(0, ("FDSTOREREMOVE=1\nFDNAME=" + name).c_str());
  return done_by_now();
}

shard::KeptState unpack(std::vector<Named> passed) {
  const auto state = std::ranges::find(passed, kStateName, &Named::first);
  if (state == passed.end()) throw std::runtime_error("what they were doing is not there");
  const std::string text = content_of(state->second.get());
  return parse_kept_state(text, std::move(passed));
}

}  // namespace

RestartStore::RestartStore(std::vector<Named> passed) {
  if (passed.empty()) return;
  try {
    if (!let_go_of(passed)) {
      // It holds the sockets, too, so that to close ours would not end the connections.
      for (const auto& [name, fd] : passed) ::shutdown(fd.get(), SHUT_RDWR);
      throw std::runtime_error("the store does not let go of them");
    }
    kept_ = unpack(std::move(passed));
  } catch (const std::runtime_error& error) {
    net::log::error({}, "the process before this one has left clients, but {}: their connections are closed",
                    error.what());
  }
}

bool RestartStore::is_there() const noexcept {
  return std::getenv("NOTIFY_SOCKET") != nullptr && places() > 0;
}

bool RestartStore::put(const shard::KeptState& state) {
  if (state.clients.empty() && state.exports.empty()) return true;
  const std::string content = kept_state_text(state);
  const net::UniqueFd text = content.size() > kMaxState ? net::UniqueFd() : memory_file(content);
  if (!text) {
    net::log::error({}, "no memory to say what {} client(s) were doing: they lose their connections",
                    state.clients.size());
    return false;
  }
  const std::size_t room = places() - 1;
  if (state.clients.size() > room) {
    net::log::warn({},
                   "{} of {} clients lose their connections, as the service manager's store has no room for them "
                   "(FileDescriptorStoreMax={}; it takes limits.connections + 1)",
                   state.clients.size() - room, state.clients.size(), places());
  }
  const std::size_t kept = std::min(room, state.clients.size());
  bool all = store(kStateName, text.get());
  for (std::size_t i = 0; i < kept; ++i) {
    const shard::KeptClient& client = state.clients[i];
    all = store(client_name(i, client.connection), client.fd.get()) && all;
  }
  if (!done_by_now() || !all) return false;
  net::log::info({}, "{} client(s) are left with the service manager, for the next process", kept);
  return true;
}

#else

RestartStore::RestartStore(std::vector<net::InheritedSockets::Named>) {}
bool RestartStore::is_there() const noexcept {
  return false;
}
bool RestartStore::put(const shard::KeptState&) {
  return false;
}

#endif

bool RestartStore::is_stored(const std::string& name, int fd) {
  if (name == kStateName) return ::fcntl(fd, F_GET_SEALS) != -1;  // a file in memory
  if (!name.starts_with(client_name_prefix())) return false;
  const auto number = config::parse_integer(std::string_view(name).substr(client_name_prefix().size()));
  return number && socket_option(fd, SO_TYPE) == SOCK_STREAM && socket_option(fd, SO_ACCEPTCONN) == 0;
}

}  // namespace nbdgw::app
