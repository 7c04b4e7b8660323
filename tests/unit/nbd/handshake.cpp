#include "gateway/nbd/handshake.hpp"

#include <cstring>

#include <doctest/doctest.h>

#include "tests/unit/nbd/rig.hpp"
#include "tests/unit/nbd/wire.hpp"

using namespace nbdgw;
using namespace nbdgw::test;
using nbd::CloseReason;

namespace {

constexpr std::uint64_t kSize = 1 << 20;

std::string block_size_info(std::uint32_t option, std::uint32_t min = 1) {
  return reply(option, kInfo, be16(3) + be32(min) + be32(4096) + be32(32 << 20));
}

std::string from_hex(std::string_view hex) {
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes += static_cast<char>(digit(hex[i]) << 4 | digit(hex[i + 1]));
  return bytes;
}

}  // namespace

TEST_CASE("handshake: nbd-client 3.27, GO without any information request, byte for byte") {
  // Written out once in hexadecimal, so that no builder of the tests can hide a mistake of the engine.
  check_script({from_hex("00000003"
                         "49484156454f5054"
                         "00000007"
                         "0000000a"
                         "00000004"
                         "766f6c30"
                         "0000"
                         "25609513"
                         "0000"
                         "0002"
                         "0000000000000000"
                         "0000000000000000"
                         "00000000"),
                from_hex("4e42444d41474943"
                         "49484156454f5054"
                         "0003"
                         "0003e889045565a9"
                         "00000007"
                         "00000003"
                         "0000000c"
                         "0000"
                         "0000000000100000"
                         "016d"
                         "0003e889045565a9"
                         "00000007"
                         "00000001"
                         "00000000"),
                CloseReason::disc});
}

TEST_CASE("handshake: nbd-client with -no-optgo, EXPORT_NAME") {
  check_script(
      {client_flags(3) + option(1, "vol0") + disc(), greeting() + be64(kSize) + be16(kRigFlags), CloseReason::disc});
}

TEST_CASE("handshake: EXPORT_NAME with the 124 zeroes") {
  check_script({client_flags(1) + option(1, "vol0") + disc(),
                greeting() + be64(kSize) + be16(kRigFlags) + std::string(124, '\0'), CloseReason::disc});
}

TEST_CASE("handshake: plain newstyle knows EXPORT_NAME and nothing else") {
  check_script({client_flags(0) + option(3) + option(1, "vol0") + disc(),
                greeting() + reply(3, kInvalid, "Without the fixed newstyle flag EXPORT_NAME is the only option.") +
                    be64(kSize) + be16(kRigFlags) + std::string(124, '\0'),
                CloseReason::disc});
}

TEST_CASE("handshake: GO is never followed by zeroes, whatever NO_ZEROES says") {
  check_script({client_flags(1) + opt_go("vol0") + request(kFlush, 0, 9, 0, 0) + disc(),
                attached(false) + simple(0, 9), CloseReason::disc});
}

TEST_CASE("handshake: libnbd 1.18 and later") {
  const std::string context = be32(4) + "vol0" + be32(1) + be32(15) + "base:allocation";
  check_script({client_flags() + option(11) + option(8) + option(10, context) + opt_go("vol0", {3}) + disc(),
                greeting() + reply(11, kUnsup, "Extended headers are not supported.") + reply(8, kAck) +
                    reply(10, kUnsup, "Metadata contexts are not supported.") +
                    info_export(7, kSize, kRigFlags | 0x80) + block_size_info(7) + reply(7, kAck),
                CloseReason::disc});
}

TEST_CASE("handshake: qemu 8.2 and later, listing first") {
  const std::string contexts = be32(4) + "vol0" + be32(0);
  check_script({client_flags() + option(5) + option(11) + option(8) + option(3) + opt_info("vol0", {1, 2, 3}) +
                    option(9, contexts) + option(2),
                greeting() + reply(5, kPolicy, "TLS is not configured on this server.") +
                    reply(11, kUnsup, "Extended headers are not supported.") + reply(8, kAck) +
                    reply(3, kServer, be32(4) + "vol0a disk") + reply(3, kServer, be32(4) + "vol1") + reply(3, kAck) +
                    info_export(6, kSize, kRigFlags | 0x80) + reply(6, kInfo, be16(1) + "vol0") +
                    reply(6, kInfo, be16(2) + "a disk") + block_size_info(6) + reply(6, kAck) +
                    reply(9, kUnsup, "Metadata contexts are not supported.") + reply(2, kAck),
                CloseReason::client_abort});
}

TEST_CASE("handshake: our own clients are told which disk it is, before structured replies and instead of GO") {
  const auto contexts = [](std::string_view name, std::string_view query) {
    return option(9, be32(name.size()) + std::string(name) + be32(1) + be32(query.size()) + std::string(query));
  };
  const auto prepare = [](Rig& rig) { rig.backend.info_.disk = {.designator = "naa.6001405", .serial = "4711"}; };
  const std::string told = reply(9, 4, be32(0) + "x-nbdgw:identity=naa.6001405") + reply(9, kAck);
  check_script(
      {client_flags() + contexts("vol0", "x-nbdgw:identity") + contexts("vol0", "x-nbdgw:") +
           contexts("vol0", "x-nbdgw:resume=f00d") + contexts("nope", "x-nbdgw:identity") +
           contexts("vol0", "base:allocation") + contexts("vol0", "x-nbdgw:resume=") + opt_go("vol0") + disc(),
       greeting() + told + told + reply(9, kAck) + reply(9, kUnknown, "There is no export of that name.") +
           reply(9, kUnsup, "Metadata contexts are not supported.") +
           reply(9, kInvalid, "The client's token has characters or a length that none has.") +
           info_export(7, kSize, kRigFlags) + reply(7, kAck),
       CloseReason::disc},
      prepare);
}

TEST_CASE("handshake: INFO, then GO: the same answers; the empty name is the first export") {
  check_script({client_flags() + opt_info("", {1}) + opt_go("", {1}) + disc(),
                greeting() + info_export(6, kSize, kRigFlags) + reply(6, kInfo, be16(1) + "vol0") + reply(6, kAck) +
                    info_export(7, kSize, kRigFlags) + reply(7, kInfo, be16(1) + "vol0") + reply(7, kAck),
                CloseReason::disc});
}

TEST_CASE("handshake: unknown information requests are ignored, repeated ones answered once") {
  check_script({client_flags() + opt_go("vol0", {77, 1, 1, 0, 65535}) + disc(),
                greeting() + info_export(7, kSize, kRigFlags) + reply(7, kInfo, be16(1) + "vol0") + reply(7, kAck),
                CloseReason::disc});
}

TEST_CASE("handshake: an unknown export is refused, and the client may try another") {
  check_script({client_flags() + opt_go("nope") + opt_info("vol1") + opt_go("vol0") + disc(),
                greeting() + reply(7, kUnknown, "There is no export of that name.") +
                    reply(6, kUnknown, "There is no export of that name.") + info_export(7, kSize, kRigFlags) +
                    reply(7, kAck),
                CloseReason::disc});
}

TEST_CASE("handshake: ABORT is acknowledged, its data ignored") {
  check_script({client_flags() + option(2, "why not"), greeting() + reply(2, kAck), CloseReason::client_abort});
}

TEST_CASE("handshake: the flags tell what the export can do") {
  const auto prepare = [](Rig& rig) {
    rig.backend.info_.read_only = true;
    rig.backend.info_.rotational = true;
    rig.backend.info_.min_block = 4096;
    rig.backend.info_.description.clear();
  };
  // Read-only: neither TRIM nor WRITE_ZEROES. A minimum above 1 is told unasked. No description, no reply for it.
  check_script(
      {client_flags() + opt_go("vol0", {2}) + disc(),
       greeting() + info_export(7, kSize, 0x11f) + block_size_info(7, 4096) + reply(7, kAck), CloseReason::disc},
      prepare);
  nbd::ExportInfo bare;
  bare.flush = bare.fua = bare.trim = bare.write_zeroes = bare.multi_conn = false;
  CHECK(nbd::transmission_flags(bare, false) == 1);
  CHECK(nbd::transmission_flags(bare, true) == 0x81);
}

TEST_CASE("handshake: requests that come right behind GO are not lost") {
  check_script({attach(false) + request(kRead, 0, 5, 0, 16) + request(kWrite, 0, 6, 8, 4) + "abcd" +
                    request(kRead, 0, 7, 8, 4) + disc(),
                attached(false) + simple(0, 5, std::string(16, '\0')) + simple(0, 6) + simple(0, 7, "abcd"),
                CloseReason::disc});
}

// ---- an export that is not there yet
// --------------------------------------------------------------------------------

TEST_CASE("handshake: an export that comes up in time") {
  Rig rig;
  rig.waiting["vol0"] = "Target array is down: connection refused.";
  rig.feed(client_flags() + opt_go("vol0"));
  CHECK(rig.connection.wants_export() == "vol0");
  CHECK(rig.take() == greeting());
  rig.now += 9 * proto::kSecond;
  CHECK(rig.connection.next_deadline() > rig.now);
  // Pipelined requests wait with it.
  rig.feed(request(kFlush, 0, 1, 0, 0));
  rig.waiting.clear();
  rig.serve();
  CHECK(rig.take() == info_export(7, kSize, kRigFlags) + reply(7, kAck) + simple(0, 1));
  // What is left is the watch over whether it takes its replies.
  CHECK(rig.connection.next_deadline() >= rig.now + nbd::ConnectionOptions{}.stall_timeout);
}

TEST_CASE("handshake: an export that stays away gets ERR_UNKNOWN with the latest reason, and the handshake goes on") {
  Rig rig;
  rig.waiting["vol0"] = "Target array is down: connection refused.";
  rig.feed(client_flags() + opt_go("vol0"));
  rig.waiting["vol0"] = "Target array is down: no route to host";  // a full stop is added
  rig.serve();
  rig.take();
  rig.now = rig.connection.next_deadline();
  rig.connection.on_deadline(rig.now - 1);
  CHECK(rig.connection.wants_export().has_value());
  rig.connection.on_deadline(rig.now);
  CHECK(!rig.connection.wants_export().has_value());
  rig.serve();
  CHECK(rig.take() == reply(7, kUnknown, "Target array is down: no route to host."));
  CHECK(rig.connection.next_deadline() == rig.now + 10 * proto::kSecond);
  rig.waiting.clear();
  rig.feed(opt_go("vol0"));
  CHECK(rig.take() == info_export(7, kSize, kRigFlags) + reply(7, kAck));
}

TEST_CASE("handshake: EXPORT_NAME of an export that stays away closes") {
  Rig rig;
  rig.waiting["vol0"] = "down";
  rig.feed(client_flags() + option(1, "vol0"));
  rig.now += 10 * proto::kSecond;
  rig.connection.on_deadline(rig.now);
  rig.serve();
  CHECK(rig.take() == greeting());
  CHECK(rig.connection.wants_close());
  CHECK(rig.connection.close_reason() == CloseReason::export_name_unknown);
}

TEST_CASE("handshake: an answer that comes too late does no harm") {
  Rig rig;
  rig.waiting["vol0"] = "down";
  rig.feed(client_flags() + opt_go("vol0"));
  rig.now += 10 * proto::kSecond;
  rig.connection.on_deadline(rig.now);
  rig.connection.export_found(rig.backend, rig.now);
  rig.connection.export_unknown("too late", rig.now);
  rig.serve();
  CHECK(rig.take() == greeting() + reply(7, kUnknown, "down."));
  CHECK(rig.connection.phase() == nbd::Connection::Phase::handshake);
}

TEST_CASE("handshake: the time the client waits for an export is not its own") {
  Rig rig;
  rig.waiting["vol0"] = "down";
  rig.now += 4 * proto::kSecond;
  rig.feed(client_flags() + opt_info("vol0"));
  rig.now += 5 * proto::kSecond;
  rig.waiting.clear();
  rig.serve();
  CHECK(rig.connection.next_deadline() == rig.now + 6 * proto::kSecond);
}

// ---- shutdown
// -------------------------------------------------------------------------------------------------------

TEST_CASE("handshake: at shutdown every option but ABORT gets ERR_SHUTDOWN") {
  const std::string text = "The server is shutting down.";
  const auto drain = [](Rig& rig) { rig.connection.begin_drain(rig.now); };
  check_script({client_flags() + option(3) + option(99) + option(8) + opt_go("vol0") + option(2),
                greeting() + reply(3, kShutdown, text) + reply(99, kShutdown, text) + reply(8, kShutdown, text) +
                    reply(7, kShutdown, text) + reply(2, kAck),
                CloseReason::client_abort},
               drain);
  check_script({client_flags() + option(1, "vol0"), greeting(), CloseReason::export_name_at_shutdown}, drain);
}

TEST_CASE("handshake: shutdown ends the wait for an export") {
  Rig rig;
  rig.waiting["vol0"] = "down";
  rig.feed(client_flags() + opt_go("vol0"));
  rig.connection.begin_drain(rig.now);
  rig.serve();
  CHECK(rig.take() == greeting() + reply(7, kShutdown, "The server is shutting down."));
}

TEST_CASE("handshake: an export that takes no new clients says so, and the client may ask for another") {
  const auto shut = [](Rig& rig) { rig.shut["vol1"] = "vol1 is in maintenance"; };
  const std::string refusal = "vol1 is in maintenance.";
  check_script({client_flags() + option(3) + opt_info("vol1") + opt_go("vol1") + option(2),
                greeting() + reply(3, kServer, be32(4) + "vol0a disk") + reply(3, kServer, be32(4) + "vol1") +
                    reply(3, kAck) + reply(6, kShutdown, refusal) + reply(7, kShutdown, refusal) + reply(2, kAck),
                CloseReason::client_abort},
               shut);
  check_script({client_flags() + option(1, "vol1"), greeting(), CloseReason::export_name_at_shutdown}, shut);
  Rig rig;
  shut(rig);
  rig.feed(client_flags() + opt_go("vol1"));
  rig.take();
  rig.shut.clear();
  rig.feed(opt_go("vol0"));
  CHECK(rig.connection.phase() == nbd::Connection::Phase::transmission);
}

TEST_CASE("handshake: no export at all") {
  nbd::Connection connection(std::make_shared<nbd::ExportDirectory>(), {}, 0);
  const std::string bytes = client_flags() + option(3) + opt_go("");
  iovec room[2];
  REQUIRE(connection.rx_buffers(room) == 1);
  std::memcpy(room[0].iov_base, bytes.data(), bytes.size());
  connection.on_received(bytes.size(), 1);
  CHECK(!connection.wants_export().has_value());
  REQUIRE(connection.tx_buffers(room) == 1);
  const std::string said(static_cast<const char*>(room[0].iov_base), room[0].iov_len);
  CHECK(said ==
        greeting() + reply(3, kAck) + reply(7, kUnknown, "There is no default export: no export is configured."));
  connection.on_disconnected(2);
}

TEST_CASE("handshake: who does not read gets no further answers") {
  Rig rig;
  rig.automatic = false;
  std::string many = client_flags();
  nbd::ExportDirectory big(200, {std::string(200, 'n'), std::string(300, 'd')});
  nbd::Connection connection(std::make_shared<nbd::ExportDirectory>(big), {}, rig.now);
  std::string bytes = client_flags();
  for (int i = 0; i < 3; ++i) bytes += option(3);
  iovec room[2];
  REQUIRE(connection.rx_buffers(room) == 1);
  std::memcpy(room[0].iov_base, bytes.data(), bytes.size());
  connection.on_received(bytes.size(), rig.now);
  CHECK(connection.rx_buffers(room) == 0);
  CHECK(connection.counters().options == 1);
  std::size_t total = 0;
  while (connection.tx_buffers(room) == 1) {
    total += room[0].iov_len;
    connection.on_sent(room[0].iov_len, rig.now);
  }
  CHECK(total == 18 + 3 * (200 * (20 + 4 + 500) + 20));
  CHECK(connection.counters().options == 3);
  CHECK(connection.rx_buffers(room) == 1);
  connection.on_disconnected(rig.now);
}
