#include "proto/nbd/messages.hpp"

#include <array>
#include <string>

#include <doctest/doctest.h>

using namespace nbdgw::proto::nbd;

namespace {

template <typename Message, std::size_t N>
std::string hex(const Message& message) {
  std::array<std::uint8_t, N> bytes;
  bytes.fill(0xee);
  message.encode(bytes);
  const auto again = Message::decode(bytes);
  std::array<std::uint8_t, N> twice;
  again.encode(twice);
  CHECK(bytes == twice);
  std::string text;
  for (const std::uint8_t byte : bytes) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

}  // namespace

TEST_CASE("nbd messages: every field in its place, both ways") {
  CHECK(hex<Greeting, kGreetingLength>({.flags = 3}) ==
        "4e42444d41474943"
        "49484156454f5054"
        "0003");
  CHECK(hex<OptionRequest, kOptionRequestLength>({.option = Option::go, .length = 0x01020304}) ==
        "49484156454f5054"
        "00000007"
        "01020304");
  CHECK(hex<OptionReply, kOptionReplyLength>({.option = Option::list, .type = Reply::err_unsup, .length = 5}) ==
        "0003e889045565a9"
        "00000003"
        "80000001"
        "00000005");
  CHECK(hex<InfoExport, kInfoExportLength>({.size = 0x0102030405060708, .flags = 0x016d}) ==
        "0000"
        "0102030405060708"
        "016d");
  CHECK(hex<InfoBlockSize, kInfoBlockSizeLength>({.minimum = 1, .preferred = 4096, .max_payload = 0x02000000}) ==
        "0003"
        "00000001"
        "00001000"
        "02000000");
  CHECK(hex<Request, kRequestLength>({.flags = kCmdFlagFua,
                                      .command = Command::write_zeroes,
                                      .cookie = 0x1122334455667788,
                                      .offset = 0x0102030405060708,
                                      .length = 0xfffffe00}) ==
        "25609513"
        "0001"
        "0006"
        "1122334455667788"
        "0102030405060708"
        "fffffe00");
  CHECK(hex<SimpleReply, kSimpleReplyLength>({.error = Error::enospc, .cookie = 0x1122334455667788}) ==
        "67446698"
        "0000001c"
        "1122334455667788");
  CHECK(hex<ChunkHeader, kChunkHeaderLength>(
            {.flags = kReplyFlagDone, .type = Chunk::error, .cookie = 0x1122334455667788, .length = 6}) ==
        "668e33ef"
        "0001"
        "8001"
        "1122334455667788"
        "00000006");
  CHECK(hex<ChunkError, kChunkErrorLength>({.error = Error::eshutdown, .text_length = 0x0102}) ==
        "0000006c"
        "0102");
}

TEST_CASE("nbd messages: magic numbers of a peer are kept for judgement") {
  std::array<std::uint8_t, kRequestLength> request{};
  CHECK(Request::decode(request).magic == 0);
  std::array<std::uint8_t, kOptionRequestLength> option{};
  CHECK(OptionRequest::decode(option).magic == 0);
}
