#include "gateway/admin/log_control.hpp"

#include <spdlog/spdlog.h>

#include <boost/json.hpp>

#include "config/names.hpp"
#include "gateway/admin/json_text.hpp"

namespace nbdgw::admin {

namespace {

/// In the order of config::LogLevel.
constexpr spdlog::level::level_enum kLevels[] = {spdlog::level::trace, spdlog::level::debug, spdlog::level::info,
                                                 spdlog::level::warn, spdlog::level::err};

std::string_view word(config::LogLevel level) noexcept {
  return config::kLogLevels[static_cast<std::size_t>(level)];
}

}  // namespace

config::LogLevel LogControl::level() noexcept {
  const spdlog::level::level_enum now = spdlog::get_level();
  std::size_t place = 0;
  while (place + 1 < std::size(kLevels) && kLevels[place] < now) ++place;
  return static_cast<config::LogLevel>(place);
}

void LogControl::set(config::LogLevel level, std::optional<proto::Micros> length, Now now) {
  spdlog::set_level(kLevels[static_cast<std::size_t>(level)]);
  expires_.reset();
  if (length) expires_ = Now{now.steady + *length, now.wall + *length};
}

void LogControl::on_deadline(proto::Micros now) {
  if (now < next_deadline()) return;
  expires_.reset();
  const config::LogLevel level = configured_();
  spdlog::info("admin: the log level is {} again, as configured", word(level));
  spdlog::set_level(kLevels[static_cast<std::size_t>(level)]);
}

boost::json::object LogControl::to_json() const {
  boost::json::object out{{"level", word(level())}, {"configured_level", word(configured_())}};
  if (expires_)
    out["expires_at"] = time_text(expires_->wall);
  else
    out["expires_at"] = nullptr;
  return out;
}

}  // namespace nbdgw::admin
