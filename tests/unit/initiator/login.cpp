#include "gateway/initiator/login.hpp"

#include <doctest/doctest.h>

#include "tests/unit/initiator/login_run.hpp"

using namespace nbdgw::test;
using namespace nbdgw::proto::iscsi;
using nbdgw::initiator::ConnectionError;
using nbdgw::initiator::DigestOffer;
using nbdgw::initiator::LoginIdentity;
using nbdgw::initiator::parse_target_address;
using nbdgw::initiator::Portal;
using Step = nbdgw::initiator::Login::Step;

namespace {

/// Texts of security and operational request of a login without CHAP.
Keys operational_offer(const LoginIdentity& identity) {
  LoginRun run(default_settings(4), identity);
  run.to_operational();
  return run.offered();
}

}  // namespace

TEST_CASE("login: the first request says who we are and whom we want") {
  LoginRun run;
  const auto request = run.login.request();
  CHECK(request.transit);
  CHECK(request.current_stage == LoginStage::security);
  CHECK(request.next_stage == LoginStage::operational);
  CHECK(request.version_min == 0);
  CHECK(request.version_max == 0);
  CHECK(request.isid == kTestIsid);
  CHECK(request.tsih == 0);
  CHECK(request.cid == 0);
  CHECK(run.offered() == Keys{{"InitiatorName", "iqn.2026-11.io.nbdgw:test"},
                              {"TargetName", "iqn.2026-11.io.example:disk"},
                              {"SessionType", "Normal"},
                              {"AuthMethod", "None"}});
}

TEST_CASE("login: a leading connection offers every operational key") {
  const Keys offer = operational_offer({.isid = kTestIsid});
  CHECK(value_of(offer, "MaxConnections") == "4");
  CHECK(value_of(offer, "InitialR2T") == "No");
  CHECK(value_of(offer, "ImmediateData") == "Yes");
  CHECK(value_of(offer, "MaxBurstLength") == "1048576");
  CHECK(value_of(offer, "FirstBurstLength") == "262144");
  CHECK(value_of(offer, "MaxRecvDataSegmentLength") == "262144");
  CHECK(value_of(offer, "MaxOutstandingR2T") == "4");
  CHECK(value_of(offer, "DefaultTime2Wait") == "0");
  CHECK(value_of(offer, "DefaultTime2Retain") == "0");
  CHECK(value_of(offer, "DataPDUInOrder") == "Yes");
  CHECK(value_of(offer, "DataSequenceInOrder") == "Yes");
  CHECK(value_of(offer, "ErrorRecoveryLevel") == "0");
  CHECK(value_of(offer, "HeaderDigest") == "None");
  CHECK(value_of(offer, "DataDigest") == "None");
}

TEST_CASE("login: a joining connection offers only what is its own") {
  const Keys offer = operational_offer({.isid = kTestIsid, .tsih = 0x0100, .cid = 2});
  CHECK(offer == Keys{{"HeaderDigest", "None"}, {"DataDigest", "None"}, {"MaxRecvDataSegmentLength", "262144"}});
}

TEST_CASE("login: no more R2Ts are asked for than a task has room for") {
  auto settings = default_settings();
  settings.max_outstanding_r2t = 100;
  LoginRun run(settings);
  run.to_operational();
  // The unsolicited data of the command takes a place too.
  CHECK(value_of(run.offered(), "MaxOutstandingR2T") == std::to_string(nbdgw::initiator::Task::kMaxR2ts - 1));
}

TEST_CASE("login: what is negotiated") {
  LoginRun run(default_settings(4));
  run.to_operational();
  REQUIRE(run.operational(true, LoginRun::full_answer()) == Step::done);
  CHECK(run.login.tsih() == 7);
  const auto session = run.login.session();
  CHECK(session.max_connections == 4);
  CHECK_FALSE(session.initial_r2t);
  CHECK(session.immediate_data);
  CHECK(session.max_burst_length == 65536);
  CHECK(session.first_burst_length == 16384);
  CHECK(session.max_outstanding_r2t == 3);
  CHECK(session.error_recovery_level == 0);
  CHECK(run.login.connection().peer_max_recv_data_segment_length == 8192);
  CHECK(run.login.connection().own_max_recv_data_segment_length == 262144);
  CHECK(run.login.connection().header_digest == Digest::none);
}

TEST_CASE("login: the reserved next stage is zero while no transit is asked for") {
  LoginRun run;
  run.to_operational();
  REQUIRE(run.respond({.continues = true, .current_stage = LoginStage::operational}, {}) == Step::send);
  const auto request = run.login.request();
  CHECK_FALSE(request.transit);
  CHECK(request.current_stage == LoginStage::operational);
  CHECK(static_cast<int>(request.next_stage) == 0);
}

TEST_CASE("login: a target may answer in rounds, and offer keys of its own") {
  LoginRun run(default_settings(4));
  run.to_operational();
  REQUIRE(run.operational(false, {{"HeaderDigest", "None"}, {"DataDigest", "None"}}) == Step::send);
  CHECK(run.login.request().transit);
  CHECK(run.login.text().empty());
  Keys rest = LoginRun::full_answer();
  std::erase_if(rest, [](const auto& pair) { return pair.first.ends_with("Digest"); });
  CHECK(run.operational(true, rest) == Step::done);
}

TEST_CASE("login: a target offers leading-only keys to a joining connection") {
  // tgtd does that: it stays in the stage until it has its answers.
  SessionParameters agreed;
  agreed.initial_r2t = false;
  agreed.max_outstanding_r2t = 3;
  agreed.max_connections = 4;
  LoginRun run(default_settings(4), {.isid = kTestIsid, .tsih = 7, .cid = 1, .session = agreed});
  run.to_operational();
  REQUIRE(run.operational(false, {{"HeaderDigest", "None"},
                                  {"DataDigest", "None"},
                                  {"InitialR2T", "No"},
                                  {"MaxOutstandingR2T", "1"},
                                  {"ErrorRecoveryLevel", "0"},
                                  {"MaxConnections", "8"}}) == Step::send);
  CHECK(run.login.request().transit);
  CHECK(run.offered() ==
        Keys{{"InitialR2T", "No"}, {"MaxOutstandingR2T", "3"}, {"ErrorRecoveryLevel", "0"}, {"MaxConnections", "4"}});
  REQUIRE(run.operational(true) == Step::done);
  CHECK(run.login.session() == agreed);
  CHECK(run.login.tsih() == 7);
}

TEST_CASE("login: a joining connection must join the session that it named") {
  LoginRun run(default_settings(4), {.isid = kTestIsid, .tsih = 0x0100, .cid = 1});
  run.to_operational();
  CHECK(run.operational(true, {{"HeaderDigest", "None"}, {"DataDigest", "None"}}) == Step::failed);  // TSIH 7
  CHECK(run.login.error() == ConnectionError::protocol);
}

TEST_CASE("login: an answer over several PDUs") {
  LoginRun run;
  run.to_operational();
  const Bytes text = to_text(LoginRun::full_answer());
  const std::string_view all(reinterpret_cast<const char*>(text.data()), text.size());
  const LoginResponse part{.continues = true, .current_stage = LoginStage::operational};
  for (std::size_t at = 0; at < 100; at += 10) {  // cuts through keys and values
    REQUIRE(run.login.on_response(part, all.substr(at, 10)) == Step::send);
    CHECK(run.login.text().empty());
    CHECK_FALSE(run.login.request().transit);
  }
  REQUIRE(run.login.on_response({.current_stage = LoginStage::operational}, all.substr(100)) == Step::send);
  CHECK(run.login.request().transit);
  CHECK(run.operational(true) == Step::done);
  CHECK(run.login.session().max_burst_length == 65536);
}

TEST_CASE("login: T and C together are against the protocol") {
  LoginRun run;
  run.to_operational();
  CHECK(run.respond({.transit = true,
                     .continues = true,
                     .current_stage = LoginStage::operational,
                     .next_stage = LoginStage::full_feature}) == Step::failed);
  CHECK(run.login.error() == ConnectionError::protocol);
}

TEST_CASE("login: keys that we do not know are answered, in both stages") {
  LoginRun run;
  REQUIRE(run.security(true, {{"AuthMethod", "None"}, {"X-com.example.colour", "blue"}}) == Step::send);
  CHECK(value_of(run.offered(), "X-com.example.colour") == "NotUnderstood");
  CHECK(value_of(run.offered(), "MaxConnections") == "1");
  REQUIRE(run.operational(false, {{"X-com.example.size", "9"}}) == Step::send);
  CHECK(run.offered() == Keys{{"X-com.example.size", "NotUnderstood"}});
  REQUIRE(run.operational(false, {{"X-com.example.other", "NotUnderstood"}}) == Step::send);
  CHECK(run.login.text().empty());
}

TEST_CASE("login: absurd values cost the connection") {
  const Keys absurd = {{"MaxConnections", "0"},
                       {"MaxConnections", "65536"},
                       {"MaxConnections", "many"},
                       {"MaxConnections", "-1"},
                       {"InitialR2T", "yes"},
                       {"InitialR2T", "1"},
                       {"ImmediateData", "Maybe"},
                       {"MaxBurstLength", "511"},
                       {"MaxBurstLength", "16777216"},
                       {"MaxBurstLength", "99999999999999999999999"},
                       {"FirstBurstLength", "0"},
                       {"MaxOutstandingR2T", "0"},
                       {"MaxRecvDataSegmentLength", "1"},
                       {"MaxRecvDataSegmentLength", "16777216"},
                       {"MaxRecvDataSegmentLength", "0x"},
                       {"HeaderDigest", "CRC32C"},
                       {"HeaderDigest", "MD5"},
                       {"DataDigest", "None,CRC32C"},
                       {"DataDigest", "Reject"},
                       {"ErrorRecoveryLevel", "3"},
                       {"DefaultTime2Wait", "3601"}};
  for (const auto& [key, value] : absurd) {
    CAPTURE(key);
    CAPTURE(value);
    LoginRun run;
    run.to_operational();
    CHECK(run.operational(true, altered(LoginRun::full_answer(), key, value)) == Step::failed);
    CHECK(run.login.error() == ConnectionError::login_negotiation);
    CHECK(run.login.detail().find(key) != std::string::npos);
  }
}

TEST_CASE("login: a key negotiated twice costs the connection") {
  LoginRun run;
  run.to_operational();
  Keys twice = LoginRun::full_answer();
  twice.emplace_back("MaxConnections", "2");
  CHECK(run.operational(true, twice) == Step::failed);
  CHECK(run.login.error() == ConnectionError::login_negotiation);
}

TEST_CASE("login: text that is none") {
  for (const std::string_view text : {std::string_view("AuthMethod=None", 15), std::string_view("AuthMethod\0", 11),
                                      std::string_view("=None\0", 6)}) {
    LoginRun run;
    CHECK(run.login.on_response(
              {.transit = true, .current_stage = LoginStage::security, .next_stage = LoginStage::operational},
              text) == Step::failed);
    CHECK(run.login.error() == ConnectionError::login_negotiation);
  }
}

TEST_CASE("login: stages are not left but as asked") {
  SUBCASE("another current stage") {
    LoginRun run;
    CHECK(run.operational(false) == Step::failed);
  }
  SUBCASE("straight to the full feature phase") {
    LoginRun run;
    CHECK(run.respond(
              {.transit = true, .current_stage = LoginStage::security, .next_stage = LoginStage::full_feature}) ==
          Step::failed);
  }
  SUBCASE("back to security") {
    LoginRun run;
    run.to_operational();
    CHECK(run.respond(
              {.transit = true, .current_stage = LoginStage::operational, .next_stage = LoginStage::security}) ==
          Step::failed);
  }
  SUBCASE("unasked") {
    LoginRun run;
    run.to_operational();
    REQUIRE(run.respond({.continues = true, .current_stage = LoginStage::operational}) == Step::send);
    CHECK(run.operational(true, LoginRun::full_answer()) == Step::failed);
  }
  SUBCASE("without a TSIH") {
    LoginRun run;
    run.to_operational();
    CHECK(run.respond(
              {.transit = true, .current_stage = LoginStage::operational, .next_stage = LoginStage::full_feature},
              LoginRun::full_answer()) == Step::failed);
  }
}

TEST_CASE("login: another version of the protocol") {
  LoginRun run;
  CHECK(run.respond({.transit = true,
                     .current_stage = LoginStage::security,
                     .next_stage = LoginStage::operational,
                     .version_max = 1,
                     .version_active = 1}) == Step::failed);
  CHECK(run.login.error() == ConnectionError::protocol);
}

TEST_CASE("login: a target that never comes to an end") {
  LoginRun run;
  run.to_operational();
  int rounds = 0;
  while (run.operational(false) == Step::send) REQUIRE(++rounds < 1000);
  CHECK(run.login.error() == ConnectionError::login_negotiation);
}

TEST_CASE("login: text without end") {
  LoginRun run;
  run.to_operational();
  const std::string text(8192, 'x');
  int rounds = 0;
  while (run.login.on_response({.continues = true, .current_stage = LoginStage::operational}, text) == Step::send) {
    REQUIRE(++rounds < 1000);
  }
  CHECK(run.login.error() == ConnectionError::login_negotiation);
}

TEST_CASE("login: digests") {
  auto settings = default_settings();
  settings.header_digest = DigestOffer::prefer_crc32c;
  settings.data_digest = DigestOffer::prefer_none;
  LoginRun run(settings);
  run.to_operational();
  CHECK(value_of(run.offered(), "HeaderDigest") == "CRC32C,None");
  CHECK(value_of(run.offered(), "DataDigest") == "None,CRC32C");
  REQUIRE(run.operational(true, altered(LoginRun::full_answer(), "HeaderDigest", "CRC32C")) == Step::done);
  CHECK(run.login.connection().header_digest == Digest::crc32c);
  CHECK(run.login.connection().data_digest == Digest::none);
}

TEST_CASE("login: a digest that is required is not given up") {
  for (const std::string_view answer : {"None", "Reject", "Irrelevant", "NotUnderstood"}) {
    for (const std::string_view key : {"HeaderDigest", "DataDigest"}) {
      CAPTURE(answer);
      CAPTURE(key);
      auto settings = default_settings();
      (key == "HeaderDigest" ? settings.header_digest : settings.data_digest) = DigestOffer::require_crc32c;
      LoginRun run(settings);
      run.to_operational();
      CHECK(run.operational(true, altered(LoginRun::full_answer(), key, answer)) == Step::failed);
      CHECK(run.login.error() == ConnectionError::login_negotiation);
    }
  }
}

TEST_CASE("login: refusals") {
  for (const auto& [status, error] : {std::pair{LoginStatus::authentication_failure, ConnectionError::authentication},
                                      std::pair{LoginStatus::authorization_failure, ConnectionError::authentication},
                                      std::pair{LoginStatus::not_found, ConnectionError::login_refused},
                                      std::pair{LoginStatus::out_of_resources, ConnectionError::login_refused},
                                      std::pair{LoginStatus{0x0777}, ConnectionError::login_refused}}) {
    LoginRun run;
    CHECK(run.respond({.status = status}) == Step::failed);
    CHECK(run.login.error() == error);
    CHECK(run.login.status() == status);
    CHECK_FALSE(run.login.detail().empty());
  }
}

TEST_CASE("login: redirects") {
  LoginRun run;
  CHECK(run.respond({.status = LoginStatus::redirect_temporary}, {{"TargetAddress", "[2001:db8::1]:3261,2"}}) ==
        Step::redirected);
  CHECK(run.login.redirect() == Portal{"2001:db8::1", 3261});
  CHECK_FALSE(run.login.redirect_is_permanent());
  LoginRun permanent;
  CHECK(permanent.respond({.status = LoginStatus::redirect_permanent}, {{"TargetAddress", "disk.example"}}) ==
        Step::redirected);
  CHECK(permanent.login.redirect() == Portal{"disk.example", 3260});
  CHECK(permanent.login.redirect_is_permanent());
  LoginRun nowhere;
  CHECK(nowhere.respond({.status = LoginStatus::redirect_temporary}, {{"TargetAddress", ":1"}}) == Step::failed);
  CHECK(nowhere.login.error() == ConnectionError::login_refused);
}

TEST_CASE("login: target addresses") {
  CHECK(parse_target_address("10.0.0.1:3260,1") == Portal{"10.0.0.1", 3260});
  CHECK(parse_target_address("10.0.0.1") == Portal{"10.0.0.1", 3260});
  CHECK(parse_target_address("disk.example:860") == Portal{"disk.example", 860});
  CHECK(parse_target_address("[::1]") == Portal{"::1", 3260});
  CHECK(parse_target_address("[fe80::1]:3261,9") == Portal{"fe80::1", 3261});
  for (const std::string_view bad :
       {"", ",", ":3260", "[::1", "[]:1", "[::1]3260", "host:", "host:0", "host:65536", "host:12a", "host:-1"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_target_address(bad).has_value());
  }
  CHECK_FALSE(parse_target_address(std::string(300, 'a')).has_value());
}
