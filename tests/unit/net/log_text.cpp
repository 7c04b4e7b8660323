#include "gateway/net/log_text.hpp"

#include <doctest/doctest.h>

#include <boost/json.hpp>
#include <random>

#include "config/names.hpp"

using namespace nbdgw::net;

namespace {

std::string one_line(std::string_view text) {
  std::string out;
  log::append_one_line(out, text);
  return out;
}

std::string json(std::string_view text) {
  std::string out;
  log::append_json(out, text);
  return out;
}

}  // namespace

TEST_CASE("log text: what can be read stays, what could end a line or steer a terminal does not") {
  CHECK(one_line("vol0: Größe 磁盘 \"x\\y\"") == "vol0: Größe 磁盘 \"x\\y\"");
  CHECK(one_line("a\nb\r\x1b[31m\x7f") == "a\\x0ab\\x0d\\x1b[31m\\x7f");
  CHECK(one_line("\xc2\x9b") == "\\xc2\\x9b");  // CSI in one character
  CHECK(one_line("\xff\xc3") == "\\xff\\xc3");
  CHECK(one_line(std::string_view("\0", 1)) == "\\x00");
}

TEST_CASE("log text: quotes, with an end") {
  CHECK(log::quoted("vol0") == "\"vol0\"");
  CHECK(log::quoted("a\"b\\c\n") == "\"a\\\"b\\\\c\\x0a\"");
  CHECK(log::quoted("abcdef", 4) == "\"abcd\"... (2 bytes more)");
  CHECK(log::quoted("ab\xc3\xa4", 3) == "\"ab\"... (2 bytes more)");  // no half of a character
  CHECK(log::quoted(std::string(100'000, '"')).size() < 2 * log::kMaxQuoted + 40);
}

TEST_CASE("log text: too long is cut between characters") {
  CHECK(log::shortened("short", 5) == "short");
  CHECK(log::shortened("shorter", 5) == "short... (2 bytes more)");
  CHECK(log::shortened("\xc3\xa4\xc3\xa4", 3) == "\xc3\xa4... (2 bytes more)");
  CHECK(log::shortened("\xff\xff\xff\xff\xff\xff", 5).size() > 0);
}

TEST_CASE("log text: any bytes are a string of JSON, and what was text is the same") {
  CHECK(boost::json::parse(json("a\"b\\c\n\t\x7f Größe")).as_string() == "a\"b\\c\n\t\x7f Größe");
  CHECK(boost::json::parse(json("\xc2\x9b")).as_string() == "\xc2\x9b");
  CHECK(boost::json::parse(json("\xff!")).as_string() == "\xef\xbf\xbd!");
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    std::string text(random() % 12, '\0');
    for (char& c : text) c = static_cast<char>(random());
    CAPTURE(round);
    const boost::json::string back = boost::json::parse(json(text)).as_string();
    CHECK(nbdgw::config::is_utf8({back.data(), back.size()}));
    const bool good = nbdgw::config::is_utf8(text);
    if (good) CHECK(std::string_view(back) == text);
    for (const char c : one_line(text)) CHECK((static_cast<unsigned char>(c) >= 0x20 && c != 0x7f));
    CHECK(nbdgw::config::is_utf8(one_line(text)));
  }
}

TEST_CASE("log text: shapes, hosts and targets") {
  CHECK(log::shape("10.0.0.1:3260: refused, 12 times") == "#.#.#.#:#: refused, # times");
  CHECK(log::shape("") == "");
  CHECK(log::host_of("127.0.0.1:51234") == "127.0.0.1");
  CHECK(log::host_of("[::1]:51234") == "[::1]");
  CHECK(log::host_of("unix") == "unix");
  CHECK(log::host_of("unix, pid 17, uid 0") == "unix");
  CHECK(log::address_in("unix, pid 17, uid 0") == "unix, pid 17, uid 0");
  CHECK(log::address_in("192.0.2.1:4711, CN=x") == "192.0.2.1:4711");
  CHECK(log::address_in("[::1]:4711") == "[::1]:4711");
  CHECK(log::host_of("::1") == "::1");
  CHECK(log::host_of("") == "");
  CHECK(log::target_in("array, errand to portal group 1") == "array");
  CHECK(log::target_in("array") == "array");
}
