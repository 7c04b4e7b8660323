#pragma once

#include <string>
#include <string_view>

#include "config/model.hpp"

namespace nbdgw::config {

inline constexpr std::uint16_t kNbdPort = 10809;   // IANA: nbd
inline constexpr std::uint16_t kIscsiPort = 3260;  // IANA: iscsi-target
inline constexpr std::uint16_t kAdminPort = 9810;  // ours

/// "HOST", "HOST:PORT", "[IPV6]" or "[IPV6]:PORT", as in a URI. Returns what is wrong with it; empty: nothing is.
std::string parse_host_port(std::string_view text, std::uint16_t default_port, std::string& host,
                            std::uint16_t& port);

/// A portal to connect to: parse_host_port() with port 3260 as default. Returns what is wrong; empty: nothing is.
std::string parse_portal(std::string_view text, Portal& portal);

/// "tcp://HOST:PORT" or "unix:///PATH", to listen on. Returns what is wrong; empty: nothing is.
std::string parse_endpoint(std::string_view text, Endpoint& endpoint);

/// "http://HOST:PORT", "https://HOST:PORT" (port 9810 if left out) or "unix:///PATH", for the admin server to listen
/// on. Returns what is wrong; empty: nothing is.
std::string parse_admin_endpoint(std::string_view text, AdminEndpoint& address);

/// What a configuration may say beside parse_endpoint() and parse_admin_endpoint(): "systemd:NAME", and for the admin
/// server "https+systemd:NAME". Return what is wrong; empty: nothing is.
std::string parse_listen_address(std::string_view text, Endpoint& endpoint);
std::string parse_admin_listen_address(std::string_view text, AdminEndpoint& address);

/// Texts that parse back to the same.
std::string to_string(const Portal& portal);
std::string to_string(const Endpoint& endpoint);
std::string to_string(const AdminEndpoint& address);

/// Only programs on this machine get there: a UNIX socket, 127.0.0.0/8, ::1 or "localhost". Of sockets of systemd
/// that is not known before they are taken: taken for local here.
bool is_local(const Endpoint& endpoint) noexcept;

}  // namespace nbdgw::config
