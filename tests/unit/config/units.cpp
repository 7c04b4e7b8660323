#include "config/units.hpp"

#include <doctest/doctest.h>

using namespace nbdgw::config;
using nbdgw::proto::kSecond;

TEST_CASE("sizes: strict, with units") {
  CHECK(parse_size("0") == 0);
  CHECK(parse_size("512") == 512);
  CHECK(parse_size("512B") == 512);
  CHECK(parse_size("64KiB") == 65536);
  CHECK(parse_size("64MiB") == 64ULL << 20);
  CHECK(parse_size("3GiB") == 3ULL << 30);
  CHECK(parse_size("16777215TiB") == 16777215ULL << 40);
  CHECK(parse_size("18446744073709551615") == ~0ULL);
  for (const char* bad : {"", "MiB", "64 MiB", "64MB", "64mib", "64M", "1.5GiB", "-1", "+1", "0x10", " 1", "1 ",
                          "16777216TiB", "18446744073709551616", "1KiBKiB"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_size(bad));
  }
}

TEST_CASE("durations: strict, and never without a unit") {
  CHECK(parse_duration("0s") == 0);
  CHECK(parse_duration("15us") == 15);
  CHECK(parse_duration("500ms") == kSecond / 2);
  CHECK(parse_duration("15s") == 15 * kSecond);
  CHECK(parse_duration("2min") == 120 * kSecond);
  CHECK(parse_duration("1h") == 3600 * kSecond);
  for (const char* bad :
       {"", "15", "s", "15 s", "15S", "1.5s", "-1s", "15sec", "15m", "9223372036854775808us", "2562047789h"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_duration(bad));
  }
}

TEST_CASE("formatting gives back what was read") {
  for (const char* text : {"0B", "1B", "1000B", "1KiB", "40MiB", "1023MiB", "1GiB", "16777215B"}) {
    CHECK(format_size(*parse_size(text)) == text);
  }
  for (const char* text : {"0s", "1us", "1ms", "1500ms", "15s", "90s", "2min", "1h"}) {
    CHECK(format_duration(*parse_duration(text)) == text);
  }
  CHECK(format_duration(*parse_duration("120s")) == "2min");
}
