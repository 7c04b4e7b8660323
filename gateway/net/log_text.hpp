#pragma once

#include <cstddef>
#include <string>
#include <string_view>

/// Text that somebody else has said, made fit to stand in a line.
namespace nbdgw::net::log {

/// Of what is quoted: enough to recognise a name, and too little to fill the log with.
inline constexpr std::size_t kMaxQuoted = 256;
/// Nothing is cut: of texts whose length is bounded where they come from.
inline constexpr std::size_t kWhole = std::string_view::npos;
/// Of a message, in bytes. With time, level and a new line it fits into 4096, which a pipe takes whole or not at all.
inline constexpr std::size_t kMaxMessage = 3072;

/// Bytes of the well-formed UTF-8 sequence that `text` begins with; 0: it begins with none.
std::size_t sequence_length(std::string_view text) noexcept;

/// In quotes, with quotes, backslashes, control characters and what is no UTF-8 escaped, and cut after `most` bytes.
std::string quoted(std::string_view text, std::size_t most = kMaxQuoted);

/// At most `most` bytes of it, whole characters; and how much is missing.
std::string shortened(std::string_view text, std::size_t most);

/// Appends it as one line: control characters (also those of 8 bits, which terminals obey) and what is no UTF-8
/// become
/// "\x1b".
void append_one_line(std::string& out, std::string_view text);

/// Appends it as a string of JSON (RFC 8259), quotes included. What is no UTF-8 becomes U+FFFD.
void append_json(std::string& out, std::string_view text);

/// The text with its numbers taken out: the same for lines that differ in addresses, ports and counts only.
std::string shape(std::string_view text);

/// Of "192.0.2.1:4711, CN=somebody", as the admin server calls who has a certificate, the address alone. Who comes
/// through a UNIX socket is one of its processes: "unix, pid 17, uid 0".
std::string_view address_in(std::string_view peer) noexcept;

/// "192.0.2.1" of "192.0.2.1:4711", "[::1]" of "[::1]:4711", "unix" of whoever is there; anything else as it is.
std::string_view host_of(std::string_view peer) noexcept;

/// The configuration's name of a target, with which the label of each session begins (errands have longer ones).
std::string_view target_in(std::string_view label) noexcept;

}  // namespace nbdgw::net::log
