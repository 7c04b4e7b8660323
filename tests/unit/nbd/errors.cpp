// What each kind of misuse gets: one test for each row of the table "bad input" of the NBD reference.

#include <doctest/doctest.h>

#include "gateway/nbd/validate.hpp"
#include "tests/unit/nbd/rig.hpp"
#include "tests/unit/nbd/wire.hpp"

using namespace nbdgw;
using namespace nbdgw::test;
using nbd::CloseReason;

namespace {

constexpr const char* kNoData = "This option takes no data.";
constexpr const char* kBadFlag = "A command flag is unknown, was not offered, or does not go with this command.";
constexpr const char* kPastEnd = "The request goes beyond the end of the export.";

/// A handshake in which `option` gets this error; the next option shows that the stream is still in step.
void option_gets(const std::string& option, std::uint32_t number, std::uint32_t error, std::string_view text) {
  check_script({client_flags() + option + opt_go("vol0") + disc(),
                greeting() + reply(number, error, text) + info_export(7, 1 << 20, kRigFlags) + reply(7, kAck),
                CloseReason::disc});
}

/// A request with cookie 7 that gets this error, with simple and with structured replies; the connection goes on.
void request_gets(const std::string& request_bytes, std::uint32_t error, std::string_view text,
                  const std::function<void(Rig&)>& prepare = {}, std::uint16_t flags = kRigFlags) {
  const std::string next = request(kRead, 0, 8, 0, 0);
  check_script({attach(false) + request_bytes + next + disc(),
                attached(false, flags) + simple(error, 7) + simple(0, 8), CloseReason::disc},
               prepare);
  check_script({attach(true) + request_bytes + next + disc(),
                attached(true, flags) + error_chunk(7, error, text) + chunk(true, 0, 8), CloseReason::disc},
               prepare);
}

}  // namespace

// ---- handshake
// ------------------------------------------------------------------------------------------------------

TEST_CASE("errors-unknown-client-flag") {
  check_script({client_flags(7) + opt_go("vol0"), greeting(), CloseReason::bad_client_flags});
  check_script({client_flags(0x80000003), greeting(), CloseReason::bad_client_flags});
}

TEST_CASE("errors-wrong-option-magic") {
  check_script({client_flags() + "IHAVEOPS" + be32(7) + be32(0), greeting(), CloseReason::bad_option_magic});
  // An old-style client, or one that speaks TLS or HTTP at once.
  check_script({client_flags() + "GET / HTTP/1.1\r\n\r\n", greeting(), CloseReason::bad_option_magic});
}

TEST_CASE("errors-option-too-long") {
  check_script({client_flags() + "IHAVEOPT" + be32(99) + be32(nbd::kMaxOptionLength + 1), greeting(),
                CloseReason::option_too_long});
  check_script(
      {client_flags() + "IHAVEOPT" + be32(7) + be32(0xffffffff) + "xxxx", greeting(), CloseReason::option_too_long});
}

TEST_CASE("errors-longest-option-is-consumed") {
  option_gets(option(99, std::string(nbd::kMaxOptionLength, 'x')), 99, kUnsup, "Unknown option.");
}

TEST_CASE("errors-too-many-options") {
  std::string client = client_flags(), server = greeting();
  for (std::size_t i = 0; i < nbd::kMaxOptions + 2; ++i) {  // the directory of the rig has two exports
    client += option(99);
    server += reply(99, kUnsup, "Unknown option.");
  }
  check_script({client + option(99), server, CloseReason::too_many_options});
}

TEST_CASE("errors-handshake-timeout") {
  for (const std::string& said : {std::string(), client_flags(), client_flags() + option(3).substr(0, 15)}) {
    Rig rig;
    rig.feed(said);
    CHECK(rig.connection.next_deadline() == rig.now + 10 * proto::kSecond);
    rig.now += 10 * proto::kSecond;
    rig.connection.on_deadline(rig.now);
    CHECK(rig.connection.wants_close());
    CHECK(rig.connection.close_reason() == CloseReason::handshake_timeout);
  }
}

TEST_CASE("errors-handshake-timeout-of-a-client-that-does-not-read") {
  Rig rig;
  rig.automatic = false;
  rig.feed(client_flags());
  rig.now += 10 * proto::kSecond;
  rig.connection.on_deadline(rig.now);
  CHECK(rig.connection.wants_close());  // the greeting is still unsent: no matter
}

TEST_CASE("errors-list-with-data") {
  option_gets(option(3, "x"), 3, kInvalid, kNoData);
}
TEST_CASE("errors-starttls-with-data") {
  option_gets(option(5, "x"), 5, kInvalid, kNoData);
}
TEST_CASE("errors-structured-reply-with-data") {
  option_gets(option(8, "x"), 8, kInvalid, kNoData);
}
TEST_CASE("errors-extended-headers-with-data") {
  option_gets(option(11, "x"), 11, kInvalid, kNoData);
}

TEST_CASE("errors-starttls-is-not-configured") {
  option_gets(option(5), 5, kPolicy, "TLS is not configured on this server.");
}
TEST_CASE("errors-extended-headers") {
  option_gets(option(11), 11, kUnsup, "Extended headers are not supported.");
}
TEST_CASE("errors-peek-export") {
  option_gets(option(4, "vol0"), 4, kUnsup, "PEEK_EXPORT was withdrawn from the protocol.");
}
TEST_CASE("errors-unknown-option") {
  option_gets(option(0), 0, kUnsup, "Unknown option.");
  option_gets(option(0xffffffff, "data"), 0xffffffff, kUnsup, "Unknown option.");
}
TEST_CASE("errors-meta-contexts-are-not-supported") {
  option_gets(option(9, be32(4) + "vol0" + be32(1) + be32(5) + "base:"), 9, kUnsup,
              "Metadata contexts are not supported.");
  option_gets(option(9, be32(4) + "vol0" + be32(1) + be32(999) + "base:"), 9, kInvalid,
              "A query does not fit into the option's data.");
  option_gets(option(10, be32(0xffffffff)), 10, kUnsup, "Metadata contexts are not supported.");
}

TEST_CASE("errors-second-structured-reply") {
  check_script({client_flags() + option(8) + option(8) + opt_go("vol0") + disc(),
                greeting() + reply(8, kAck) + reply(8, kInvalid, "Structured replies are negotiated already.") +
                    info_export(7, 1 << 20, kRigFlags | 0x80) + reply(7, kAck),
                CloseReason::disc});
}

TEST_CASE("errors-go-too-short") {
  for (std::size_t length = 0; length < 6; ++length)
    option_gets(option(7, std::string(length, '\0')), 7, kInvalid, "The option's data is too short for INFO or GO.");
}
TEST_CASE("errors-go-name-length-beyond-the-option") {
  const char* text = "The export name does not fit into the option's data.";
  option_gets(option(7, be32(0xffffffff) + be16(0)), 7, kInvalid, text);  // CVE-2022-26495
  option_gets(option(7, be32(1) + be16(0)), 7, kInvalid, text);
  option_gets(option(6, be32(5) + "vol0" + be16(0)), 6, kInvalid, text);
}
TEST_CASE("errors-go-name-too-long") {  // CVE-2022-26496
  option_gets(option(7, info_data(std::string(4097, 'n'))), 7, kInvalid,
              "The export name is longer than 4096 bytes.");
  option_gets(option(7, info_data(std::string(4096, 'n'))), 7, kUnknown, "There is no export of that name.");
}
TEST_CASE("errors-go-name-with-nul") {
  option_gets(option(7, info_data(std::string_view("vo\0l", 4))), 7, kInvalid,
              "The export name contains a NUL byte.");
}
TEST_CASE("errors-go-information-count-does-not-fit") {
  const char* text = "The number of information requests does not fit the option's length.";
  option_gets(option(7, be32(4) + "vol0" + be16(2) + be16(1)), 7, kInvalid, text);
  option_gets(option(7, be32(4) + "vol0" + be16(0) + be16(1)), 7, kInvalid, text);
  option_gets(option(7, be32(4) + "vol0" + be16(1) + be16(1) + "x"), 7, kInvalid, text);
  option_gets(option(7, be32(4) + "vol0" + be16(0xffff)), 7, kInvalid, text);
}

TEST_CASE("errors-export-name-unknown") {
  check_script({client_flags() + option(1, "nope"), greeting(), CloseReason::export_name_unknown});
}
TEST_CASE("errors-export-name-too-long") {
  check_script({client_flags() + option(1, std::string(4097, 'n')), greeting(), CloseReason::export_name_invalid});
  check_script(
      {client_flags() + option(1, std::string_view("a\0", 2)), greeting(), CloseReason::export_name_invalid});
}

// ---- transmission
// ---------------------------------------------------------------------------------------------------

TEST_CASE("errors-wrong-request-magic") {
  for (const std::uint32_t magic : {0x25609514U, 0x21e41c71U, 0U}) {
    std::string bad = request(kRead, 0, 7, 0, 16);
    bad.replace(0, 4, be32(magic));
    // What was asked before is still answered.
    check_script({attach(false) + request(kFlush, 0, 1, 0, 0) + bad, attached(false) + simple(0, 1),
                  CloseReason::bad_request_magic});
  }
}

TEST_CASE("errors-unknown-command") {
  for (const int command : {9, 100, 0xffff})
    request_gets(request(static_cast<std::uint16_t>(command), 0, 7, 0, 0), 22, "Unknown command.");
}
TEST_CASE("errors-resize") {
  request_gets(request(kResize, 0, 7, 0, 0), 22, "This server does not offer RESIZE.");
}
TEST_CASE("errors-cache-is-not-offered") {
  request_gets(request(kCache, 0, 7, 0, 4096), 22, "This server does not offer CACHE.");
}
TEST_CASE("errors-block-status-not-negotiated") {  // up to CVE-2025-47711 and -47712: the longest one
  for (const std::uint32_t length : {0U, 512U, 0xffffffffU})
    request_gets(request(kStatus, 0, 7, 0, length), 22,
                 "BLOCK_STATUS needs a metadata context, and none was negotiated.");
}

TEST_CASE("errors-unknown-flag-read") {
  request_gets(request(kRead, 1 << 6, 7, 0, 16), 22, kBadFlag);
}
TEST_CASE("errors-unknown-flag-flush") {
  request_gets(request(kFlush, 1 << 15, 7, 0, 0), 22, kBadFlag);
}
TEST_CASE("errors-req-one-on-read") {
  request_gets(request(kRead, kReqOne, 7, 0, 16), 22, kBadFlag);
}
TEST_CASE("errors-no-hole-on-trim") {
  request_gets(request(kTrim, kNoHole, 7, 0, 16), 22, kBadFlag);
}
TEST_CASE("errors-fast-zero-not-offered") {
  request_gets(request(kZeroes, kFastZero, 7, 0, 16), 22, kBadFlag);
}
TEST_CASE("errors-payload-len-without-extended-headers") {
  request_gets(request(kTrim, kPayloadLen, 7, 0, 16), 22, kBadFlag);
  request_gets(request(kWrite, kPayloadLen, 7, 0, 4) + "abcd", 22, kBadFlag);
}
TEST_CASE("errors-unknown-flag-write-consumes-the-payload") {
  request_gets(request(kWrite, kDf, 7, 0, 5000) + std::string(5000, 'p'), 22, kBadFlag);
}
TEST_CASE("errors-df-without-structured") {
  check_script(
      {attach(false) + request(kRead, kDf, 7, 0, 16) + disc(), attached(false) + simple(22, 7), CloseReason::disc});
}

TEST_CASE("errors-fua-not-advertised") {
  const auto prepare = [](Rig& rig) { rig.backend.info_.fua = false; };
  const char* text = "This export does not offer FUA.";
  request_gets(request(kWrite, kFua, 7, 0, 4) + "abcd", 22, text, prepare, kRigFlags & ~8);
  request_gets(request(kRead, kFua, 7, 0, 4), 22, text, prepare, kRigFlags & ~8);
}
TEST_CASE("errors-flush-not-advertised") {
  request_gets(
      request(kFlush, 0, 7, 0, 0), 22, "This export does not offer FLUSH.",
      [](Rig& rig) { rig.backend.info_.flush = false; }, kRigFlags & ~4);
}
TEST_CASE("errors-trim-not-advertised") {
  request_gets(
      request(kTrim, 0, 7, 0, 16), 22, "This export does not offer TRIM.",
      [](Rig& rig) { rig.backend.info_.trim = false; }, kRigFlags & ~0x20);
}
TEST_CASE("errors-write-zeroes-not-advertised") {
  request_gets(
      request(kZeroes, 0, 7, 0, 16), 22, "This export does not offer WRITE_ZEROES.",
      [](Rig& rig) { rig.backend.info_.write_zeroes = false; }, kRigFlags & ~0x40);
}
TEST_CASE("errors-flush-with-offset-or-length") {
  request_gets(request(kFlush, 0, 7, 512, 0), 22, "FLUSH takes no offset and no length.");
  request_gets(request(kFlush, 0, 7, 0, 512), 22, "FLUSH takes no offset and no length.");
}

TEST_CASE("errors-read-only") {
  const auto prepare = [](Rig& rig) { rig.backend.info_.read_only = true; };
  const std::uint16_t flags = (kRigFlags & ~0x60) | 2;
  const char* text = "The export is read-only.";
  request_gets(request(kWrite, 0, 7, 0, 4) + "abcd", 1, text, prepare, flags);
  request_gets(request(kTrim, 0, 7, 0, 4), 1, text, prepare, flags);
  request_gets(request(kZeroes, kNoHole, 7, 0, 4), 1, text, prepare, flags);
}

TEST_CASE("errors-write-beyond-end") {
  request_gets(request(kWrite, 0, 7, (1 << 20) - 3, 4) + "abcd", 28, kPastEnd);
  request_gets(request(kZeroes, 0, 7, 1 << 20, 1), 28, kPastEnd);
  request_gets(request(kZeroes, 0, 7, 0, 0xffffffff), 28, kPastEnd);
}
TEST_CASE("errors-read-beyond-end") {
  request_gets(request(kRead, 0, 7, (1 << 20) - 3, 4), 22, kPastEnd);
  request_gets(request(kTrim, 0, 7, 1 << 20, 1), 22, kPastEnd);
}
TEST_CASE("errors-offset-plus-length-wraps") {
  request_gets(request(kRead, 0, 7, 0xfffffffffffffff0, 0x20), 22, kPastEnd);
  request_gets(request(kWrite, 0, 7, 0xffffffffffffffff, 4) + "abcd", 28, kPastEnd);
  request_gets(request(kZeroes, 0, 7, 0xffffffff00000001, 0xffffffff), 28, kPastEnd);
}
TEST_CASE("errors-not-aligned-to-the-minimum-block") {
  const auto prepare = [](Rig& rig) { rig.backend.info_.min_block = 512; };
  const auto gets = [&](const std::string& bytes) {
    const char* text = "Offset or length is not a multiple of the minimum block size.";
    const std::string sizes = reply(7, kInfo, be16(3) + be32(512) + be32(4096) + be32(32 << 20));
    check_script({attach(true) + bytes + disc(),
                  greeting() + reply(8, kAck) + info_export(7, 1 << 20, kRigFlags | 0x80) + sizes + reply(7, kAck) +
                      error_chunk(7, 22, text),
                  CloseReason::disc},
                 prepare);
  };
  gets(request(kRead, 0, 7, 3, 512));
  gets(request(kRead, 0, 7, 512, 7));
  gets(request(kWrite, 0, 7, 1, 4) + "abcd");
  gets(request(kTrim, 0, 7, 512, 513));
}

TEST_CASE("errors-read-longer-than-max") {
  request_gets(request(kRead, 0, 7, 0, (32 << 20) + 1), 22,
               "The request is longer than the maximum payload of this export.");
  request_gets(request(kRead, 0, 7, 0, 0xffffffff), 22,
               "The request is longer than the maximum payload of this export.");
}
TEST_CASE("errors-write-longer-than-max-is-consumed") {
  const std::uint32_t longer = (32 << 20) + 1;
  request_gets(request(kWrite, 0, 7, 0, longer) + std::string(longer, 'w'), 22,
               "The request is longer than the maximum payload of this export.");
}
TEST_CASE("errors-write-longer-than-max-at-the-bound") {
  Rig rig;
  rig.feed(attach(false));
  rig.take();
  CHECK(rig.feed(request(kWrite, 0, 7, 0, nbd::kMaxPayload)) == 28);
  const std::string payload(1 << 20, 'w');
  for (int i = 0; i < 64; ++i) CHECK(rig.feed(payload) == payload.size());
  CHECK(rig.take() == simple(22, 7));
  CHECK(rig.backend.admitted == 0);
  CHECK(rig.connection.counters().bytes_discarded == nbd::kMaxPayload);
}
TEST_CASE("errors-write-far-too-long-closes") {
  check_script({attach(false) + request(kWrite, 0, 7, 0, nbd::kMaxPayload + 1) + "wwww", attached(false),
                CloseReason::payload_too_long});
  check_script({attach(true) + request(kWrite, 0, 7, 0, 0xffffffff), attached(true), CloseReason::payload_too_long});
}

TEST_CASE("errors-length-zero-is-harmless") {
  const std::string client = request(kRead, 0, 1, 0, 0) + request(kWrite, 0, 2, 0, 0) + request(kTrim, 0, 3, 0, 0) +
                             request(kZeroes, 0, 4, 0, 0) + request(kRead, kFua, 5, 1 << 20, 0);
  check_script({attach(false) + client + disc(),
                attached(false) + simple(0, 1) + simple(0, 2) + simple(0, 3) + simple(0, 4) + simple(0, 5),
                CloseReason::disc});
  check_script({attach(true) + client + disc(),
                attached(true) + chunk(true, 0, 1) + simple(0, 2) + simple(0, 3) + simple(0, 4) + chunk(true, 0, 5),
                CloseReason::disc});
  Rig rig;
  rig.feed(attach(true) + client);
  CHECK(rig.backend.admitted == 0);
}

TEST_CASE("errors-disc-with-nonsense-in-it") {
  check_script({attach(false) + request(kDisc, 0xffff, 1, 0xffffffffffffffff, 0xffffffff) + "more", attached(false),
                CloseReason::disc});
}

TEST_CASE("errors-of-the-backend") {
  const std::string text = "MEDIUM ERROR: unrecovered read error.";
  const std::string client = request(kRead, 0, 7, 0, 10000) + request(kWrite, kFua, 8, 0, 100) +
                             std::string(100, 'x') + request(kFlush, 0, 9, 0, 0) + disc();
  for (const auto error : {proto::nbd::Error::eio, proto::nbd::Error::enospc, proto::nbd::Error::eperm}) {
    const auto prepare = [&](Rig& rig) {
      rig.backend.next_error = error;
      rig.backend.next_text = text.c_str();
    };
    const auto number = static_cast<std::uint32_t>(error);
    check_script({attach(false) + client, attached(false) + simple(number, 7) + simple(number, 8) + simple(number, 9),
                  CloseReason::disc},
                 prepare);
    check_script(
        {attach(true) + client,
         attached(true) + error_chunk(7, number, text) + error_chunk(8, number, text) + error_chunk(9, number, text),
         CloseReason::disc},
        prepare);
  }
}
TEST_CASE("errors-text-longer-than-the-protocol-allows") {
  static const std::string text = std::string(4095, 'e') + "\xc3\xa4" + std::string(100, 'e');
  check_script({attach(true) + request(kFlush, 0, 7, 0, 0) + disc(),
                attached(true) + error_chunk(7, 5, std::string(4095, 'e')), CloseReason::disc},
               [](Rig& rig) {
                 rig.backend.next_error = proto::nbd::Error::eio;
                 rig.backend.next_text = text.c_str();
               });
}
