#include "tests/sim/target/digest.hpp"

#include <array>
#include <cstring>

namespace nbdgw::sim {
namespace {

constexpr std::uint32_t kPolynomial = 0x82f63b78;  // Castagnoli's, with its bits the other way round
using CrcTables = std::array<std::array<std::uint32_t, 256>, 8>;

/// Eight bytes at a time: a table for each distance from the end.
constexpr CrcTables make_crc_tables() {
  CrcTables tables{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 1) != 0 ? (crc >> 1) ^ kPolynomial : crc >> 1;
    tables[0][byte] = crc;
  }
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    for (std::size_t distance = 1; distance < tables.size(); ++distance) {
      const std::uint32_t nearer = tables[distance - 1][byte];
      tables[distance][byte] = (nearer >> 8) ^ tables[0][nearer & 0xff];
    }
  }
  return tables;
}
constexpr CrcTables kCrcTables = make_crc_tables();

/// Of what is added to a CRC that has begun.
std::uint32_t crc_by_table(std::uint32_t crc, const std::uint8_t* at, std::size_t left) noexcept {
  for (; left >= 8; left -= 8, at += 8) {
    const std::uint32_t low = crc ^ read_digest(at);
    const std::uint32_t high = read_digest(at + 4);
    crc = kCrcTables[7][low & 0xff] ^ kCrcTables[6][(low >> 8) & 0xff] ^ kCrcTables[5][(low >> 16) & 0xff] ^
          kCrcTables[4][low >> 24] ^ kCrcTables[3][high & 0xff] ^ kCrcTables[2][(high >> 8) & 0xff] ^
          kCrcTables[1][(high >> 16) & 0xff] ^ kCrcTables[0][high >> 24];
  }
  for (; left > 0; --left, ++at) crc = (crc >> 8) ^ kCrcTables[0][(crc ^ *at) & 0xff];
  return crc;
}

#ifdef __x86_64__
/// The processor has an instruction for just this polynomial.
__attribute__((target("sse4.2"))) std::uint32_t crc_by_processor(std::uint32_t crc, const std::uint8_t* at,
                                                                 std::size_t left) noexcept {
  std::uint64_t wide = crc;
  for (; left >= 8; left -= 8, at += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, at, sizeof word);
    wide = __builtin_ia32_crc32di(wide, word);
  }
  return crc_by_table(static_cast<std::uint32_t>(wide), at, left);
}

bool can_by_processor() noexcept {
  static const bool can = __builtin_cpu_supports("sse4.2") != 0;
  return can;
}
#endif

}  // namespace

std::uint32_t crc_of(Bytes bytes, std::uint32_t before) noexcept {
#ifdef __x86_64__
  if (can_by_processor()) return ~crc_by_processor(~before, bytes.data(), bytes.size());
#endif
  return ~crc_by_table(~before, bytes.data(), bytes.size());
}

}  // namespace nbdgw::sim
