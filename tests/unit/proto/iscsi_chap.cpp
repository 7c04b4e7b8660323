#include "proto/iscsi/chap.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <openssl/evp.h>

#include "tests/unit/random.hpp"

using namespace nbdgw::proto::iscsi;

namespace {

/// The response as text, without "0x".
std::string response(ChapAlgorithm algorithm, std::uint8_t id, std::string_view secret, std::string_view challenge) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(challenge.data());
  const auto result = chap_response(algorithm, id, secret, {bytes, challenge.size()});
  REQUIRE(result);
  return encode_hex(result->view()).substr(2);
}

/// By OpenSSL.
std::string base64(const std::vector<std::uint8_t>& bytes) {
  std::string text(4 * (bytes.size() / 3 + 1) + 1, '\0');
  const int length =
      EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()), bytes.data(), static_cast<int>(bytes.size()));
  return "0b" + text.substr(0, static_cast<std::size_t>(length));
}

}  // namespace

TEST_CASE(
    "chap: responses, computed elsewhere (Python's hashlib) over 'abc' split in identifier, secret, challenge") {
  CHECK(response(ChapAlgorithm::md5, 'a', "b", "c") == "900150983cd24fb0d6963f7d28e17f72");
  CHECK(response(ChapAlgorithm::sha1, 'a', "b", "c") == "a9993e364706816aba3e25717850c26c9cd0d89d");
  CHECK(response(ChapAlgorithm::sha256, 'a', "b", "c") ==
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(response(ChapAlgorithm::sha3_256, 'a', "b", "c") ==
        "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532");
  CHECK_FALSE(chap_response(static_cast<ChapAlgorithm>(9), 1, "secret", {}));
}

TEST_CASE("chap: the offerer's order decides on the algorithm") {
  CHECK(choose_chap_algorithm("5", kAllChapAlgorithms) == ChapAlgorithm::md5);
  CHECK(choose_chap_algorithm("7,5", kAllChapAlgorithms) == ChapAlgorithm::sha256);
  CHECK(choose_chap_algorithm("99,6,8", kAllChapAlgorithms) == ChapAlgorithm::sha1);
  const ChapAlgorithm only[] = {ChapAlgorithm::sha3_256};
  CHECK(choose_chap_algorithm("5,6,7,8", only) == ChapAlgorithm::sha3_256);
  CHECK_FALSE(choose_chap_algorithm("5,6,7", only));
  CHECK_FALSE(choose_chap_algorithm("", kAllChapAlgorithms));
  CHECK_FALSE(choose_chap_algorithm("MD5", kAllChapAlgorithms));
  CHECK_FALSE(choose_chap_algorithm(",5", kAllChapAlgorithms));
  CHECK_FALSE(choose_chap_algorithm("99999999999999999999,5", kAllChapAlgorithms));
  CHECK(chap_algorithm_list(kAllChapAlgorithms) == "8,7,6,5");
}

TEST_CASE("chap: binary values in both codings") {
  std::vector<std::uint8_t> out(4);
  CHECK(decode_binary("0x01fF", out) == 2U);
  CHECK(out[0] == 0x01);
  CHECK(out[1] == 0xff);
  CHECK(decode_binary("0x1ff", out) == 2U);
  CHECK(out[0] == 0x01);
  CHECK(decode_binary("0bTWFu", out) == 3U);
  CHECK(std::string(out.begin(), out.begin() + 3) == "Man");
  CHECK(decode_binary("0bTWE=", out) == 2U);
  CHECK(decode_binary("0bTQ==", out) == 1U);
  for (const char* bad : {"", "0x", "0b", "01ff", "0xg0", "0bTQ=", "0bTR==", "0b====", "0bT===", "0bTW=u",
                          "0bTWFuTWFu", "0x0102030405", "0bTWF!"})
    CHECK_MESSAGE(!decode_binary(bad, out), bad);
}

TEST_CASE("chap: what is encoded is decoded, any length") {
  auto random = nbdgw::test::seeded_random();
  for (std::size_t length = 1; length <= 200; ++length) {
    std::vector<std::uint8_t> bytes(length), out(length);
    for (auto& byte : bytes) byte = static_cast<std::uint8_t>(random());
    for (const auto& text : {encode_hex(bytes), base64(bytes)}) {
      CHECK(decode_binary(text, out) == length);
      CHECK(out == bytes);
      CHECK_FALSE(decode_binary(text, std::span(out).first(length - 1)));
    }
  }
}

TEST_CASE("chap: comparing") {
  const std::vector<std::uint8_t> a{1, 2, 3}, b{1, 2, 4};
  CHECK(constant_time_equal(a, a));
  CHECK_FALSE(constant_time_equal(a, b));
  CHECK_FALSE(constant_time_equal(a, std::span(a).first(2)));
  CHECK(constant_time_equal({}, {}));
}
