#pragma once

#include <sys/socket.h>

namespace nbdgw::net {

/// Keepalive of TCP connections: a peer that vanished without a word is noticed after two minutes, if nothing was on
/// its way to it. Else no keepalive is sent: see PeerWatch for clients; of a target the ping says it (NOP-Out).
inline constexpr int kKeepAliveIdleS = 60;
inline constexpr int kKeepAliveIntervalS = 10;
inline constexpr int kKeepAliveProbes = 6;

/// Where the system's congestion control is BBR, TCP paces what it sends by timers, which costs a sixth of the CPU of
/// large writes on a virtual machine. There is no network to be spared inside a machine, so connections that stay
/// there take Reno, which does not pace and is in every kernel. A socket that has once begun with BBR keeps its
/// timers, at a rate that Reno sets; so it is best done before there is a connection.

/// Before connect() of a TCP socket: no pacing if `peer` is on this machine.
void set_options_to_connect(int fd, const sockaddr* peer, socklen_t length) noexcept;

/// Before listen() of a TCP socket, or later for the clients to come, who inherit it: no pacing if it is bound to a
/// loopback address. Does nothing to other sockets.
void set_options_to_listen(int fd) noexcept;

/// For a connected socket: TCP_NODELAY, keepalive with the times above, and no pacing where both ends are on this
/// machine. Does nothing to other kinds of sockets than TCP.
void set_tcp_options(int fd) noexcept;

}  // namespace nbdgw::net
