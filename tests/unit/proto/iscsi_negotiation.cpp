#include "proto/iscsi/negotiation.hpp"

#include <algorithm>
#include <array>
#include <string>

#include <doctest/doctest.h>

#include "tests/unit/random.hpp"

using namespace nbdgw::proto::iscsi;
using Receipt = OperationalNegotiation::Receipt;

namespace {

struct Buffer {
  std::array<char, 8192> bytes;
  TextWriter writer{bytes};
};

/// Everything in `text` goes to `to`; its answers come back. Checks that nothing failed.
void pass_on(std::string_view text, OperationalNegotiation& to, TextWriter& answers) {
  TextReader reader(text);
  KeyValue pair;
  while (reader.next(pair)) {
    CAPTURE(pair.key);
    CAPTURE(pair.value);
    REQUIRE(to.receive(pair, answers) == Receipt::settled);
  }
  REQUIRE(reader.error() == TextError::none);
}

std::string answer_to(OperationalNegotiation& side, std::string_view key, std::string_view value,
                      Receipt expected = Receipt::settled) {
  Buffer buffer;
  CHECK(side.receive({key, value}, buffer.writer) == expected);
  return std::string(buffer.writer.text().substr(0, buffer.writer.size() - (buffer.writer.empty() ? 0 : 1)));
}

OperationalWishes random_wishes(std::mt19937_64& random) {
  OperationalWishes wishes;
  auto& session = wishes.session;
  session.max_connections = 1 + static_cast<std::uint32_t>(random() % 65535);
  session.initial_r2t = random() % 2 == 0;
  session.immediate_data = random() % 2 == 0;
  session.max_burst_length = 512 + static_cast<std::uint32_t>(random() % (kMaxDataSegmentLength - 511));
  session.first_burst_length = 512 + static_cast<std::uint32_t>(random() % (kMaxDataSegmentLength - 511));
  session.default_time2wait = static_cast<std::uint32_t>(random() % 3601);
  session.default_time2retain = static_cast<std::uint32_t>(random() % 3601);
  session.max_outstanding_r2t = 1 + static_cast<std::uint32_t>(random() % 65535);
  session.error_recovery_level = static_cast<std::uint32_t>(random() % 3);
  session.protocol_level = 2 + static_cast<std::uint32_t>(random() % 30);  // 1, the default, is not offered
  wishes.max_recv_data_segment_length = 512 + static_cast<std::uint32_t>(random() % (kMaxDataSegmentLength - 511));
  const char* digests[] = {"None", "CRC32C,None", "None,CRC32C"};
  wishes.header_digest = digests[random() % 3];
  wishes.data_digest = digests[random() % 3];
  const char* reporting[] = {"RFC3720", "FastAbort,RFC3720", "ResponseFence,FastAbort,RFC3720"};
  wishes.task_reporting = reporting[random() % 3];
  return wishes;
}

}  // namespace

TEST_CASE("negotiation: both sides come to the same values, whoever offers") {
  auto random = nbdgw::test::seeded_random();
  for (int round = 0; round < 2000; ++round) {
    const auto one = random_wishes(random);
    const auto other = random_wishes(random);
    OperationalNegotiation offerer(one, {}), answerer(other, {});
    Buffer offers, answers, nothing;
    REQUIRE(offerer.offer_all(offers.writer));
    pass_on(offers.writer.text(), answerer, answers.writer);
    REQUIRE(answerer.declare_max_recv_data_segment_length(answers.writer));
    pass_on(answers.writer.text(), offerer, nothing.writer);
    CHECK(nothing.writer.empty());
    CHECK_FALSE(offerer.awaiting_answers());
    CHECK(offerer.session() == answerer.session());
    CHECK(offerer.connection().header_digest == answerer.connection().header_digest);
    CHECK(offerer.connection().data_digest == answerer.connection().data_digest);
    CHECK(offerer.connection().peer_max_recv_data_segment_length == other.max_recv_data_segment_length);
    CHECK(answerer.connection().peer_max_recv_data_segment_length == one.max_recv_data_segment_length);
    CHECK(offerer.connection().own_max_recv_data_segment_length == one.max_recv_data_segment_length);

    // The other way round it is the same, but for lists, where the offerer's order counts.
    OperationalNegotiation back(other, {}), forth(one, {});
    Buffer offers2, answers2;
    REQUIRE(back.offer_all(offers2.writer));
    pass_on(offers2.writer.text(), forth, answers2.writer);
    pass_on(answers2.writer.text(), back, nothing.writer);
    auto swapped = back.session();
    swapped.task_reporting = offerer.session().task_reporting;
    CHECK(swapped == offerer.session());
    CHECK(offerer.session().first_burst_length <= offerer.session().max_burst_length);
  }
}

TEST_CASE("negotiation: answers") {
  OperationalWishes wishes;
  wishes.session.max_connections = 4;
  wishes.session.max_burst_length = 1 << 20;
  wishes.session.initial_r2t = false;
  wishes.session.default_time2wait = 0;
  wishes.header_digest = "None,CRC32C";
  OperationalNegotiation side(wishes, {});
  CHECK(answer_to(side, "MaxConnections", "8") == "MaxConnections=4");
  CHECK(answer_to(side, "MaxBurstLength", "0x10000") == "MaxBurstLength=65536");
  CHECK(answer_to(side, "InitialR2T", "No") == "InitialR2T=No");
  CHECK(answer_to(side, "ImmediateData", "No") == "ImmediateData=No");
  CHECK(answer_to(side, "DefaultTime2Wait", "5") == "DefaultTime2Wait=5");
  CHECK(answer_to(side, "HeaderDigest", "CRC32C,None") == "HeaderDigest=CRC32C");
  CHECK(answer_to(side, "DataDigest", "CRC32C,None") == "DataDigest=None");
  CHECK(answer_to(side, "MaxRecvDataSegmentLength", "65536") == "");
  CHECK(answer_to(side, "IFMarker", "Yes") == "IFMarker=No");
  CHECK(answer_to(side, "OFMarkInt", "1~2") == "OFMarkInt=Reject");
  CHECK(answer_to(side, "X-com.example.thing", "1") == "X-com.example.thing=NotUnderstood");
  CHECK(answer_to(side, "X-com.example.other", "NotUnderstood") == "");
  CHECK(answer_to(side, "TaskReporting", "FastAbort,RFC3720") == "TaskReporting=RFC3720");
  CHECK(answer_to(side, "iSCSIProtocolLevel", "2") == "iSCSIProtocolLevel=1");
  CHECK(answer_to(side, "InitiatorName", "iqn.x", Receipt::for_engine) == "");
  CHECK(answer_to(side, "AuthMethod", "None", Receipt::for_engine) == "");
  CHECK(side.session().max_connections == 4);
  CHECK(side.session().first_burst_length == 65536);
}

TEST_CASE("negotiation: what is absurd fails with a reason") {
  struct Case {
    const char* key;
    const char* value;
    NegotiationError error;
    const char* answer;
  };
  for (const Case& each : {
           Case{"MaxConnections", "0", NegotiationError::out_of_range, "MaxConnections=Reject"},
           Case{"MaxConnections", "65536", NegotiationError::out_of_range, "MaxConnections=Reject"},
           Case{"MaxBurstLength", "511", NegotiationError::out_of_range, "MaxBurstLength=Reject"},
           Case{"MaxBurstLength", "16777216", NegotiationError::out_of_range, "MaxBurstLength=Reject"},
           Case{"MaxBurstLength", "99999999999999999999999", NegotiationError::out_of_range, "MaxBurstLength=Reject"},
           Case{"MaxBurstLength", "-1", NegotiationError::not_a_number, "MaxBurstLength=Reject"},
           Case{"MaxBurstLength", "", NegotiationError::not_a_number, "MaxBurstLength=Reject"},
           Case{"MaxBurstLength", "0x", NegotiationError::not_a_number, "MaxBurstLength=Reject"},
           Case{"MaxBurstLength", "4096k", NegotiationError::not_a_number, "MaxBurstLength=Reject"},
           Case{"MaxBurstLength", "04096", NegotiationError::not_a_number, "MaxBurstLength=Reject"},
           Case{"MaxRecvDataSegmentLength", "0", NegotiationError::out_of_range, ""},
           Case{"InitialR2T", "yes", NegotiationError::not_a_boolean, "InitialR2T=Reject"},
           Case{"HeaderDigest", "MD5", NegotiationError::nothing_in_common, "HeaderDigest=Reject"},
           Case{"HeaderDigest", "", NegotiationError::nothing_in_common, "HeaderDigest=Reject"},
       }) {
    CAPTURE(each.key);
    CAPTURE(each.value);
    OperationalNegotiation side({}, {});
    CHECK(answer_to(side, each.key, each.value, Receipt::failed) == each.answer);
    CHECK(side.error() == each.error);
    CHECK(std::string(describe(each.error)).size() > 5);
  }
  OperationalNegotiation side({}, {});
  answer_to(side, "MaxConnections", "2");
  answer_to(side, "MaxConnections", "2", Receipt::failed);
  CHECK(side.error() == NegotiationError::repeated);
}

TEST_CASE("negotiation: answers to an offer") {
  OperationalWishes wishes;
  wishes.session.max_connections = 4;
  wishes.data_digest = "CRC32C";
  const auto offering = [&](Key key) {
    OperationalNegotiation side(wishes, {});
    Buffer buffer;
    REQUIRE(side.offer(key, buffer.writer));
    CHECK(side.awaiting_answers());
    return side;
  };
  auto side = offering(Key::max_connections);
  answer_to(side, "MaxConnections", "2");
  CHECK(side.session().max_connections == 2);
  side = offering(Key::max_connections);
  answer_to(side, "MaxConnections", "Reject", Receipt::failed);
  CHECK(side.error() == NegotiationError::refused);
  side = offering(Key::max_connections);
  answer_to(side, "MaxConnections", "NotUnderstood");
  CHECK(side.session().max_connections == 1);
  side = offering(Key::data_digest);
  answer_to(side, "DataDigest", "None", Receipt::failed);
  CHECK(side.error() == NegotiationError::not_offered);
  side = offering(Key::data_digest);
  answer_to(side, "DataDigest", "CRC32C");
  CHECK(side.connection().data_digest == Digest::crc32c);
  CHECK_FALSE(side.awaiting_answers());
}

TEST_CASE("negotiation: offers that are never answered come to their defaults") {
  OperationalWishes wishes;
  wishes.session.max_connections = 4;
  wishes.session.initial_r2t = false;
  wishes.session.max_burst_length = 1 << 20;
  wishes.session.first_burst_length = 4096;
  wishes.session.default_time2wait = 0;
  wishes.session.default_time2retain = 0;
  wishes.session.max_outstanding_r2t = 8;
  wishes.header_digest = "CRC32C,None";
  OperationalNegotiation side(wishes, {});
  Buffer buffer;
  REQUIRE(side.offer_all(buffer.writer));
  answer_to(side, "MaxConnections", "3");
  const std::vector<Key> keys = side.settle_with_defaults();
  CHECK(std::find(keys.begin(), keys.end(), Key::max_connections) == keys.end());
  CHECK(std::find(keys.begin(), keys.end(), Key::header_digest) != keys.end());
  CHECK(std::find(keys.begin(), keys.end(), Key::data_pdu_in_order) == keys.end());  // decided by the offer
  SessionParameters expected;
  expected.max_connections = 3;
  expected.first_burst_length = 4096;
  expected.default_time2retain = 0;
  CHECK(side.session() == expected);
  CHECK(side.connection().header_digest == Digest::none);
  CHECK_FALSE(side.awaiting_answers());
  CHECK(side.settle_with_defaults().empty());
  answer_to(side, "MaxBurstLength", "512", Receipt::failed);  // too late
  CHECK(side.error() == NegotiationError::repeated);
}

TEST_CASE("negotiation: a joining connection keeps the session's values, a discovery session has few") {
  OperationalWishes wishes;
  wishes.session.max_burst_length = 65536;
  wishes.session.initial_r2t = false;
  OperationalNegotiation joining(wishes, {.leading = false});
  Buffer offers;
  REQUIRE(joining.offer_all(offers.writer));
  CHECK(offers.writer.text().find("MaxBurstLength") == std::string_view::npos);
  CHECK(offers.writer.text().find("HeaderDigest") != std::string_view::npos);
  CHECK(answer_to(joining, "MaxBurstLength", "4096") == "MaxBurstLength=65536");
  CHECK(answer_to(joining, "InitialR2T", "Yes") == "InitialR2T=No");
  CHECK(joining.session() == [&] {
    auto session = wishes.session;
    session.first_burst_length = 65536;
    return session;
  }());

  OperationalNegotiation discovery({}, {.discovery = true});
  CHECK(answer_to(discovery, "MaxConnections", "4") == "MaxConnections=Irrelevant");
  CHECK(answer_to(discovery, "DefaultTime2Wait", "2") == "DefaultTime2Wait=2");
}

TEST_CASE("negotiation: a full buffer is an error, not a lost answer") {
  OperationalNegotiation side({}, {});
  std::array<char, 4> small;
  TextWriter writer(small);
  CHECK(side.receive({"MaxConnections", "4"}, writer) == Receipt::failed);
  CHECK(side.error() == NegotiationError::no_room);
}

TEST_CASE("negotiation: garbage as values is settled or refused for every key") {
  auto random = nbdgw::test::seeded_random();
  const std::string_view pieces[] = {"Yes", "No",     "0",    "1",      "0x", "ff", ",",
                                     "-",   "CRC32C", "None", "Reject", "~",  " "};
  for (int round = 0; round < 5000; ++round) {
    OperationalNegotiation side(random_wishes(random),
                                {.leading = random() % 2 == 0, .discovery = random() % 2 == 0});
    Buffer buffer;
    if (random() % 2 == 0) side.offer_all(buffer.writer);
    for (std::size_t i = 0; i < kKeyCount; ++i) {
      std::string value;
      for (auto n = random() % 4; n > 0; --n) value += pieces[random() % std::size(pieces)];
      Buffer answers;
      side.receive({rule(static_cast<Key>(i)).name, value}, answers.writer);
      CHECK(TextReader::validate(answers.writer.text()) == TextError::none);
    }
    const auto session = side.session();
    CHECK(session.max_connections >= 1);
    CHECK(session.max_burst_length >= 512);
    CHECK(session.first_burst_length >= 512);
    CHECK(session.max_outstanding_r2t >= 1);
    CHECK(session.error_recovery_level <= 2);
  }
}
