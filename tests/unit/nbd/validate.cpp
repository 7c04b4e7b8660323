#include "gateway/nbd/validate.hpp"

#include <doctest/doctest.h>

using namespace nbdgw::nbd;
using namespace nbdgw::proto::nbd;
using nbdgw::nbd::RequestHeader;

namespace {

constexpr std::uint64_t kSize = 1 << 20;
constexpr std::uint64_t kTop = ~std::uint64_t{0};

ExportInfo plain() {
  ExportInfo info;
  info.size = kSize;
  return info;
}

struct Row {
  Command command;
  std::uint16_t flags;
  std::uint64_t offset;
  std::uint32_t length;
  Error expected;
};

void check(const ExportInfo& info, bool structured, std::initializer_list<Row> rows) {
  int number = 0;
  for (const Row& row : rows) {
    CAPTURE(number);
    ++number;
    const Validation validation =
        validate_request({1, row.command, row.flags, row.offset, row.length}, info, structured);
    CHECK(validation.error == row.expected);
    CHECK((validation.text != nullptr) == (validation.error != Error::none));
  }
}

constexpr Error ok = Error::none;

}  // namespace

TEST_CASE("validate: ranges") {
  check(plain(), false,
        {{Command::read, 0, 0, kSize, ok},
         {Command::read, 0, kSize - 1, 1, ok},
         {Command::read, 0, kSize, 0, ok},
         {Command::read, 0, kSize, 1, Error::einval},
         {Command::read, 0, kSize + 1, 0, Error::einval},
         {Command::read, 0, kTop, 1, Error::einval},
         {Command::write, 0, kSize - 1, 2, Error::enospc},
         {Command::write, 0, kTop, 0xfffff, Error::enospc},
         {Command::trim, 0, kSize - 1, 2, Error::einval},
         {Command::trim, 0, kTop - 1, 0xffffffff, Error::einval},
         {Command::write_zeroes, 0, kSize - 1, 2, Error::enospc},
         {Command::write_zeroes, 0, kTop, 0xffffffff, Error::enospc},
         {Command::write_zeroes, 0, 0, kSize, ok},
         {Command::trim, 0, 3, 5, ok},
         {Command::flush, 0, 0, 0, ok},
         {Command::flush, 0, 1, 0, Error::einval},
         {Command::flush, 0, 0, 1, Error::einval}});
}

TEST_CASE("validate: the longest payload, and 4 GiB where there is none") {
  ExportInfo info = plain();
  info.size = std::uint64_t{1} << 40;
  check(info, false,
        {{Command::read, 0, 0, 32 << 20, ok},
         {Command::read, 0, 0, (32 << 20) + 1, Error::einval},
         {Command::write, 0, 0, 32 << 20, ok},
         {Command::write, 0, 0, (32 << 20) + 1, Error::einval},
         {Command::trim, 0, 0, 0xffffffff, ok},
         {Command::write_zeroes, 0, 0, 0xffffffff, ok}});
  // What goes piece by piece may be longer than what is told to the client.
  info.max_payload = 1 << 20;
  check(info, false,
        {{Command::read, 0, 0, 1 << 20, ok},
         {Command::read, 0, 0, (1 << 20) + 1, Error::einval},
         {Command::write, 0, 0, 32 << 20, ok},
         {Command::write, 0, 0, (32 << 20) + 1, Error::einval}});
  check(info, true,
        {{Command::read, 0, 0, 32 << 20, ok},
         {Command::read, 0, 0, (32 << 20) + 1, Error::einval},
         {Command::read, nbdgw::proto::nbd::kCmdFlagDf, 0, (1 << 20) + 1, Error::einval},
         {Command::write, 0, 0, 32 << 20, ok}});
  info.max_payload = 0xffffffff;
  CHECK(max_payload(info) == kMaxPayload);
  check(info, false, {{Command::read, 0, 0, kMaxPayload, ok}, {Command::read, 0, 0, kMaxPayload + 1, Error::einval}});
}

TEST_CASE("validate: every command with every flag") {
  for (const bool structured : {false, true}) {
    for (std::uint16_t command = 0; command < 12; ++command) {
      if (static_cast<Command>(command) == Command::disc) continue;
      for (int bit = 0; bit < 16; ++bit) {
        CAPTURE(command);
        CAPTURE(bit);
        const bool known = command == 0 || command == 1 || command == 3 || command == 4 || command == 6;
        const bool allowed = bit == 0 || (bit == 1 && command == 6) || (bit == 2 && command == 0 && structured);
        const RequestHeader request{1, static_cast<Command>(command), static_cast<std::uint16_t>(1 << bit), 0, 0};
        CHECK(validate_request(request, plain(), structured).error == (known && allowed ? ok : Error::einval));
      }
    }
  }
}

TEST_CASE("validate: FUA is accepted on every command once offered, and on none otherwise") {
  ExportInfo info = plain();
  for (const Command command :
       {Command::read, Command::write, Command::flush, Command::trim, Command::write_zeroes}) {
    const RequestHeader request{1, command, kCmdFlagFua, 0, 0};
    info.fua = true;
    CHECK(validate_request(request, info, false).error == ok);
    info.fua = false;
    CHECK(validate_request(request, info, false).error == Error::einval);
  }
}

TEST_CASE("validate: read-only, and commands that were not offered") {
  ExportInfo info = plain();
  info.read_only = true;
  check(info, false,
        {{Command::read, 0, 0, 16, ok},
         {Command::flush, 0, 0, 0, ok},
         {Command::write, 0, 0, 16, Error::eperm},
         {Command::write, 0, 0, 0, Error::eperm},
         {Command::write, 0, kSize, 16, Error::eperm},
         {Command::write, kCmdFlagDf, 0, 16, Error::einval},
         {Command::trim, 0, 0, 16, Error::eperm},
         {Command::write_zeroes, kCmdFlagNoHole, 0, 16, Error::eperm}});
  info.trim = info.write_zeroes = false;
  check(info, false, {{Command::trim, 0, 0, 16, Error::eperm}, {Command::write_zeroes, 0, 0, 16, Error::eperm}});
  info.read_only = info.flush = false;
  check(info, false,
        {{Command::trim, 0, 0, 16, Error::einval},
         {Command::write_zeroes, 0, 0, 16, Error::einval},
         {Command::flush, 0, 0, 0, Error::einval},
         {Command::write, 0, 0, 16, ok},
         {Command::cache, 0, 0, 16, Error::einval},
         {Command::block_status, 0, 0, 0xffffffff, Error::einval},
         {Command::resize, 0, 0, 0, Error::einval},
         {static_cast<Command>(0xffff), 0, 0, 0, Error::einval}});
}

TEST_CASE("validate: the minimum block") {
  ExportInfo info = plain();
  info.min_block = 4096;
  check(info, false,
        {{Command::read, 0, 4096, 4096, ok},
         {Command::read, 0, 4095, 4096, Error::einval},
         {Command::read, 0, 4096, 4095, Error::einval},
         {Command::write, 0, 512, 4096, Error::einval},
         {Command::trim, 0, 0, 512, Error::einval},
         {Command::write_zeroes, 0, 0, 512, Error::einval},
         {Command::flush, 0, 0, 0, ok}});
}
