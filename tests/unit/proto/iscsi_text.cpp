#include "proto/iscsi/text.hpp"

#include <algorithm>
#include <array>
#include <string>

#include <doctest/doctest.h>

#include "tests/unit/random.hpp"

using namespace nbdgw::proto::iscsi;
using namespace std::string_literals;

TEST_CASE("text: pairs come back as they were written") {
  std::array<char, 128> buffer;
  TextWriter writer(buffer);
  CHECK(writer.add("TargetName", "iqn.2026-11.io.nbdgw:disk=1"));
  CHECK(writer.add_number("MaxBurstLength", 262144));
  CHECK(writer.add_boolean("InitialR2T", false));
  CHECK(writer.add("TargetAlias", ""));
  CHECK(writer.text() ==
        "TargetName=iqn.2026-11.io.nbdgw:disk=1\0MaxBurstLength=262144\0InitialR2T=No\0TargetAlias=\0"s);

  TextReader reader(writer.text());
  KeyValue pair;
  REQUIRE(reader.next(pair));
  CHECK(pair.key == "TargetName");
  CHECK(pair.value == "iqn.2026-11.io.nbdgw:disk=1");
  REQUIRE(reader.next(pair));
  CHECK(pair.value == "262144");
  REQUIRE(reader.next(pair));
  CHECK(pair.value == "No");
  REQUIRE(reader.next(pair));
  CHECK(pair.value.empty());
  CHECK_FALSE(reader.next(pair));
  CHECK(reader.error() == TextError::none);
}

TEST_CASE("text: what is malformed is named") {
  CHECK(TextReader::validate(""s) == TextError::none);
  CHECK(TextReader::validate("A=b"s) == TextError::not_terminated);
  CHECK(TextReader::validate("A=b\0C=d"s) == TextError::not_terminated);
  CHECK(TextReader::validate("A\0"s) == TextError::missing_equals);
  // Not to the letter, and harmless.
  CHECK(TextReader::validate("A=b\0\0"s) == TextError::none);
  CHECK(TextReader::validate("\0A=b\0\0\0C=d\0\0"s) == TextError::none);
  CHECK(TextReader::validate("\0\0"s) == TextError::none);
  CHECK(TextReader::validate("X#NodeArchitecture=vendor:model\0"s) == TextError::none);
  CHECK(TextReader::validate("=b\0"s) == TextError::bad_key);
  CHECK(TextReader::validate("A B=c\0"s) == TextError::bad_key);
  CHECK(TextReader::validate("A=\x01\0"s) == TextError::bad_value);
  CHECK(TextReader::validate(std::string(63, 'K') + "=v\0"s) == TextError::none);
  CHECK(TextReader::validate(std::string(64, 'K') + "=v\0"s) == TextError::bad_key);
  CHECK(TextReader::validate("K=" + std::string(8192, 'v') + "\0"s) == TextError::none);
  CHECK(TextReader::validate("K=" + std::string(8193, 'v') + "\0"s) == TextError::value_too_long);
}

TEST_CASE("text: a pair that does not fit is left out whole") {
  std::array<char, 8> buffer;
  TextWriter writer(buffer);
  CHECK(writer.add("A", "b"));
  CHECK_FALSE(writer.add("Key", "v"));
  CHECK(writer.overflowed());
  CHECK(writer.text() == "A=b\0"s);
  CHECK(writer.add("C", "d"));
  CHECK(writer.size() == buffer.size());
  CHECK_FALSE(writer.add("", ""));
}

TEST_CASE("text: the accumulator has a limit") {
  TextAccumulator text(10);
  CHECK(text.append("12345"));
  CHECK_FALSE(text.append("678901"));
  CHECK(text.text() == "12345");
  CHECK(text.append("67890"));
  CHECK_FALSE(text.append("x"));
  text.clear();
  CHECK(text.empty());
}

TEST_CASE("text: any bytes either parse or are refused, within bounds") {
  auto random = nbdgw::test::seeded_random();
  for (int round = 0; round < 20'000; ++round) {
    std::string data(random() % 64, '\0');
    for (char& c : data) c = random() % 3 == 0 ? "=\0Aa,"[random() % 5] : static_cast<char>(random());
    TextReader reader(data);
    KeyValue pair;
    std::size_t used = 0;
    while (reader.next(pair)) {
      CHECK(pair.key.data() >= data.data());
      CHECK(pair.value.data() + pair.value.size() <= data.data() + data.size());
      used += pair.key.size() + pair.value.size() + 2;
    }
    if (reader.error() == TextError::none) {  // the rest are NULs too many
      CHECK(used <= data.size());
      CHECK(data.size() - used <= static_cast<std::size_t>(std::ranges::count(data, '\0')));
    }
    CHECK_FALSE(reader.next(pair));
  }
}

TEST_CASE("iSCSI names") {
  CHECK(is_iscsi_name("iqn.2026-11.io.nbdgw:host-1"));
  CHECK(is_iscsi_name("eui.02004567A425678D"));
  CHECK(is_iscsi_name("naa.52004567BA64678D"));
  CHECK(is_iscsi_name("naa.62004567BA64678D0123456789ABCDEF"));
  CHECK_FALSE(is_iscsi_name(""));
  CHECK_FALSE(is_iscsi_name("iqn."));
  CHECK_FALSE(is_iscsi_name("disk"));
  CHECK_FALSE(is_iscsi_name("eui.0200"));
  CHECK_FALSE(is_iscsi_name("naa.5200xx67BA64678D"));
  CHECK_FALSE(is_iscsi_name("iqn.2026-11.io nbdgw"));
  CHECK(is_iscsi_name("iqn." + std::string(219, 'a')));
  CHECK_FALSE(is_iscsi_name("iqn." + std::string(220, 'a')));
}
