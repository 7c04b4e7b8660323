#include "gateway/http/request_fields.hpp"

#include <boost/json.hpp>

#include <doctest/doctest.h>

using namespace nbdgw::http;

namespace {

Request post(std::string body, std::string type = "application/json") {
  Request request;
  request.method = "POST";
  request.content_type = std::move(type);
  request.body = std::move(body);
  return request;
}

Request get(std::string query) {
  Request request;
  request.method = "GET";
  request.query = std::move(query);
  return request;
}

/// "unknown_field x", or "" where nothing is wrong.
template <typename Reader>
std::string wrong(const Reader& reader) {
  if (!reader.refusal()) return "";
  return reader.refusal()->code + (reader.refusal()->field.empty() ? "" : " " + reader.refusal()->field);
}

}  // namespace

TEST_CASE("fields: what is there, and what is not") {
  Fields fields(post(R"({"flag":true,"number":7,"text":"x","choice":"b"})"),
                {"flag", "number", "text", "choice", "absent"});
  CHECK(fields.flag("flag", false));
  CHECK(fields.number("number", 0, 7) == 7);
  CHECK(fields.text("text") == "x");
  CHECK(fields.choice("choice", {"a", "b"}) == 1);
  CHECK(fields.flag("absent", true));
  CHECK_FALSE(fields.number("absent", 0, 1));
  CHECK_FALSE(fields.text("absent"));
  CHECK_FALSE(fields.choice("absent", {"a"}));
  CHECK(wrong(fields).empty());
  fields.require("absent");
  CHECK(wrong(fields) == "missing_field absent");
  fields.require("more");  // the first mistake is told
  CHECK(wrong(fields) == "missing_field absent");
}

TEST_CASE("fields: an empty body counts as an empty object") {
  for (const char* body : {"", " \r\n\t", "{}", " {} "}) CHECK(wrong(Fields(post(body), {})).empty());
}

TEST_CASE("fields: bodies that are refused as a whole") {
  const std::string deep = std::string(100, '[') + std::string(100, ']');
  for (const std::string& body :
       {std::string("{"), std::string("{} {}"), std::string("null"), std::string("[]"), std::string("\"x\""),
        std::string("{\"x\":1,}"), std::string("{'x':1}"), std::string("{\"x\":NaN}"), std::string("\xff"), deep}) {
    CAPTURE(body);
    CHECK(wrong(Fields(post(body), {"x"})) == "bad_json");
  }
  CHECK(wrong(Fields(post(R"({"x":1})"), {"y"})) == "unknown_field x");
  CHECK(wrong(Fields(post(R"({"x":1,"x":1})"), {"x"})) == "duplicate_field x");
  CHECK(wrong(Fields(post(R"({"x":1,"\u0078":1})"), {"x"})) == "duplicate_field x");
  for (const char* type : {"", "text/plain", "application/jsonx", "application/x-www-form-urlencoded"})
    CHECK(Fields(post("{}", type), {}).refusal()->status == 415);
  for (const char* type : {"application/json", "APPLICATION/JSON; charset=utf-8", "application/json ;x"})
    CHECK(wrong(Fields(post("{}", type), {})).empty());
  Request queried = post("{}");
  queried.query = "dry_run=true";
  CHECK(wrong(Fields(queried, {"dry_run"})) == "unknown_parameter");
}

TEST_CASE("fields: members of the wrong type, or out of bounds") {
  const auto number = [](const std::string& value) {
    Fields fields(post("{\"n\":" + value + "}"), {"n"});
    fields.number("n", 1, 10);
    return wrong(fields);
  };
  CHECK(number("1").empty());
  CHECK(number("10").empty());
  for (const char* value :
       {"0", "11", "-1", "1.0", "1.5", "\"1\"", "true", "null", "[1]", "{}", "1e1", "99999999999999999999999"}) {
    CAPTURE(value);
    CHECK(number(value) == "bad_field n");
  }
  for (const char* value : {"1", "\"true\"", "null"}) {
    Fields fields(post(std::string("{\"f\":") + value + "}"), {"f"});
    CHECK(fields.flag("f", false) == false);
    CHECK(wrong(fields) == "bad_field f");
  }
  for (const char* value : {"\"c\"", "\"A\"", "0"}) {
    Fields fields(post(std::string("{\"c\":") + value + "}"), {"c"});
    CHECK_FALSE(fields.choice("c", {"a", "b"}));
    CHECK(wrong(fields) == "bad_field c");
  }
}

TEST_CASE("fields: what is quoted back is cut") {
  Fields fields(post("{\"c\":\"" + std::string(10'000, 'x') + "\"}"), {"c"});
  fields.choice("c", {"a"});
  CHECK(fields.refusal()->detail.size() < 200);
}

TEST_CASE("query: numbers and seconds") {
  Query query(get("since=12&wait=0.5&limit=3"), {"since", "wait", "limit"});
  CHECK(query.number("since", 0, 100, 0) == 12);
  CHECK(query.number("limit", 1, 10, 5) == 3);
  CHECK(query.seconds("wait", 25'000'000, 0) == 500'000);
  CHECK(query.number("other", 0, 1, 1) == 1);
  CHECK(wrong(query).empty());
  CHECK(wrong(Query(get(""), {})).empty());
}

TEST_CASE("query: what is refused") {
  CHECK(wrong(Query(get("x=1"), {"since"})) == "unknown_parameter x");
  CHECK(wrong(Query(get("x"), {})) == "unknown_parameter x");
  CHECK(wrong(Query(get("since=1&since=1"), {"since"})) == "bad_parameter since");
  for (const char* text : {"v", "v=", "v=1", "v=true"}) CHECK(Query(get(text), {"v"}).flag("v"));
  for (const char* text : {"", "w", "v=0", "v=false"}) CHECK(!Query(get(text), {"v", "w"}).flag("v"));
  Query unclear(get("v=no"), {"v"});
  unclear.flag("v");
  CHECK(wrong(unclear) == "bad_parameter v");
  CHECK(wrong(Query(get("since=%4"), {"since"})) == "bad_parameter");
  for (const char* text : {"", "x", "-1", "1.5", "+1", " 1", "1 ", "101", "99999999999999999999"}) {
    CAPTURE(text);
    Query query(get(std::string("since=") + text), {"since"});
    query.number("since", 0, 100, 0);
    CHECK(wrong(query) == "bad_parameter since");
  }
  for (const char* text : {"", "x", "-1", "26", "1e1", "nan", "inf", "0x1", "1s"}) {
    CAPTURE(text);
    Query query(get(std::string("wait=") + text), {"wait"});
    query.seconds("wait", 25'000'000, 0);
    CHECK(wrong(query) == "bad_parameter wait");
  }
}

TEST_CASE("numbers in paths") {
  CHECK(path_number("0") == 0);
  CHECK(path_number("65535", 65535) == 65535);
  for (const char* text : {"", "x", "-1", "+1", "1x", " 1", "65536"}) CHECK_FALSE(path_number(text, 65535));
}

TEST_CASE("duplicate members are found at any depth") {
  CHECK(duplicate_member(R"({"a":{"b":1,"c":[{"d":1,"d":2}]}})") == "d");
  CHECK_FALSE(duplicate_member(R"({"a":{"a":1},"b":[{"a":1},{"a":2}]})"));
  CHECK_FALSE(duplicate_member("{"));
  CHECK_FALSE(duplicate_member(""));
}
