#include <doctest/doctest.h>

#include <array>

#include "proto/iscsi/chap.hpp"
#include "tests/unit/initiator/login_run.hpp"

using namespace nbdgw::test;
using namespace nbdgw::proto::iscsi;
using nbdgw::initiator::ConnectionError;
using Step = nbdgw::initiator::Login::Step;

namespace {

constexpr std::string_view kSecret = "open-sesame-open";
constexpr std::string_view kMutualSecret = "i-am-the-target!";
const Bytes kChallenge = {0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x80};

nbdgw::initiator::SessionSettings chap_settings(bool mutual) {
  auto settings = default_settings();
  settings.chap.user = "alice";
  settings.chap.secret = kSecret;
  if (mutual) {
    settings.chap.mutual_user = "target";
    settings.chap.mutual_secret = kMutualSecret;
  }
  return settings;
}

/// Up to the challenge.
void to_algorithm(LoginRun& run) {
  CHECK_FALSE(run.login.request().transit);
  REQUIRE(run.security(false, {{"AuthMethod", "CHAP"}, {"TargetPortalGroupTag", "1"}}) == Step::send);
}

Step challenge(LoginRun& run, const std::string& algorithm, std::span<const std::uint8_t> bytes = kChallenge) {
  return run.security(false, {{"CHAP_A", algorithm}, {"CHAP_I", "17"}, {"CHAP_C", encode_hex(bytes)}});
}

/// What the target would say to prove itself, from what the initiator sent.
Keys proof(const LoginRun& run, std::string_view secret, ChapAlgorithm algorithm = ChapAlgorithm::md5) {
  std::array<std::uint8_t, 64> bytes{};
  const auto length = decode_binary(value_of(run.offered(), "CHAP_C"), bytes);
  REQUIRE(length.has_value());
  const auto id = static_cast<std::uint8_t>(std::stoi(value_of(run.offered(), "CHAP_I")));
  const auto answer = chap_response(algorithm, id, secret, std::span(bytes).first(*length));
  REQUIRE(answer.has_value());
  return {{"CHAP_N", "target"}, {"CHAP_R", encode_hex(answer->view())}};
}

}  // namespace

TEST_CASE("chap: one way, each algorithm") {
  for (const auto algorithm : kAllChapAlgorithms) {
    LoginRun run(chap_settings(false));
    CHECK(value_of(run.offered(), "AuthMethod") == "CHAP,None");
    to_algorithm(run);
    CHECK(run.offered() == Keys{{"CHAP_A", "8,7,6,5"}});
    REQUIRE(challenge(run, std::to_string(static_cast<int>(algorithm))) == Step::send);
    const auto expected = chap_response(algorithm, 17, kSecret, kChallenge);
    REQUIRE(expected.has_value());
    CHECK(run.offered() == Keys{{"CHAP_N", "alice"}, {"CHAP_R", encode_hex(expected->view())}});
    CHECK(run.login.request().transit);
    REQUIRE(run.security(true) == Step::send);
    CHECK(run.login.request().current_stage == LoginStage::operational);
    CHECK(run.operational(true, LoginRun::full_answer()) == Step::done);
  }
}

TEST_CASE("chap: MD5 by the numbers") {
  // md5(0x11 "open-sesame-open" 1020304050607080), computed with md5sum.
  LoginRun run(chap_settings(false));
  to_algorithm(run);
  REQUIRE(challenge(run, "5") == Step::send);
  CHECK(value_of(run.offered(), "CHAP_R") == "0x7254887bbaff92c283ce8b964010969d");
}

TEST_CASE("chap: the configured algorithms, in their order") {
  auto settings = chap_settings(false);
  settings.chap.algorithms = {ChapAlgorithm::md5, ChapAlgorithm::sha256};
  LoginRun run(settings);
  to_algorithm(run);
  CHECK(run.offered() == Keys{{"CHAP_A", "5,7"}});
  CHECK(challenge(run, "6") == Step::failed);  // not offered
  CHECK(run.login.error() == ConnectionError::authentication);
}

TEST_CASE("chap: the target may do without, if it need not prove itself") {
  LoginRun run(chap_settings(false));
  REQUIRE(run.security(false, {{"AuthMethod", "None"}}) == Step::send);
  CHECK(run.login.request().transit);
  REQUIRE(run.security(true) == Step::send);
  CHECK(run.login.request().current_stage == LoginStage::operational);

  LoginRun mutual(chap_settings(true));
  CHECK(value_of(mutual.offered(), "AuthMethod") == "CHAP");
  CHECK(mutual.security(false, {{"AuthMethod", "None"}}) == Step::failed);
  CHECK(mutual.login.error() == ConnectionError::authentication);
  LoginRun silent(chap_settings(true));
  CHECK(silent.security(false) == Step::failed);
  CHECK(silent.login.error() == ConnectionError::authentication);
}

TEST_CASE("chap: the target wants what we cannot do") {
  LoginRun none;
  CHECK(none.security(false, {{"AuthMethod", "CHAP"}}) == Step::failed);
  CHECK(none.login.error() == ConnectionError::authentication);
  CHECK(none.login.detail().find("auth.chap") != std::string::npos);
  LoginRun kerberos(chap_settings(false));
  CHECK(kerberos.security(false, {{"AuthMethod", "KRB5"}}) == Step::failed);
  CHECK(kerberos.login.error() == ConnectionError::authentication);
}

TEST_CASE("chap: challenges that are none") {
  const Keys whole = {{"CHAP_A", "5"}, {"CHAP_I", "17"}, {"CHAP_C", "0x1020"}};
  for (const auto& [key, value] : Keys{{"CHAP_A", ""},
                                       {"CHAP_I", ""},
                                       {"CHAP_C", ""},
                                       {"CHAP_A", "5,6"},
                                       {"CHAP_A", "99"},
                                       {"CHAP_I", "256"},
                                       {"CHAP_I", "x"},
                                       {"CHAP_C", "0x"},
                                       {"CHAP_C", "0xzz"},
                                       {"CHAP_C", "1020"},
                                       {"CHAP_C", "0x" + std::string(2 * 1025, 'a')}}) {
    CAPTURE(key);
    CAPTURE(value.substr(0, 20));
    LoginRun run(chap_settings(false));
    to_algorithm(run);
    CHECK(run.security(false, altered(whole, key, value)) == Step::failed);
    CHECK(run.login.error() == ConnectionError::authentication);
  }
}

TEST_CASE("chap: the stage is not left before the challenge is answered") {
  LoginRun run(chap_settings(false));
  CHECK(run.security(true, {{"AuthMethod", "CHAP"}}) == Step::failed);
  LoginRun later(chap_settings(false));
  to_algorithm(later);
  CHECK(later.security(true, {{"CHAP_A", "5"}, {"CHAP_I", "1"}, {"CHAP_C", "0x10"}}) == Step::failed);
}

TEST_CASE("chap: mutual") {
  for (const auto algorithm : kAllChapAlgorithms) {
    LoginRun run(chap_settings(true));
    to_algorithm(run);
    REQUIRE(challenge(run, std::to_string(static_cast<int>(algorithm))) == Step::send);
    REQUIRE(run.security(true, proof(run, kMutualSecret, algorithm)) == Step::send);
    CHECK(run.login.request().current_stage == LoginStage::operational);
  }
}

TEST_CASE("chap: mutual, the target does not prove itself") {
  LoginRun run(chap_settings(true));
  to_algorithm(run);
  REQUIRE(challenge(run, "5") == Step::send);
  Keys answer;
  SUBCASE("nothing") {}
  SUBCASE("another secret") {
    answer = proof(run, "not-the-target!!");
  }
  SUBCASE("our own secret") {
    answer = proof(run, kSecret);
  }
  SUBCASE("our own response") {
    answer = {{"CHAP_N", "target"}, {"CHAP_R", value_of(run.offered(), "CHAP_R")}};
  }
  SUBCASE("no response") {
    answer = altered(proof(run, kMutualSecret), "CHAP_R", "");
  }
  SUBCASE("no name") {
    answer = altered(proof(run, kMutualSecret), "CHAP_N", "");
  }
  SUBCASE("another name") {
    answer = altered(proof(run, kMutualSecret), "CHAP_N", "mallory");
  }
  SUBCASE("cut short") {
    answer = proof(run, kMutualSecret);
    answer.back().second.resize(answer.back().second.size() - 2);
  }
  SUBCASE("too long") {
    answer = proof(run, kMutualSecret);
    answer.back().second += "00";
  }
  SUBCASE("not binary") {
    answer = {{"CHAP_N", "target"}, {"CHAP_R", "sesame"}};
  }
  CHECK(run.security(true, answer) == Step::failed);
  CHECK(run.login.error() == ConnectionError::authentication);
}

TEST_CASE("chap: a reflected challenge is not answered") {
  LoginRun run(chap_settings(true), {.isid = kTestIsid}, 99);
  to_algorithm(run);
  // The same seed gives the challenge that the initiator is about to make.
  SeededSource twin(99);
  std::array<std::uint8_t, 16> mine{};
  twin.fill(mine);
  CHECK(challenge(run, "5", mine) == Step::failed);
  CHECK(run.login.error() == ConnectionError::authentication);
}

TEST_CASE("chap: one secret for both directions proves nothing") {
  auto settings = chap_settings(true);
  settings.chap.mutual_secret = settings.chap.secret;
  LoginRun run(settings);
  to_algorithm(run);
  CHECK(challenge(run, "5") == Step::failed);
  CHECK(run.login.error() == ConnectionError::authentication);
  CHECK(run.login.detail().find("secret") != std::string::npos);
}

TEST_CASE("chap: a joining connection proves itself too") {
  LoginRun run(chap_settings(false), {.isid = kTestIsid, .tsih = 7, .cid = 1});
  to_algorithm(run);
  REQUIRE(challenge(run, "5") == Step::send);
  REQUIRE(run.security(true) == Step::send);
  CHECK(run.operational(true, {{"HeaderDigest", "None"}, {"DataDigest", "None"}}) == Step::done);
}
