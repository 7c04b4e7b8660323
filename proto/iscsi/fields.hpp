#pragma once

#include "proto/bytes/endian.hpp"
#include "proto/iscsi/pdu.hpp"

/// Reading and writing the fields that many headers share; for the codecs of this folder only.
namespace nbdgw::proto::iscsi::fields {

inline constexpr std::uint8_t kImmediate = 0x40;
inline constexpr std::uint8_t kFinal = 0x80;
inline constexpr std::uint8_t kContinue = 0x40;

inline void begin(Bhs& bhs, Opcode opcode, bool immediate = false) noexcept {
  bhs.fill(0);
  bhs[0] = static_cast<std::uint8_t>(static_cast<std::uint8_t>(opcode) | (immediate ? kImmediate : 0));
}

inline bool immediate(const Bhs& bhs) noexcept {
  return (bhs[0] & kImmediate) != 0;
}

inline void put_lengths(Bhs& bhs, std::uint32_t ahs, std::uint32_t data) noexcept {
  bhs[4] = static_cast<std::uint8_t>(ahs / 4);
  store_be24(&bhs[5], data);
}
inline std::uint32_t ahs_length(const Bhs& bhs) noexcept {
  return std::uint32_t{bhs[4]} * 4;
}
inline std::uint32_t data_length(const Bhs& bhs) noexcept {
  return load_be24(&bhs[5]);
}

inline std::uint32_t word(const Bhs& bhs, std::size_t at) noexcept {
  return load_be32(&bhs[at]);
}
inline void put_word(Bhs& bhs, std::size_t at, std::uint32_t value) noexcept {
  store_be32(&bhs[at], value);
}

inline std::uint64_t lun(const Bhs& bhs) noexcept {
  return load_be64(&bhs[8]);
}
inline void put_lun(Bhs& bhs, std::uint64_t value) noexcept {
  store_be64(&bhs[8], value);
}

inline void put_sequence(Bhs& bhs, const TargetSequence& sequence) noexcept {
  put_word(bhs, 24, sequence.stat_sn);
  put_word(bhs, 28, sequence.exp_cmd_sn);
  put_word(bhs, 32, sequence.max_cmd_sn);
}
inline TargetSequence sequence(const Bhs& bhs) noexcept {
  return {word(bhs, 24), word(bhs, 28), word(bhs, 32)};
}

inline std::uint8_t bits(bool flag, std::uint8_t mask) noexcept {
  return flag ? mask : 0;
}

}  // namespace nbdgw::proto::iscsi::fields
