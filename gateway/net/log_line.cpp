#include "gateway/net/log_line.hpp"

#include <fmt/format.h>

#include <ctime>
#include <iterator>
#include <string_view>

#include "config/names.hpp"
#include "gateway/net/log_text.hpp"

namespace nbdgw::net::log {

namespace {

constexpr std::int64_t kMicrosInSecond = 1'000'000;

std::string_view word_for(Level level) noexcept {
  return config::kLogLevels[static_cast<std::size_t>(level)];
}

/// syslog(3)'s: debug, info, warning, err.
char priority_of(Level level) noexcept {
  switch (level) {
    case Level::error:
      return '3';
    case Level::warn:
      return '4';
    case Level::info:
      return '6';
    case Level::debug:
    case Level::trace:
      break;
  }
  return '7';
}

std::string_view colour_of(Level level) noexcept {
  switch (level) {
    case Level::error:
      return "\033[1;31m";
    case Level::warn:
      return "\033[1;33m";
    case Level::info:
      return "\033[32m";
    case Level::debug:
      return "\033[36m";
    case Level::trace:
      break;
  }
  return "\033[37m";
}

void append_member(std::string& out, std::string_view name, std::string_view value) {
  if (value.empty()) return;
  fmt::format_to(std::back_inserter(out), ",\"{}\":", name);
  append_json(out, value);
}

/// "NAME=value\n", or, where the value has a new line in it, with its length in front of it.
void append_field(std::string& out, std::string_view name, std::string_view value) {
  if (value.empty()) return;
  out += name;
  if (value.find('\n') == std::string_view::npos) {
    out += '=';
  } else {
    out += '\n';
    for (unsigned i = 0; i < 8; ++i)  // little-endian
      out += static_cast<char>(static_cast<std::uint64_t>(value.size()) >> (8 * i) & 0xff);
  }
  out += value;
  out += '\n';
}

}  // namespace

std::string time_text(std::int64_t at) {
  const auto seconds = static_cast<std::time_t>(at / kMicrosInSecond);
  std::tm local{};
  ::localtime_r(&seconds, &local);
  const long offset = local.tm_gmtoff / 60;
  const long distance = offset < 0 ? -offset : offset;
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}{}{:02}:{:02}", local.tm_year + 1900, local.tm_mon + 1,
                     local.tm_mday, local.tm_hour, local.tm_min, local.tm_sec, at % kMicrosInSecond / 1000,
                     offset < 0 ? '-' : '+', distance / 60, distance % 60);
}

std::string text_form(const Line& line, bool colours) {
  const std::string_view word = word_for(line.level);
  std::string out = time_text(line.at) + ' ';
  if (colours) {
    out.append(colour_of(line.level)).append(word).append("\033[m");
  } else {
    out += word;
  }
  out += ' ';
  append_one_line(out, line.message);
  out += '\n';
  return out;
}

std::string marked_form(const Line& line) {
  std::string out = {'<', priority_of(line.level), '>'};
  append_one_line(out, line.message);
  out += '\n';
  return out;
}

std::string json_form(const Line& line) {
  std::string out = fmt::format("{{\"time\":\"{}\",\"level\":\"{}\"", time_text(line.at), word_for(line.level));
  append_member(out, "thread", line.thread);
  append_member(out, "export", line.exported);
  append_member(out, "target", line.target);
  if (line.session != 0) fmt::format_to(std::back_inserter(out), ",\"session\":{}", line.session);
  append_member(out, "client", line.client);
  out += ",\"message\":";
  append_json(out, line.message);
  out += "}\n";
  return out;
}

std::string journal_form(const Line& line) {
  std::string message;
  append_one_line(message, line.message);
  std::string out;
  append_field(out, "MESSAGE", message);
  append_field(out, "PRIORITY", std::string(1, priority_of(line.level)));
  append_field(out, "SYSLOG_IDENTIFIER", "nbdgw");
  append_field(out, "LEVEL", word_for(line.level));
  append_field(out, "THREAD", line.thread);
  append_field(out, "EXPORT", line.exported);
  append_field(out, "TARGET", line.target);
  if (line.session != 0) append_field(out, "SESSION", std::to_string(line.session));
  append_field(out, "CLIENT", line.client);
  return out;
}

}  // namespace nbdgw::net::log
