#include "config/names.hpp"

#include <array>
#include <string>

#include <doctest/doctest.h>

#include "config/suggest.hpp"

using namespace nbdgw::config;

TEST_CASE("iSCSI names") {
  for (const char* good :
       {"iqn.2026-11.com.example", "iqn.2026-11.com.example:host-1", "iqn.1993-08.org.debian:01:ab.cd",
        "eui.02004567A425678D", "naa.52004567ba64678d", "naa.62004567BA64678D0123456789ABCDEF"}) {
    CAPTURE(good);
    CHECK(check_iscsi_name(good, NameOf::initiator) == "");
    CHECK(check_iscsi_name(good, NameOf::target) == "");
  }
  for (const char* bad : {"",
                          "iqn",
                          "iqn.",
                          "iqn.2026-11",
                          "iqn.2026-11.",
                          "iqn.2026-11.:a",
                          "iqn.2026-13.com.example",
                          "iqn.2026-00.com.example",
                          "iqn.26-11.com.example",
                          "iqn.2026.11.com.example",
                          "iqn.2026-11..com",
                          "iqn.2026-11.com.example:",
                          "iqn.2026-11.com:a b",
                          "iqn.2026-11.com:a,b",
                          "iqn.2026-11.com:a=b",
                          "iqn.2026-11.com:a\n",
                          "eui.0200",
                          "eui.0200456gA425678D",
                          "naa.5200",
                          "host-1",
                          "IQN.2026-11.com.example",
                          "iqn.2026-11.com:\xff"}) {
    CAPTURE(bad);
    CHECK(check_iscsi_name(bad, NameOf::initiator) != "");
    CHECK(check_iscsi_name(bad, NameOf::target) != "");
  }
  for (const char* sloppy : {"iqn.2026-11.com.example:Disk_1", "iqn.2026-11.com.example:\xc3\xa4"}) {
    CAPTURE(sloppy);
    CHECK(check_iscsi_name(sloppy, NameOf::initiator) != "");
    CHECK(check_iscsi_name(sloppy, NameOf::target) == "");
  }
  const std::string longest = "iqn.2026-11.com.example:" + std::string(199, 'a');
  CHECK(check_iscsi_name(longest, NameOf::initiator) == "");
  CHECK(check_iscsi_name(longest + "a", NameOf::initiator) == "has 224 bytes; an iSCSI name has at most 223");
}

TEST_CASE("names of targets and exports") {
  CHECK(check_target_name("array-1.b_2") == "");
  CHECK(check_target_name(std::string(64, 'a')) == "");
  for (const std::string& bad :
       {std::string(), std::string("Array"), std::string("a b"), std::string("\xc3\xa4"), std::string(65, 'a')}) {
    CHECK(check_target_name(bad) != "");
  }
  CHECK(check_export_name("vol0") == "");
  CHECK(check_export_name("Daten B\xc3\xa4nde/1") == "");
  CHECK(check_export_name(std::string(4096, 'a')) == "");
  for (const std::string& bad : {std::string(), std::string("a\tb"), std::string("a\n"), std::string(" a"),
                                 std::string("a "), std::string("\xc3"), std::string(4097, 'a')}) {
    CHECK(check_export_name(bad) != "");
  }
  CHECK(check_description("") == "");
  CHECK(check_description("two\nlines") != "");
  CHECK(check_description(std::string(4097, 'a')) != "");
}

TEST_CASE("forms of the log") {
  CHECK(parse_log_format("auto") == LogFormat::automatic);
  CHECK(parse_log_format("text") == LogFormat::text);
  CHECK(parse_log_format("json") == LogFormat::json);
  CHECK(parse_log_format("journal") == LogFormat::journal);
  CHECK_FALSE(parse_log_format("syslog"));
}

TEST_CASE("log levels") {
  CHECK(parse_log_level("trace") == LogLevel::trace);
  CHECK(parse_log_level("info") == LogLevel::info);
  CHECK(parse_log_level("error") == LogLevel::error);
  CHECK_FALSE(parse_log_level("warning"));
  CHECK_FALSE(parse_log_level(""));
}

TEST_CASE("UTF-8: shortest forms only") {
  for (const char* good :
       {"", "a", "\xc2\x80", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"})
    CHECK(is_utf8(good));
  for (const char* bad : {"\x80", "\xc3", "\xc0\xaf", "\xc1\x81", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
                          "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\xe2\x82", "\xe2\x28\xa1", "a\xffz"}) {
    CAPTURE(bad);
    CHECK_FALSE(is_utf8(bad));
  }
}

TEST_CASE("the nearest key") {
  constexpr std::array<std::string_view, 4> kKeys{"portals", "connections", "iqn", "name"};
  CHECK(nearest("portal", kKeys) == "portals");
  CHECK(nearest("protals", kKeys) == "portals");
  CHECK(nearest("conections", kKeys) == "connections");
  CHECK(nearest("iqm", kKeys) == "iqn");
  CHECK(nearest("nmae", kKeys) == "name");
  CHECK(nearest("zebra", kKeys) == "");
  CHECK(nearest("", kKeys) == "");
  CHECK(nearest(std::string(1000, 'a'), kKeys) == "");
}
