#include "proto/nbd/option_payload.hpp"

#include "proto/nbd/constants.hpp"

#include <string>
#include <vector>

#include <doctest/doctest.h>

using namespace nbdgw::proto::nbd;

namespace {

using Bytes = std::vector<std::uint8_t>;

Bytes info_data(std::uint32_t name_length, std::string_view name, std::uint16_t count, Bytes infos) {
  Bytes data{static_cast<std::uint8_t>(name_length >> 24), static_cast<std::uint8_t>(name_length >> 16),
             static_cast<std::uint8_t>(name_length >> 8), static_cast<std::uint8_t>(name_length)};
  data.insert(data.end(), name.begin(), name.end());
  data.push_back(static_cast<std::uint8_t>(count >> 8));
  data.push_back(static_cast<std::uint8_t>(count));
  data.insert(data.end(), infos.begin(), infos.end());
  return data;
}

bool fine(const Bytes& data) {
  // A copy of exactly this size, so that a sanitizer sees a read beyond it.
  const Bytes exact(data);
  InfoRequest request;
  return parse_info_request(exact, request) == nullptr;
}

}  // namespace

TEST_CASE("nbd option payload: INFO and GO") {
  const Bytes data = info_data(4, "vol0", 4, {0, 3, 0, 1, 0, 99, 0, 0});
  InfoRequest request;
  REQUIRE(parse_info_request(data, request) == nullptr);
  CHECK(request.export_name == "vol0");
  CHECK(request.infos.name);
  CHECK(!request.infos.description);
  CHECK(request.infos.block_size);
  CHECK(fine(info_data(0, "", 0, {})));
}

TEST_CASE("nbd option payload: every truncation and every wrong length is refused") {
  const Bytes data = info_data(4, "vol0", 2, {0, 1, 0, 2});
  for (std::size_t length = 0; length < data.size(); ++length) {
    CAPTURE(length);
    CHECK(!fine(Bytes(data.begin(), data.begin() + static_cast<std::ptrdiff_t>(length))));
  }
  Bytes longer(data);
  longer.push_back(0);
  CHECK(!fine(longer));
  for (const std::uint32_t wrong : {3U, 5U, 11U, 4096U, 0x7fffffffU, 0xfffffffaU, 0xffffffffU})
    CHECK(!fine(info_data(wrong, "vol0", 2, {0, 1, 0, 2})));
  for (const std::uint16_t wrong : std::vector<std::uint16_t>{0, 1, 3, 0x8002, 0xffff})
    CHECK(!fine(info_data(4, "vol0", wrong, {0, 1, 0, 2})));
}

TEST_CASE("nbd option payload: names") {
  CHECK(check_export_name("") == nullptr);
  CHECK(check_export_name(std::string(kMaxString, 'n')) == nullptr);
  CHECK(check_export_name(std::string(kMaxString + 1, 'n')) != nullptr);
  CHECK(check_export_name(std::string_view("a\0b", 3)) != nullptr);
  CHECK(fine(info_data(kMaxString, std::string(kMaxString, 'n'), 0, {})));
  CHECK(!fine(info_data(kMaxString + 1, std::string(kMaxString + 1, 'n'), 0, {})));
}
