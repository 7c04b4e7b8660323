#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "gateway/net/log.hpp"

/// A line of the log as it waits to be written, and its forms.
namespace nbdgw::net::log {

struct Line {
  std::int64_t at = 0;  // wall clock, microseconds since the epoch
  Level level = Level::info;
  std::string thread;  // its name
  std::string exported;
  std::string target;
  std::string client;
  std::uint32_t session = 0;
  std::string message;

  /// What it takes of a queue's memory.
  std::size_t bytes() const noexcept {
    return sizeof(Line) + exported.size() + target.size() + client.size() + message.size();
  }
};

/// "2026-11-21T07:15:02.123+01:00" (RFC 3339), in local time.
std::string time_text(std::int64_t at);

/// Time, level, message. `colours`: the level in the colour that it has on a terminal.
std::string text_form(const Line& line, bool colours);
/// "<6>message", with the priority of sd-daemon(3).
std::string marked_form(const Line& line);
/// One object of JSON: time, level, thread, message, and export, target, session and client as far as they are known.
std::string json_form(const Line& line);
/// A datagram of the journal's own protocol (systemd, "Native Journal Protocol"): MESSAGE, PRIORITY,
/// SYSLOG_IDENTIFIER, LEVEL, THREAD, and EXPORT, TARGET, SESSION and CLIENT as far as they are known.
std::string journal_form(const Line& line);

}  // namespace nbdgw::net::log
