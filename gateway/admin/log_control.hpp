#pragma once

#include <boost/json/object.hpp>
#include <functional>
#include <optional>

#include "config/model.hpp"
#include "gateway/admin/operations.hpp"
#include "proto/time.hpp"

namespace nbdgw::admin {

/// The level of the process's log: the configured one, or another one for a while. Of one thread.
class LogControl {
 public:
  explicit LogControl(std::function<config::LogLevel()> configured) : configured_(std::move(configured)) {}

  static config::LogLevel level() noexcept;
  /// `length`: after that it is the configured one again; nothing: it stays.
  void set(config::LogLevel level, std::optional<proto::Micros> length, Now now);
  void on_deadline(proto::Micros now);
  proto::Micros next_deadline() const noexcept { return expires_ ? expires_->steady : proto::kNever; }

  boost::json::object to_json() const;

 private:
  const std::function<config::LogLevel()> configured_;
  std::optional<Now> expires_;
};

}  // namespace nbdgw::admin
