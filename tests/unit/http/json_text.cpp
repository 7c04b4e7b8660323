#include "gateway/http/json_text.hpp"

#include <boost/json.hpp>

#include <doctest/doctest.h>

using namespace nbdgw::http;
namespace json = boost::json;

TEST_CASE("JSON text: what is written is read back as the same, and numbers look like numbers") {
  const json::value value{{"text", "a \"b\" \\ \n \x01 ä"},
                          {"list", {1, -2, 0.25, true, nullptr, json::array{}, json::object{}}},
                          {"big", 18446744073709551615ULL},
                          {"small", 0.000001},
                          {"key \"x\"", {{"inner", "y"}}}};
  const std::string text = to_text(value);
  CHECK(json::parse(text) == value);
  CHECK(text.find("0.25") != std::string::npos);
  CHECK(text.find("\"big\":18446744073709551615") != std::string::npos);
  CHECK(to_text(json::value(5025.25)) == "5025.25");
  CHECK(to_text(json::array{json::array{}, json::array{1, 2}, json::object{{"a", json::object{}}}}) ==
        "[[],[1,2],{\"a\":{}}]");
}

TEST_CASE("JSON text: it is UTF-8, whatever a target has said") {
  CHECK(to_text(json::value("ok \xc3\xa4")) == "\"ok \xc3\xa4\"");
  CHECK(to_text(json::value("DISK\xff")) == "\"DISK\xef\xbf\xbd\"");
  CHECK(to_text(json::object{{"\xfe", "\xc3"}}) == "{\"\xef\xbf\xbd\":\"\xef\xbf\xbd\"}");
}

TEST_CASE("JSON text: times and durations") {
  CHECK(time_text(0) == "1970-01-01T00:00:00.000000Z");
  CHECK(time_text(1'795'687'200'000'001) == "2026-11-26T10:00:00.000001Z");
  CHECK(seconds(1'500'000) == 1.5);
}
