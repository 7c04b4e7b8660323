#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include "proto/nbd/constants.hpp"

/// What goes over the wire, built byte by byte from the protocol document, without the encoders under test.
namespace nbdgw::test {

inline std::string be16(std::uint64_t v) {
  return {static_cast<char>(v >> 8 & 0xff), static_cast<char>(v & 0xff)};
}
inline std::string be32(std::uint64_t v) {
  return be16(v >> 16 & 0xffff) + be16(v & 0xffff);
}
inline std::string be64(std::uint64_t v) {
  return be32(v >> 32) + be32(v & 0xffffffff);
}

// ---- handshake ----

inline std::string greeting() {
  return "NBDMAGIC"
         "IHAVEOPT" +
         be16(3);
}
inline std::string client_flags(std::uint32_t flags = 3) {
  return be32(flags);
}

inline std::string option(std::uint32_t number, std::string_view data = {}) {
  return "IHAVEOPT" + be32(number) + be32(data.size()) + std::string(data);
}
inline std::string info_data(std::string_view name, std::initializer_list<int> infos = {}) {
  std::string data = be32(name.size()) + std::string(name) + be16(infos.size());
  for (int info : infos) data += be16(static_cast<std::uint64_t>(info));
  return data;
}
inline std::string opt_info(std::string_view name, std::initializer_list<int> infos = {}) {
  return option(6, info_data(name, infos));
}
inline std::string opt_go(std::string_view name, std::initializer_list<int> infos = {}) {
  return option(7, info_data(name, infos));
}

inline constexpr std::uint32_t kAck = 1, kServer = 2, kInfo = 3;
inline constexpr std::uint32_t kUnsup = 0x80000001, kPolicy = 0x80000002, kInvalid = 0x80000003,
                               kUnknown = 0x80000006, kShutdown = 0x80000007;

inline std::string reply(std::uint32_t number, std::uint32_t type, std::string_view data = {}) {
  return be64(0x0003e889045565a9) + be32(number) + be32(type) + be32(data.size()) + std::string(data);
}
inline std::string info_export(std::uint32_t number, std::uint64_t size, std::uint16_t flags) {
  return reply(number, kInfo, be16(0) + be64(size) + be16(flags));
}

// ---- transmission ----

inline constexpr std::uint16_t kRead = 0, kWrite = 1, kDisc = 2, kFlush = 3, kTrim = 4, kCache = 5, kZeroes = 6,
                               kStatus = 7, kResize = 8;
inline constexpr std::uint16_t kFua = 1, kNoHole = 2, kDf = 4, kReqOne = 8, kFastZero = 16, kPayloadLen = 32;

inline std::string request(std::uint16_t command, std::uint16_t flags, std::uint64_t cookie, std::uint64_t offset,
                           std::uint32_t length) {
  return be32(0x25609513) + be16(flags) + be16(command) + be64(cookie) + be64(offset) + be32(length);
}
inline std::string disc() {
  return request(kDisc, 0, 0, 0, 0);
}

inline std::string simple(std::uint32_t error, std::uint64_t cookie, std::string_view data = {}) {
  return be32(0x67446698) + be32(error) + be64(cookie) + std::string(data);
}
inline std::string chunk(bool done, std::uint16_t type, std::uint64_t cookie, std::string_view content = {}) {
  return be32(0x668e33ef) + be16(done ? 1 : 0) + be16(type) + be64(cookie) + be32(content.size()) +
         std::string(content);
}
inline std::string data_chunk(bool done, std::uint64_t cookie, std::uint64_t offset, std::string_view data) {
  return chunk(done, 1, cookie, be64(offset) + std::string(data));
}
inline std::string error_chunk(std::uint64_t cookie, std::uint32_t error, std::string_view text) {
  return chunk(true, 0x8001, cookie, be32(error) + be16(text.size()) + std::string(text));
}

}  // namespace nbdgw::test
