#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

/// CHAP, the authentication of RFC 7143 section 12.1.3: only the computing. Challenges come from an injected source.
namespace nbdgw::proto::iscsi {

/// CHAP_A. The numbers are IANA's "PPP Authentication Algorithms"; beware that tgt announces SHA1 as 7.
enum class ChapAlgorithm : std::uint8_t { md5 = 5, sha1 = 6, sha256 = 7, sha3_256 = 8 };

/// Strongest first.
inline constexpr std::array kAllChapAlgorithms{ChapAlgorithm::sha3_256, ChapAlgorithm::sha256, ChapAlgorithm::sha1,
                                               ChapAlgorithm::md5};

inline constexpr std::size_t kMaxChapChallengeLength = 1024;
inline constexpr std::size_t kMaxChapDigestLength = 32;
/// Length of CHAP_N and of a secret that we take, bytes.
inline constexpr std::size_t kMaxChapNameLength = 255;
inline constexpr std::size_t kMaxChapSecretLength = 255;
/// The RFC wants secrets of at least 96 bits where the channel is not encrypted (section 9.2.1).
inline constexpr std::size_t kMinChapSecretLength = 12;

struct ChapResponse {
  std::array<std::uint8_t, kMaxChapDigestLength> bytes{};
  std::size_t length = 0;

  std::span<const std::uint8_t> view() const noexcept { return {bytes.data(), length}; }
};

/// H(identifier || secret || challenge). Nothing when the crypto library does not offer the algorithm.
std::optional<ChapResponse> chap_response(ChapAlgorithm algorithm, std::uint8_t identifier, std::string_view secret,
                                          std::span<const std::uint8_t> challenge) noexcept;

/// Which of the offered numbers ("5,7,8", in the offerer's order of preference) we take: the first one that is in
/// `mine`. Nothing when there is none, or the list is not one.
std::optional<ChapAlgorithm> choose_chap_algorithm(std::string_view offered,
                                                   std::span<const ChapAlgorithm> mine) noexcept;

/// "8,7,6,5": the value of a CHAP_A that offers these.
std::string chap_algorithm_list(std::span<const ChapAlgorithm> algorithms);

/// A binary value as text keys carry it: "0x" and hex digits or "0b" and base64 (section 6.1). Writes the bytes to
/// `out`; nothing when it is malformed, empty or longer than `out`.
std::optional<std::size_t> decode_binary(std::string_view text, std::span<std::uint8_t> out) noexcept;

/// "0x..." for these bytes.
std::string encode_hex(std::span<const std::uint8_t> bytes);

/// Takes the same time wherever the first difference is. Different lengths are different.
bool constant_time_equal(std::span<const std::uint8_t> a, std::span<const std::uint8_t> b) noexcept;

}  // namespace nbdgw::proto::iscsi
