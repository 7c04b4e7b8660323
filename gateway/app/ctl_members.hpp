#pragma once

#include <boost/json/value.hpp>
#include <string>
#include <string_view>

/// Members of an answer as text, "-" where there are none.
namespace nbdgw::app::members {

/// Names and causes come from files and from targets: nothing in them may steer the terminal.
std::string printable(std::string_view text);
/// "counters.errors" of an object; null where it has none.
const boost::json::value& at(const boost::json::value& value, std::string_view path);
/// A member as it is.
std::string plain(const boost::json::value& value);
std::string text(const boost::json::value& value, std::string_view path);
double number(const boost::json::value& value);
/// human_seconds() of it.
std::string seconds(const boost::json::value& value, std::string_view path);

}  // namespace nbdgw::app::members
