// Keys of the login that the target leaves without an answer.
#include <doctest/doctest.h>

#include <string>

#include "tests/unit/initiator/login_run.hpp"

using namespace nbdgw::test;
using namespace nbdgw::proto::iscsi;
using namespace nbdgw::initiator;
using nbdgw::proto::kSecond;
using Kind = SessionEvent::Kind;
using Step = Login::Step;

namespace {

/// A login in which one key, or all of them, have no answer.
SessionParameters session_without(const std::string& key, const SessionSettings& settings = default_settings(4)) {
  LoginRun run(settings);
  run.to_operational();
  REQUIRE(run.operational(true, altered(LoginRun::full_answer(), key, "")) == Step::done);
  CHECK(run.login.unanswered() == key);
  return run.login.session();
}

SessionParameters session_with_silence(const SessionSettings& settings) {
  LoginRun run(settings);
  run.to_operational();
  REQUIRE(run.operational(true) == Step::done);
  return run.login.session();
}

}  // namespace

TEST_CASE("login: a key without an answer has its default, and is named") {
  CHECK(session_without("MaxConnections").max_connections == 1);
  CHECK(session_without("InitialR2T").initial_r2t);
  CHECK(session_without("MaxBurstLength").max_burst_length == 262144);
  CHECK(session_without("FirstBurstLength").first_burst_length == 65536);
  CHECK(session_without("DefaultTime2Wait").default_time2wait == 2);
  CHECK(session_without("DefaultTime2Retain").default_time2retain == 0);  // at most what we have offered
  CHECK(session_without("MaxOutstandingR2T").max_outstanding_r2t == 1);
  CHECK(session_without("ErrorRecoveryLevel").error_recovery_level == 0);
  LoginRun run;
  run.to_operational();
  Keys keys = altered(altered(LoginRun::full_answer(), "HeaderDigest", ""), "DataDigest", "");
  REQUIRE(run.operational(true, keys) == Step::done);
  CHECK(run.login.unanswered() == "HeaderDigest, DataDigest");
  CHECK(run.login.connection().header_digest == Digest::none);
  CHECK(run.login.connection().data_digest == Digest::none);
}

TEST_CASE("login: whoever does not say that it takes unsolicited or immediate data is sent none") {
  CHECK_FALSE(session_without("ImmediateData").immediate_data);
  // How much of it there would have to be is not known.
  CHECK(session_without("FirstBurstLength").initial_r2t);
  CHECK(session_without("FirstBurstLength").immediate_data);
  CHECK_FALSE(session_without("MaxBurstLength").initial_r2t);
}

TEST_CASE("login: a default is no more than what we have offered") {
  auto settings = default_settings(4);
  settings.first_burst_length = 8192;
  settings.max_burst_length = 16384;
  const SessionParameters session = session_with_silence(settings);
  CHECK(session.first_burst_length == 8192);
  CHECK(session.max_burst_length == 16384);
  CHECK(session.max_connections == 1);
  CHECK(session.initial_r2t);
  CHECK_FALSE(session.immediate_data);
}

TEST_CASE("login: an offer that decides alone needs no answer (RFC 7143 section 6.2.2)") {
  for (const std::string key : {"DataPDUInOrder", "DataSequenceInOrder"}) {
    LoginRun run;
    run.to_operational();
    REQUIRE(run.operational(true, altered(LoginRun::full_answer(), key, "")) == Step::done);
    CHECK(run.login.unanswered().empty());
  }
  auto settings = default_settings();
  settings.initial_r2t = true;
  settings.immediate_data = false;
  LoginRun run(settings);
  run.to_operational();
  REQUIRE(run.operational(true, altered(altered(LoginRun::full_answer(), "InitialR2T", ""), "ImmediateData", "")) ==
          Step::done);
  CHECK(run.login.unanswered().empty());
  CHECK(run.login.session().initial_r2t);
  CHECK_FALSE(run.login.session().immediate_data);
}

TEST_CASE("login: a digest that is required is not given up for want of an answer, and is named") {
  for (const std::string key : {"HeaderDigest", "DataDigest"}) {
    auto settings = default_settings();
    (key == "HeaderDigest" ? settings.header_digest : settings.data_digest) = DigestOffer::require_crc32c;
    LoginRun run(settings);
    run.to_operational();
    CHECK(run.operational(true, altered(LoginRun::full_answer(), key, "")) == Step::failed);
    CHECK(run.login.error() == ConnectionError::login_negotiation);
    CHECK(run.login.detail().find(key + " unanswered") != std::string::npos);
  }
}

TEST_CASE("login: a joining connection's digests may be left without an answer, too") {
  SessionParameters agreed;
  agreed.max_connections = 4;
  LoginRun run(default_settings(4), {.isid = kTestIsid, .tsih = 7, .cid = 1, .session = agreed});
  run.to_operational();
  REQUIRE(run.operational(true) == Step::done);
  CHECK(run.login.session() == agreed);
}

TEST_CASE("session login: without any answer it works, by the defaults, and is told once") {
  auto settings = default_settings(4);
  Peer peer(settings);
  peer.keys.answers = {{"HeaderDigest", "None"}, {"DataDigest", "None"}};
  peer.session.setup(peer.now);
  peer.login(0);
  CHECK(peer.session.state() == SessionState::logged_in);
  CHECK(peer.saw(Kind::logged_in, "granted 1 of 4"));
  const std::string_view text = "MaxConnections, InitialR2T, ImmediateData, MaxBurstLength, FirstBurstLength";
  CHECK(peer.saw(Kind::notice, text));
  check_works(peer);
  // A write waits to be asked for all of its data.
  Job& job = peer.jobs.write(3000);
  const Pdu command = peer.take(0, Opcode::scsi_command);
  CHECK(command.data.empty());
  CHECK(command.as<ScsiCommandPdu>().final);
  const std::uint32_t itt = command.as<ScsiCommandPdu>().itt;
  peer.deliver(0, peer.r2t(0, itt, 0, 0, 3000, 1));
  CHECK(peer.take(0, Opcode::data_out).data.size() == 3000);
  peer.respond(0, itt);
  CHECK(job.outcome == Outcome::completed);
  const std::size_t told = peer.count(Kind::notice);
  peer.advance(kSecond);
  peer.disconnect(0);
  peer.login(0);
  CHECK(peer.count(Kind::notice) == told);
  check_works(peer);
}
