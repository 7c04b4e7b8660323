#pragma once

#include <boost/json/value.hpp>
#include <string>
#include <vector>

/// The answers of the admin API as people read them in a terminal. Members that an answer does not have are shown as
/// "-", so that another version of the gateway can be asked, too.
namespace nbdgw::app {

/// Columns as wide as they need to be, under a line of headings.
class Table {
 public:
  /// A heading that begins with '>' is of a column of numbers: to the right.
  explicit Table(std::vector<std::string> headings);
  void add(std::vector<std::string> cells);
  bool empty() const noexcept { return rows_.size() == 1; }
  std::string text() const;

 private:
  std::vector<bool> right_;
  std::vector<std::vector<std::string>> rows_;
};

/// "1.5 GiB", "512 B".
std::string human_bytes(double bytes);
/// "250 us", "1.5 ms", "12.0 s", "3 min", "2 h", "5 d".
std::string human_seconds(double seconds);

std::string status_text(const boost::json::value& status);
std::string exports_text(const boost::json::value& list);
std::string export_text(const boost::json::value& exported);
std::string clients_text(const boost::json::value& list);
std::string sessions_text(const boost::json::value& list);
std::string session_text(const boost::json::value& session);
std::string tasks_text(const boost::json::value& list);
/// One line without its end.
std::string event_text(const boost::json::value& event);
std::string operations_text(const boost::json::value& list);
/// "verb object: state (outcome): detail"
std::string operation_text(const boost::json::value& operation);
std::string reload_text(const boost::json::value& report);
std::string log_text(const boost::json::value& log);
/// What a problem document (RFC 9457) says.
std::string problem_text(const boost::json::value& problem, unsigned status);

}  // namespace nbdgw::app
