#include "gateway/net/log.hpp"

#include <spdlog/spdlog.h>

#include <mutex>
#include <optional>
#include <vector>

#include "gateway/net/clock.hpp"
#include "gateway/net/log_fold.hpp"
#include "gateway/net/log_sink.hpp"
#include "gateway/net/log_strangers.hpp"

namespace nbdgw::net::log {

namespace {

/// In the order of Level.
constexpr spdlog::level::level_enum kSpdlogLevels[] = {spdlog::level::trace, spdlog::level::debug,
                                                       spdlog::level::info, spdlog::level::warn, spdlog::level::err};

spdlog::level::level_enum to_spdlog(Level level) noexcept {
  return kSpdlogLevels[static_cast<std::size_t>(level)];
}

/// What the whole process has counted.
struct Counted {
  std::mutex mutex;
  Folder folder;
  Strangers strangers;
};

Counted& counted() {
  static Counted one;
  return one;
}

void tell(const Told& told) noexcept {
  write({.exported = told.exported, .target = told.target, .client = told.client, .session = told.session},
        told.level, told.text);
}

void tell(const std::vector<Told>& lines) noexcept {
  for (const Told& each : lines) tell(each);
}

}  // namespace

bool is_wanted(Level level) noexcept {
  return spdlog::should_log(to_spdlog(level));
}

Level level() noexcept {
  const spdlog::level::level_enum now = spdlog::get_level();
  std::size_t place = 0;
  while (place + 1 < std::size(kSpdlogLevels) && kSpdlogLevels[place] < now) ++place;
  return static_cast<Level>(place);
}

void set_level(Level level) noexcept {
  spdlog::set_level(to_spdlog(level));
}

void write(const Subject& subject, Level level, std::string_view text) noexcept {
  const SubjectOfLine of(subject);
  spdlog::default_logger_raw()->log(to_spdlog(level), spdlog::string_view_t(text.data(), text.size()));
}

bool write_folded(const Kind& kind, const Subject& subject, Level level, std::string_view text) noexcept {
  std::vector<Told> due;
  bool now = true;
  try {
    const std::lock_guard lock(counted().mutex);
    now = counted().folder.take(kind, subject, level, text, steady_now(), due);
  } catch (const std::exception&) {
    return false;  // no memory for it
  }
  if (now) write(subject, level, text);
  tell(due);
  return now;
}

void write_change(const Kind& kind, const Subject& subject, Level level, std::string_view text) noexcept {
  std::vector<Told> before, due;
  bool now = true;
  try {
    const std::lock_guard lock(counted().mutex);
    now = counted().folder.take(kind, subject, level, text, steady_now(), due);
    if (now) counted().folder.tell(subject, steady_now(), before);
  } catch (const std::exception&) {
    return;  // no memory for it
  }
  tell(before);
  if (now) write(subject, level, text);
  tell(due);
}

void write_stranger(std::string_view peer, const char* reason, std::string_view words, Stranger what) noexcept {
  std::optional<Told> told;
  try {
    debug({.client = peer}, "{}: left before it attached. {}", peer, words);
    const std::lock_guard lock(counted().mutex);
    told = counted().strangers.note(peer, reason, words, what, steady_now());
  } catch (const std::exception&) {
  }
  if (told) tell(*told);
}

void tell_due(proto::Micros now) noexcept {
  std::vector<Told> lines;
  try {
    const std::lock_guard lock(counted().mutex);
    counted().folder.tell_due(now, lines);
    if (auto told = counted().strangers.due(now)) lines.push_back(*std::move(told));
  } catch (const std::exception&) {
  }
  tell(lines);
}

void tell_all() noexcept {
  const proto::Micros now = steady_now();
  std::vector<Told> lines;
  try {
    const std::lock_guard lock(counted().mutex);
    counted().folder.tell_all(now, lines);
    if (auto told = counted().strangers.all(now)) lines.push_back(*std::move(told));
  } catch (const std::exception&) {
  }
  tell(lines);
}

}  // namespace nbdgw::net::log
