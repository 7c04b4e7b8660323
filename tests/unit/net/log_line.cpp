#include "gateway/net/log_line.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cstdlib>
#include <ctime>

using namespace nbdgw::net;

namespace {

/// What a hostile peer would have written: another line, another field, another object.
constexpr const char* kHostile = "x\"},{\n<0>PRIORITY=0\nMESSAGE=root logged in\x1b[2J \xff";

log::Line line(std::string message) {
  log::Line made;
  made.at = 1'795'849'200'123'456;  // 2026-11-28T07:00:00.123456Z
  made.level = log::Level::warn;
  made.thread = "shard0";
  made.message = std::move(message);
  return made;
}

log::Line full_line(std::string message) {
  log::Line made = line(std::move(message));
  made.exported = "vol\"0\n";
  made.target = "array";
  made.client = "127.0.0.1:4711";
  made.session = 17;
  return made;
}

/// The time zone of this process, for the length of a test.
struct Zone {
  explicit Zone(const char* name) {
    ::setenv("TZ", name, 1);
    ::tzset();
  }
  ~Zone() {
    ::unsetenv("TZ");
    ::tzset();
  }
};

}  // namespace

TEST_CASE("log line: the time says where it is") {
  const std::int64_t at = line("").at;
  {
    const Zone zone("XST-1");
    CHECK(log::time_text(at) == "2026-11-28T08:00:00.123+01:00");
  }
  {
    const Zone zone("XST3:30");
    CHECK(log::time_text(at) == "2026-11-28T03:30:00.123-03:30");
  }
}

TEST_CASE("log line: text") {
  const Zone zone("UTC0");
  CHECK(log::text_form(line("hello"), false) == "2026-11-28T07:00:00.123+00:00 warn hello\n");
  CHECK(log::text_form(line("hello"), true) == "2026-11-28T07:00:00.123+00:00 \033[1;33mwarn\033[m hello\n");
  CHECK(log::marked_form(line("hello")) == "<4>hello\n");
  for (const std::string& text : {log::text_form(line(kHostile), false), log::marked_form(line(kHostile))}) {
    CHECK(std::ranges::count(text, '\n') == 1);
    CHECK(text.back() == '\n');
    CHECK(text.find('\x1b') == std::string::npos);
  }
}

TEST_CASE("log line: levels have one spelling, and each its priority") {
  const std::pair<log::Level, const char*> levels[] = {{log::Level::trace, "<7>trace"},
                                                       {log::Level::debug, "<7>debug"},
                                                       {log::Level::info, "<6>info"},
                                                       {log::Level::warn, "<4>warn"},
                                                       {log::Level::error, "<3>error"}};
  for (const auto& [level, marked] : levels) {
    log::Line one = line(marked + 3);
    one.level = level;
    CHECK(log::marked_form(one) == std::string(marked) + "\n");
    CHECK(log::text_form(one, false).ends_with(std::string(" ") + (marked + 3) + " " + (marked + 3) + "\n"));
    CHECK(boost::json::parse(log::json_form(one)).at("level") == marked + 3);
  }
}

TEST_CASE("log line: one object of JSON, whatever is in it") {
  const Zone zone("UTC0");
  const std::string plain = log::json_form(line("hello"));
  CHECK(plain ==
        "{\"time\":\"2026-11-28T07:00:00.123+00:00\",\"level\":\"warn\",\"thread\":\"shard0\",\"message\":\"hello\"}"
        "\n");
  const std::string hostile = log::json_form(full_line(kHostile));
  CHECK(std::ranges::count(hostile, '\n') == 1);
  const boost::json::object object = boost::json::parse(hostile).as_object();
  CHECK(object.size() == 8);
  CHECK(object.at("export") == "vol\"0\n");
  CHECK(object.at("target") == "array");
  CHECK(object.at("client") == "127.0.0.1:4711");
  CHECK(object.at("session") == 17);
  CHECK(object.at("message") == "x\"},{\n<0>PRIORITY=0\nMESSAGE=root logged in\x1b[2J \xef\xbf\xbd");
}

TEST_CASE("log line: the journal's fields") {
  CHECK(log::journal_form(line("hello")) ==
        "MESSAGE=hello\nPRIORITY=4\nSYSLOG_IDENTIFIER=nbdgw\nLEVEL=warn\nTHREAD=shard0\n");
  const std::string hostile = log::journal_form(full_line(kHostile));
  CHECK(hostile.find("\nMESSAGE=") == std::string::npos);  // only the first one
  CHECK(hostile.find("\nPRIORITY=0") == std::string::npos);
  // A value with a new line in it goes with its length, so that nothing in it is a field.
  CHECK(hostile.find(
            std::string("EXPORT\n\x06\0\0\0\0\0\0\0vol\"0\n\nTARGET=array\nSESSION=17\nCLIENT=127.0.0.1:4711\n",
                        7 + 8 + 6 + 1 + 13 + 11 + 22)) != std::string::npos);
}
