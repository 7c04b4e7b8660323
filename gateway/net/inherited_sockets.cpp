#include "gateway/net/inherited_sockets.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cstddef>

#include "config/address.hpp"
#include "gateway/net/listener.hpp"
#include "gateway/net/stream_socket.hpp"

namespace nbdgw::net {

namespace {

int option(int fd, int name) {
  int value = -1;
  socklen_t length = sizeof value;
  return ::getsockopt(fd, SOL_SOCKET, name, &value, &length) == 0 ? value : -1;
}

std::string path_of(const sockaddr_un& address, socklen_t length) {
  const std::size_t size = length - offsetof(sockaddr_un, sun_path);
  std::string path(address.sun_path, size);
  if (!path.empty() && path.front() == '\0') return "@" + path.substr(1);  // of the abstract kind, as ss(8) shows it
  return path.substr(0, path.find('\0'));
}

/// What it is bound to. Throws ListenError.
config::Endpoint bound_to(int fd, const std::string& shown) {
  sockaddr_storage bound{};
  socklen_t length = sizeof bound;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &length) != 0 || option(fd, SO_TYPE) != SOCK_STREAM ||
      option(fd, SO_ACCEPTCONN) != 1) {
    throw ListenError(shown +
                      ": what systemd passes is no socket that listens; its unit needs ListenStream= and Accept=no");
  }
  config::Endpoint endpoint;
  if (bound.ss_family == AF_UNIX) {
    endpoint.kind = config::Endpoint::Kind::unix_socket;
    endpoint.path = path_of(reinterpret_cast<const sockaddr_un&>(bound), length);
    return endpoint;
  }
  const std::string wrong =
      config::parse_endpoint("tcp://" + address_text(reinterpret_cast<sockaddr*>(&bound), length), endpoint);
  if (!wrong.empty()) throw ListenError(shown + ": what systemd passes is neither a TCP nor a UNIX socket");
  return endpoint;
}

}  // namespace

std::vector<ListeningPlace> InheritedSockets::places(const config::Endpoint& wanted) {
  std::vector<ListeningPlace> taken;
  if (wanted.kind != config::Endpoint::Kind::systemd) {
    taken.emplace_back().endpoint = wanted;
    return taken;
  }
  const std::string shown = config::to_string(wanted);
  for (auto& [name, fd] : sockets_) {
    if (name != wanted.path || !fd) continue;
    ::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
    ListeningPlace& place = taken.emplace_back();
    place.endpoint = bound_to(fd.get(), shown);
    place.inherited = std::move(fd);
  }
  std::erase_if(sockets_, [](const Named& each) { return !each.second; });
  if (!taken.empty()) return taken;
  std::string others;
  for (const auto& [name, fd] : sockets_) others += (others.empty() ? "; it passes " : ", ") + name;
  throw ListenError(shown + ": systemd passes no socket of that name" +
                    (others.empty() ? "; start the gateway by its socket unit, with FileDescriptorName=" + wanted.path
                                    : others + ". Its unit needs FileDescriptorName=" + wanted.path));
}

void InheritedSockets::check_all_taken() const {
  if (sockets_.empty()) return;
  throw ListenError("systemd passes the socket \"" + sockets_.front().first +
                    "\", but no address of the configuration takes it: add systemd:" + sockets_.front().first +
                    " to listen.nbd or listen.admin, or disable its unit");
}

}  // namespace nbdgw::net
