#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>

#include "config/model.hpp"
#include "gateway/net/log_text.hpp"
#include "proto/time.hpp"

/// The log: the one way to write to it in all that is no pure layer (tests/unit/layering sees to that). From any
/// thread, and never waiting for whoever reads it: lines go into a bounded queue, which a thread of its own writes
/// out (log_queue.hpp; gateway/app/logging.hpp starts it). What finds no room is dropped, counted and told.
///
/// It is for what happens to connections, sessions and disks. Nothing is ever written for a single request.
namespace nbdgw::net::log {

using Level = config::LogLevel;

/// Whom a line is about, for those who look for all lines of one: fields of the journal and of JSON. The text says it
/// as well.
struct Subject {
  std::string_view exported{};
  std::string_view target{};  // the configuration's name
  std::string_view client{};  // its address, with or without a port
  std::uint32_t session = 0;  // the target's handle of it (TSIH); 0: there is none
};

/// What is written on this level goes somewhere: for those who would have to make the text first.
bool is_wanted(Level level) noexcept;
Level level() noexcept;
void set_level(Level level) noexcept;

/// One line. Control characters in it are escaped, and what is longer than kMaxMessage is cut.
void write(const Subject& subject, Level level, std::string_view text) noexcept;

/// What may happen again and again, of one subject.
struct Kind {
  std::string_view name;  // tells kinds of the same subject apart
  std::uint32_t at_once =
      1;  // so many are written as they come; the others of a minute are counted, and told together
};
/// Attaching and detaching: a client with several connections is nothing to be counted.
inline constexpr std::uint32_t kClientsAtOnce = 8;
/// Changes of the state of a session or an export.
inline constexpr std::uint32_t kChangesAtOnce = 4;

/// A line that is written as it comes only as often as the kind says (log_fold.hpp). False: it was counted.
bool write_folded(const Kind& kind, const Subject& subject, Level level, std::string_view text) noexcept;
/// The same of a change of the subject's state. If it is written now, what is counted of the subject is told before
/// it.
void write_change(const Kind& kind, const Subject& subject, Level level, std::string_view text) noexcept;

/// Why a connection to the NBD port came to nothing, the worst last.
enum class Stranger : std::uint8_t {
  silent,   // it has left without a word, as a health check does
  left,     // in the middle of the handshake
  hostile,  // what came was no NBD, or no end
};

/// A connection to the NBD port that never became a client of an export: a line of level debug, and one of level info
/// or warn, once a minute at most, for all of them together (log_strangers.hpp). `reason`: a short name that lives
/// for ever; `words`: a sentence.
void write_stranger(std::string_view peer, const char* reason, std::string_view words, Stranger what) noexcept;

/// Tells what is counted and due. The log's own thread calls it about once a second.
void tell_due(proto::Micros now) noexcept;
/// Tells all that is counted, at the end.
void tell_all() noexcept;

/// Lines that were dropped so far, as nobody read the log quickly enough, or at all.
std::uint64_t dropped() noexcept;

template <typename... Args>
void print(const Subject& subject, Level level, fmt::format_string<Args...> format, Args&&... args) {
  if (is_wanted(level)) write(subject, level, fmt::format(format, std::forward<Args>(args)...));
}

template <typename... Args>
void debug(const Subject& subject, fmt::format_string<Args...> format, Args&&... args) {
  print(subject, Level::debug, format, std::forward<Args>(args)...);
}
template <typename... Args>
void info(const Subject& subject, fmt::format_string<Args...> format, Args&&... args) {
  print(subject, Level::info, format, std::forward<Args>(args)...);
}
template <typename... Args>
void warn(const Subject& subject, fmt::format_string<Args...> format, Args&&... args) {
  print(subject, Level::warn, format, std::forward<Args>(args)...);
}
template <typename... Args>
void error(const Subject& subject, fmt::format_string<Args...> format, Args&&... args) {
  print(subject, Level::error, format, std::forward<Args>(args)...);
}

/// write_folded() of a text that is made only if it is wanted.
template <typename... Args>
bool folded(const Kind& kind, const Subject& subject, Level level, fmt::format_string<Args...> format,
            Args&&... args) {
  return is_wanted(level) && write_folded(kind, subject, level, fmt::format(format, std::forward<Args>(args)...));
}

/// write_change() likewise, kChangesAtOnce of them.
template <typename... Args>
void changed(std::string_view kind, const Subject& subject, Level level, fmt::format_string<Args...> format,
             Args&&... args) {
  if (is_wanted(level))
    write_change({kind, kChangesAtOnce}, subject, level, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace nbdgw::net::log
