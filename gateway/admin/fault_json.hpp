#pragma once

#include <boost/json/fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "gateway/iscsi_target/faults.hpp"

/// Faults of the embedded target as JSON (tests/FAULTS.md).
namespace nbdgw::admin {

/// What is wrong with a posted fault, in words for whoever wrote it.
struct FieldError {
  std::string field;  // empty: it is about the whole
  std::string text;
};

/// Reads a fault; strict: every member is known to its kind, of the right type and within its bounds, and none that
/// is needed is missing.
std::optional<FieldError> parse_fault(std::string_view text, iscsi_target::Fault& fault);

/// A fault as it was posted, with all its defaults, and what became of it.
boost::json::object to_json(const iscsi_target::Faults::Posted& posted);

}  // namespace nbdgw::admin
