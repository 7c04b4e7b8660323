#include "config/address.hpp"

#include <arpa/inet.h>
#include <sys/un.h>

#include <algorithm>

#include "config/units.hpp"

namespace nbdgw::config {

namespace {

constexpr std::size_t kMaxHostName = 253;  // RFC 1035 section 2.3.4, without the last dot
constexpr std::size_t kMaxUnixPath = sizeof(sockaddr_un::sun_path) - 1;

bool valid_ipv6(std::string_view text) {
  in6_addr address;
  const std::size_t zone = text.find('%');
  if (zone != std::string_view::npos && zone + 1 == text.size()) return false;
  return inet_pton(AF_INET6, std::string(text.substr(0, zone)).c_str(), &address) == 1;
}

bool valid_ipv4(std::string_view text) {
  in_addr address;
  return inet_pton(AF_INET, std::string(text).c_str(), &address) == 1;
}

bool valid_host_name(std::string_view text) {
  if (text.empty() || text.size() > kMaxHostName || text.front() == '.' || text.front() == '-') return false;
  if (text.find("..") != std::string_view::npos) return false;
  return std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
           c == '_';
  });
}

std::string check_host(std::string_view host) {
  if (host == "*") return "\"*\" is no address: for all addresses of this machine, write 0.0.0.0 or [::]";
  if (host.find_first_not_of("0123456789.") == std::string_view::npos && !host.empty()) {
    return valid_ipv4(host) ? "" : "\"" + std::string(host) + "\" is no IPv4 address";
  }
  return valid_host_name(host) ? "" : "\"" + std::string(host) + "\" is neither an address nor a host name";
}

std::string bracketed(const std::string& host) {
  return host.find(':') == std::string::npos ? host : "[" + host + "]";
}

constexpr std::string_view kTcp = "tcp://";
constexpr std::string_view kUnix = "unix://";
constexpr std::string_view kHttp = "http://";
constexpr std::string_view kHttps = "https://";
constexpr std::string_view kSystemd = "systemd:";
constexpr std::string_view kHttpsSystemd = "https+systemd:";
constexpr std::size_t kMaxSystemdName = 255;  // systemd.socket(5), FileDescriptorName=

std::string parse_tcp(std::string_view rest, std::uint16_t default_port, Endpoint& endpoint) {
  endpoint.kind = Endpoint::Kind::tcp;
  return parse_host_port(rest, default_port, endpoint.host, endpoint.port);
}

/// `purpose` names the socket in the example.
std::string parse_unix(std::string_view path, const char* purpose, Endpoint& endpoint) {
  endpoint.kind = Endpoint::Kind::unix_socket;
  endpoint.path = path;
  if (!path.starts_with('/'))
    return std::string("the path of a UNIX socket is absolute: unix:///run/nbdgw/") + purpose + ".sock";
  if (path.ends_with('/')) return "\"" + endpoint.path + "\" names a folder, not a socket";
  if (path.size() > kMaxUnixPath) {
    return "the path has " + std::to_string(path.size()) + " bytes; the system allows " +
           std::to_string(kMaxUnixPath);
  }
  return {};
}

/// Of systemd.socket(5), FileDescriptorName=: visible ASCII without a colon.
std::string parse_systemd(std::string_view name, Endpoint& endpoint) {
  endpoint.kind = Endpoint::Kind::systemd;
  endpoint.path = name;
  const bool good = !name.empty() && name.size() <= kMaxSystemdName &&
                    std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c < 0x7f && c != ':'; });
  return good ? "" : "behind systemd: comes a socket's FileDescriptorName=, such as systemd:nbd";
}

}  // namespace

std::string parse_host_port(std::string_view text, std::uint16_t default_port, std::string& host,
                            std::uint16_t& port) {
  std::string_view rest;
  std::string_view name;
  if (text.starts_with('[')) {
    const std::size_t end = text.find(']');
    if (end == std::string_view::npos) return "the closing bracket of the IPv6 address is missing";
    name = text.substr(1, end - 1);
    rest = text.substr(end + 1);
    if (!valid_ipv6(name)) return "\"" + std::string(name) + "\" is no IPv6 address";
    if (!rest.empty() && rest.front() != ':') return "after the closing bracket only :PORT may follow";
  } else {
    if (std::count(text.begin(), text.end(), ':') > 1) {
      return valid_ipv6(text) ? "an IPv6 address needs brackets: [" + std::string(text) + "]"
                              : "expected HOST:PORT, or [ADDRESS]:PORT for an IPv6 address";
    }
    const std::size_t colon = text.find(':');
    name = text.substr(0, colon);
    rest = colon == std::string_view::npos ? std::string_view{} : text.substr(colon);
    if (std::string wrong = check_host(name); !wrong.empty()) return wrong;
  }
  port = default_port;
  if (!rest.empty()) {
    const auto number = parse_integer(rest.substr(1));
    if (!number || *number > 65535) {
      return "\"" + std::string(rest.substr(1)) + "\" is no port: expected a number up to 65535";
    }
    port = static_cast<std::uint16_t>(*number);
  }
  host = name;
  return {};
}

std::string parse_portal(std::string_view text, Portal& portal) {
  if (text.find("://") != std::string_view::npos)
    return "expected HOST:PORT without a scheme, such as 192.0.2.10:3260";
  if (text.find(',') != std::string_view::npos) return "a portal group tag (\",1\") does not belong here";
  std::string wrong = parse_host_port(text, kIscsiPort, portal.host, portal.port);
  if (wrong.empty() && portal.port == 0) return "port 0 cannot be connected to; iSCSI's is 3260";
  return wrong;
}

std::string parse_endpoint(std::string_view text, Endpoint& endpoint) {
  if (text.starts_with(kTcp)) return parse_tcp(text.substr(kTcp.size()), kNbdPort, endpoint);
  if (text.starts_with(kUnix)) return parse_unix(text.substr(kUnix.size()), "nbd", endpoint);
  return "expected tcp://HOST:PORT or unix:///PATH";
}

std::string parse_admin_endpoint(std::string_view text, AdminEndpoint& address) {
  address.tls = text.starts_with(kHttps);
  if (text.starts_with(kUnix)) return parse_unix(text.substr(kUnix.size()), "admin", address.endpoint);
  if (!text.starts_with(kHttp) && !address.tls) return "expected http://HOST:PORT, https://HOST:PORT or unix:///PATH";
  text.remove_prefix(address.tls ? kHttps.size() : kHttp.size());
  if (text.find('/') != std::string_view::npos) return "behind the port nothing may follow: write HOST:PORT alone";
  return parse_tcp(text, kAdminPort, address.endpoint);
}

std::string parse_listen_address(std::string_view text, Endpoint& endpoint) {
  if (text.starts_with(kSystemd)) return parse_systemd(text.substr(kSystemd.size()), endpoint);
  const std::string wrong = parse_endpoint(text, endpoint);
  return text.starts_with(kTcp) || text.starts_with(kUnix) ? wrong : wrong + ", or systemd:NAME";
}

std::string parse_admin_listen_address(std::string_view text, AdminEndpoint& address) {
  address.tls = text.starts_with(kHttpsSystemd);
  if (address.tls) return parse_systemd(text.substr(kHttpsSystemd.size()), address.endpoint);
  if (text.starts_with(kSystemd)) return parse_systemd(text.substr(kSystemd.size()), address.endpoint);
  return parse_admin_endpoint(text, address);
}

std::string to_string(const Portal& portal) {
  return bracketed(portal.host) + ":" + std::to_string(portal.port);
}

std::string to_string(const Endpoint& endpoint) {
  if (endpoint.kind == Endpoint::Kind::unix_socket) return "unix://" + endpoint.path;
  if (endpoint.kind == Endpoint::Kind::systemd) return std::string(kSystemd) + endpoint.path;
  return "tcp://" + bracketed(endpoint.host) + ":" + std::to_string(endpoint.port);
}

std::string to_string(const AdminEndpoint& address) {
  if (address.endpoint.kind == Endpoint::Kind::unix_socket) return to_string(address.endpoint);
  if (address.endpoint.kind == Endpoint::Kind::systemd)
    return std::string(address.tls ? kHttpsSystemd : kSystemd) + address.endpoint.path;
  const Portal place{address.endpoint.host, address.endpoint.port};
  return std::string(address.tls ? kHttps : kHttp) + to_string(place);
}

bool is_local(const Endpoint& endpoint) noexcept {
  if (endpoint.kind != Endpoint::Kind::tcp || endpoint.host == "localhost") return true;
  in_addr v4;
  in6_addr v6;
  if (inet_pton(AF_INET, endpoint.host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  return inet_pton(AF_INET6, endpoint.host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

}  // namespace nbdgw::config
