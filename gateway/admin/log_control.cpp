#include "gateway/admin/log_control.hpp"

#include <boost/json.hpp>

#include "config/names.hpp"
#include "gateway/http/json_text.hpp"
#include "gateway/net/log.hpp"

namespace nbdgw::admin {

namespace {

std::string_view word(config::LogLevel level) noexcept {
  return config::kLogLevels[static_cast<std::size_t>(level)];
}

}  // namespace

config::LogLevel LogControl::level() noexcept {
  return net::log::level();
}

void LogControl::set(config::LogLevel level, std::optional<proto::Micros> length, Now now) {
  net::log::set_level(level);
  expires_.reset();
  if (length) expires_ = Now{now.steady + *length, now.wall + *length};
}

void LogControl::on_deadline(proto::Micros now) {
  if (now < next_deadline()) return;
  expires_.reset();
  const config::LogLevel level = configured_();
  net::log::info({}, "admin: the log level is {} again, as configured", word(level));
  net::log::set_level(level);
}

boost::json::object LogControl::to_json() const {
  boost::json::object out{{"level", word(level())}, {"configured_level", word(configured_())}};
  if (expires_)
    out["expires_at"] = http::time_text(expires_->wall);
  else
    out["expires_at"] = nullptr;
  return out;
}

}  // namespace nbdgw::admin
