#pragma once

#include <boost/json/fwd.hpp>
#include <string>

#include "proto/time.hpp"

namespace nbdgw::http {

/// JSON text of a value, on one line. Numbers are written the way people write them ("0.25"), which the library's own
/// serializer does not do ("2.5E-1").
std::string to_text(const boost::json::value& value);

/// A duration as the API shows it.
constexpr double seconds(proto::Micros duration) noexcept {
  return static_cast<double>(duration) / proto::kSecond;
}

/// A wall clock time, microseconds since the epoch, as RFC 3339 has it: "2026-11-26T10:00:00.000000Z".
std::string time_text(std::int64_t micros);

}  // namespace nbdgw::http
