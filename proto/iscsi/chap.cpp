#include "proto/iscsi/chap.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <charconv>
#include <memory>

namespace nbdgw::proto::iscsi {

namespace {

constexpr std::string_view kBase64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

const EVP_MD* digest_of(ChapAlgorithm algorithm) noexcept {
  switch (algorithm) {
    case ChapAlgorithm::md5:
      return EVP_md5();
    case ChapAlgorithm::sha1:
      return EVP_sha1();
    case ChapAlgorithm::sha256:
      return EVP_sha256();
    case ChapAlgorithm::sha3_256:
      return EVP_sha3_256();
  }
  return nullptr;
}

int hex_digit(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/// An odd number of digits stands for a leading zero: it is a number first of all.
std::optional<std::size_t> decode_hex(std::string_view digits, std::span<std::uint8_t> out) noexcept {
  const std::size_t length = (digits.size() + 1) / 2;
  if (length == 0 || length > out.size()) return std::nullopt;
  std::size_t at = digits.size() % 2;
  std::uint8_t high = 0;
  for (const char c : digits) {
    const int digit = hex_digit(c);
    if (digit < 0) return std::nullopt;
    if (at % 2 == 0)
      high = static_cast<std::uint8_t>(digit << 4);
    else
      out[at / 2] = static_cast<std::uint8_t>(high | digit);
    ++at;
  }
  return length;
}

std::optional<std::size_t> decode_base64(std::string_view text, std::span<std::uint8_t> out) noexcept {
  if (text.empty() || text.size() % 4 != 0) return std::nullopt;
  const std::size_t pads = text.ends_with("==") ? 2U : text.ends_with("=") ? 1U : 0U;
  const std::size_t length = text.size() / 4 * 3 - pads;
  if (length > out.size()) return std::nullopt;
  std::uint32_t bits = 0;
  unsigned count = 0;
  std::size_t at = 0;
  for (const char c : text.substr(0, text.size() - pads)) {
    const std::size_t value = kBase64.find(c);
    if (value == std::string_view::npos) return std::nullopt;
    bits = (bits << 6) | static_cast<std::uint32_t>(value);
    count += 6;
    if (count >= 8) {
      count -= 8;
      out[at++] = static_cast<std::uint8_t>(bits >> count);
      bits &= (1U << count) - 1;
    }
  }
  // Bits left over must be zero, or two texts would stand for the same bytes.
  return bits == 0 && at == length ? std::optional(length) : std::nullopt;
}

}  // namespace

std::optional<ChapResponse> chap_response(ChapAlgorithm algorithm, std::uint8_t identifier, std::string_view secret,
                                          std::span<const std::uint8_t> challenge) noexcept {
  const EVP_MD* digest = digest_of(algorithm);
  if (digest == nullptr) return std::nullopt;
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  ChapResponse response;
  unsigned length = 0;
  if (!context || EVP_DigestInit_ex(context.get(), digest, nullptr) != 1 ||
      EVP_DigestUpdate(context.get(), &identifier, 1) != 1 ||
      EVP_DigestUpdate(context.get(), secret.data(), secret.size()) != 1 ||
      EVP_DigestUpdate(context.get(), challenge.data(), challenge.size()) != 1 ||
      EVP_DigestFinal_ex(context.get(), response.bytes.data(), &length) != 1)
    return std::nullopt;
  response.length = length;
  return response;
}

std::optional<ChapAlgorithm> choose_chap_algorithm(std::string_view offered,
                                                   std::span<const ChapAlgorithm> mine) noexcept {
  while (!offered.empty()) {
    const std::size_t comma = std::min(offered.find(','), offered.size());
    unsigned number = 0;
    const char* end = offered.data() + comma;
    const auto parsed = std::from_chars(offered.data(), end, number);
    if (parsed.ec != std::errc{} || parsed.ptr != end) return std::nullopt;
    for (const ChapAlgorithm algorithm : mine)
      if (number == static_cast<unsigned>(algorithm)) return algorithm;
    offered.remove_prefix(std::min(comma + 1, offered.size()));
  }
  return std::nullopt;
}

std::string chap_algorithm_list(std::span<const ChapAlgorithm> algorithms) {
  std::string list;
  for (const ChapAlgorithm algorithm : algorithms) {
    if (!list.empty()) list += ',';
    list += std::to_string(static_cast<unsigned>(algorithm));
  }
  return list;
}

std::optional<std::size_t> decode_binary(std::string_view text, std::span<std::uint8_t> out) noexcept {
  if (text.starts_with("0x") || text.starts_with("0X")) return decode_hex(text.substr(2), out);
  if (text.starts_with("0b") || text.starts_with("0B")) return decode_base64(text.substr(2), out);
  return std::nullopt;
}

std::string encode_hex(std::span<const std::uint8_t> bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text = "0x";
  text.reserve(2 + 2 * bytes.size());
  for (const std::uint8_t byte : bytes) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

bool constant_time_equal(std::span<const std::uint8_t> a, std::span<const std::uint8_t> b) noexcept {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace nbdgw::proto::iscsi
