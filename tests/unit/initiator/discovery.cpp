#include "gateway/initiator/discovery.hpp"

#include <doctest/doctest.h>

#include <cstring>
#include <deque>

#include "tests/unit/initiator/peer.hpp"

using namespace nbdgw::test;
using namespace nbdgw::proto::iscsi;
using namespace nbdgw::initiator;
using nbdgw::proto::kSecond;

namespace {

/// The portal's end of a discovery.
struct DiscoveryPortal {
  explicit DiscoveryPortal(SessionSettings settings = default_settings()) : discovery(std::move(settings), random) {}

  void pump() {
    for (;;) {
      std::vector<iovec> pieces(4);
      bool any = false;
      if (const std::size_t count = takes ? discovery.tx_buffers(pieces) : 0; count > 0) {
        Bytes bytes;
        for (std::size_t i = 0; i < count; ++i) {
          const auto* base = static_cast<const std::uint8_t*>(pieces[i].iov_base);
          bytes.insert(bytes.end(), base, base + pieces[i].iov_len);
        }
        discovery.on_sent(bytes.size(), now);
        cutter.feed(bytes);
        for (Pdu pdu; cutter.next(pdu);) inbox.push_back(pdu);
        any = true;
      }
      if (!out.empty() && !discovery.finished()) {
        const std::size_t count = discovery.rx_buffers(pieces);
        REQUIRE(count > 0);
        const std::size_t n = std::min({chunk, out.size(), pieces[0].iov_len});
        std::memcpy(pieces[0].iov_base, out.data(), n);
        out.erase(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(n));
        discovery.on_received(n, now);
        any = true;
      }
      if (!any) return;
    }
  }
  void deliver(const Pdu& pdu) {
    const Bytes bytes = to_bytes(pdu, digests, digests);
    out.insert(out.end(), bytes.begin(), bytes.end());
    pump();
  }
  Pdu take(Opcode opcode) {
    pump();
    REQUIRE_FALSE(inbox.empty());
    Pdu pdu = inbox.front();
    inbox.pop_front();
    REQUIRE(pdu.opcode() == opcode);
    return pdu;
  }
  TargetSequence sequence(bool consumes = true) {
    const TargetSequence numbers{stat_sn, 1, 10};
    if (consumes) ++stat_sn;
    return numbers;
  }
  void login() {
    discovery.on_connected(now);
    const Pdu first = take(Opcode::login_request);
    CHECK(value_of(first, "SessionType") == "Discovery");
    CHECK(value_of(first, "TargetName") == "(none)");
    deliver(make_pdu(LoginResponse{.transit = true,
                                   .next_stage = LoginStage::operational,
                                   .itt = first.as<LoginRequest>().itt,
                                   .sequence = sequence()},
                     to_text({{"AuthMethod", "None"}})));
    const Pdu second = take(Opcode::login_request);
    CHECK(value_of(second, "MaxConnections") == "(none)");
    Keys keys{{"MaxRecvDataSegmentLength", "8192"}};
    for (const auto& [key, value] : to_keys(second.text())) {
      if (key.ends_with("Digest")) keys.emplace_back(key, digests_wanted ? "CRC32C" : "None");
      if (key.starts_with("DefaultTime2") || key == "ErrorRecoveryLevel") keys.emplace_back(key, "0");
    }
    cutter.set_digests(digests_wanted, digests_wanted);  // what comes next is of the full feature phase
    deliver(make_pdu(LoginResponse{.transit = true,
                                   .current_stage = LoginStage::operational,
                                   .next_stage = LoginStage::full_feature,
                                   .tsih = 5,
                                   .itt = second.as<LoginRequest>().itt,
                                   .sequence = sequence()},
                     to_text(keys)));
    digests = digests_wanted;
  }
  Pdu text(std::uint32_t itt, const Bytes& data, bool final, bool continues = false,
           std::uint32_t ttt = kReservedTag) {
    return make_pdu(TextResponse{.final = final,
                                 .continues = continues,
                                 .lun = 0x0002000000000000ULL,
                                 .itt = itt,
                                 .ttt = ttt,
                                 .sequence = sequence()},
                    data);
  }

  SeededSource random{1};
  Discovery discovery;
  nbdgw::proto::Micros now = 0;
  std::size_t chunk = 1 << 16;
  bool takes = true;
  bool digests_wanted = false;
  bool digests = false;
  PduCutter cutter;
  std::deque<Pdu> inbox;
  Bytes out;
  std::uint32_t stat_sn = 0xfffffffe;
};

/// An answer to SendTargets, cut anywhere, each further piece of which must be asked for.
void send_pieces(DiscoveryPortal& portal, const Bytes& all, std::size_t piece, bool continues) {
  Pdu ask = portal.take(Opcode::text_request);
  for (std::size_t at = 0;; at += piece) {
    const std::size_t n = std::min(piece, all.size() - at);
    const bool last = at + n == all.size();
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(at);
    portal.deliver(portal.text(ask.as<TextRequest>().itt, Bytes(begin, begin + static_cast<std::ptrdiff_t>(n)), last,
                               continues && !last, last ? kReservedTag : 0x4711));
    if (last) return;
    ask = portal.take(Opcode::text_request);
  }
}

const Keys kTargets = {{"TargetName", "iqn.2026-11.io.example:a"},
                       {"TargetAddress", "192.0.2.1:3260,1"},
                       {"TargetAddress", "[2001:db8::1]:3260,1"},
                       {"TargetName", "iqn.2026-11.io.example:b"}};

void check_targets(const Discovery& discovery) {
  CHECK(discovery.finished());
  CHECK(discovery.failure().empty());
  REQUIRE(discovery.targets().size() == 2);
  CHECK(discovery.targets()[0].name == "iqn.2026-11.io.example:a");
  CHECK(discovery.targets()[0].addresses == std::vector<std::string>{"192.0.2.1:3260,1", "[2001:db8::1]:3260,1"});
  CHECK(discovery.targets()[1].name == "iqn.2026-11.io.example:b");
  CHECK(discovery.targets()[1].addresses.empty());
}

}  // namespace

TEST_CASE("discovery: from login to logout") {
  for (const bool digests : {false, true}) {
    for (const std::size_t chunk : {std::size_t{1}, std::size_t{1} << 16}) {
      auto settings = default_settings();
      if (digests) settings.header_digest = settings.data_digest = DigestOffer::require_crc32c;
      DiscoveryPortal portal(settings);
      portal.digests_wanted = digests;
      portal.chunk = chunk;
      portal.login();
      const Pdu ask = portal.take(Opcode::text_request);
      CHECK(ask.text() == std::string_view("SendTargets=All\0", 16));
      CHECK(ask.as<TextRequest>().final);
      CHECK(ask.as<TextRequest>().ttt == kReservedTag);
      CHECK(ask.as<TextRequest>().exp_stat_sn == portal.stat_sn);
      portal.deliver(portal.text(ask.as<TextRequest>().itt, to_text(kTargets), true));
      const Pdu logout = portal.take(Opcode::logout_request);
      CHECK(logout.as<LogoutRequest>().reason == LogoutReason::close_session);
      CHECK_FALSE(portal.discovery.finished());
      portal.deliver(make_pdu(LogoutResponse{.itt = logout.as<LogoutRequest>().itt, .sequence = portal.sequence()}));
      CHECK(portal.cutter.clean());
      check_targets(portal.discovery);
    }
  }
}

TEST_CASE("discovery: an answer in several rounds") {
  for (const bool continues : {true, false}) {
    DiscoveryPortal portal;
    portal.login();
    const Bytes all = to_text(kTargets);
    Pdu ask = portal.take(Opcode::text_request);
    for (std::size_t at = 0; at < all.size(); at += 20) {
      const auto begin = all.begin() + static_cast<std::ptrdiff_t>(at);
      const std::size_t n = std::min<std::size_t>(20, all.size() - at);
      const bool last = at + n == all.size();
      portal.deliver(portal.text(ask.as<TextRequest>().itt, Bytes(begin, begin + static_cast<std::ptrdiff_t>(n)),
                                 last, continues && !last, last ? kReservedTag : 0x4711));
      if (last) break;
      ask = portal.take(Opcode::text_request);
      CHECK(ask.data.empty());
      CHECK(ask.as<TextRequest>().ttt == 0x4711);
      CHECK(ask.as<TextRequest>().lun == 0x0002000000000000ULL);  // goes with the tag
    }
    portal.take(Opcode::logout_request);
    portal.discovery.on_disconnected("closed", 0);  // as good as an answer
    check_targets(portal.discovery);
  }
}

TEST_CASE("discovery: pings are answered meanwhile") {
  DiscoveryPortal portal;
  portal.login();
  const Pdu ask = portal.take(Opcode::text_request);
  portal.deliver(make_pdu(NopIn{.ttt = 3, .sequence = portal.sequence(false)}));
  CHECK(portal.take(Opcode::nop_out).as<NopOut>().ttt == 3);
  portal.deliver(portal.text(ask.as<TextRequest>().itt, to_text(kTargets), true));
  portal.take(Opcode::logout_request);
}

TEST_CASE("discovery: what a portal can do wrong") {
  DiscoveryPortal portal;
  portal.login();
  const std::uint32_t itt = portal.take(Opcode::text_request).as<TextRequest>().itt;
  std::string reason;
  SUBCASE("another tag") {
    portal.deliver(portal.text(itt + 1, {}, true));
    reason = describe(ConnectionError::bad_itt);
  }
  SUBCASE("a status skipped") {
    portal.sequence();
    portal.deliver(portal.text(itt, {}, true));
    reason = describe(ConnectionError::stat_sn);
  }
  SUBCASE("more to come, but no tag") {
    portal.deliver(portal.text(itt, {}, false));
    reason = "without a tag";
  }
  SUBCASE("an address before its target") {
    portal.deliver(portal.text(itt, to_text({{"TargetAddress", "192.0.2.1"}}), true));
    reason = "before the first target";
  }
  SUBCASE("no text") {
    portal.deliver(portal.text(itt, {'x', 'y'}, true));
    reason = "NUL";
  }
  SUBCASE("something else") {
    portal.deliver(make_pdu(ScsiResponse{}));
    reason = "nothing asked for";
  }
  SUBCASE("text without end") {
    for (int i = 0; i < 100 && !portal.discovery.finished(); ++i) {
      portal.deliver(portal.text(itt, Bytes(8192, 'x'), false, true, 1));
    }
    reason = "does not end";
  }
  SUBCASE("rounds without end, and a socket that takes nothing") {
    portal.takes = false;
    for (int i = 0; i < 1000 && !portal.discovery.finished(); ++i) {
      portal.deliver(portal.text(itt, {}, false, true, 1));
    }
    reason = describe(ConnectionError::protocol);
  }
  SUBCASE("pings without end, and a socket that takes nothing") {
    portal.takes = false;
    for (int i = 0; i < 1000 && !portal.discovery.finished(); ++i) {
      portal.deliver(make_pdu(NopIn{.ttt = 1, .sequence = portal.sequence(false)}));
    }
    reason = describe(ConnectionError::protocol);
  }
  SUBCASE("it closes the connection") {
    portal.discovery.on_disconnected("reset by peer", 0);
    reason = "reset by peer";
  }
  SUBCASE("it does not answer") {
    portal.discovery.on_deadline(portal.discovery.next_deadline());
    reason = "in time";
  }
  CHECK(portal.discovery.finished());
  CHECK(portal.discovery.failure().find(reason) != std::string::npos);
  CHECK(portal.discovery.next_deadline() == nbdgw::proto::kNever);
}

TEST_CASE("discovery: thousands of targets, in as many responses as it takes") {
  constexpr std::size_t kTargets = 5000;
  for (const std::size_t piece : {std::size_t{8192}, std::size_t{16384}, std::size_t{1000}}) {
    for (const bool continues : {true, false}) {
      DiscoveryPortal portal;
      portal.login();
      Keys keys;
      for (std::size_t i = 0; i < kTargets; ++i) {
        keys.emplace_back("TargetName", "iqn.2026-11.com.example:a.long.name.of.a.target." + std::to_string(i));
        keys.emplace_back("TargetAddress", "192.0.2.1:3260,1");
        keys.emplace_back("TargetAddress", "192.0.2.2:3260,2");
      }
      send_pieces(portal, to_text(keys), piece, continues);
      portal.take(Opcode::logout_request);
      REQUIRE(portal.discovery.targets().size() == kTargets);
      for (std::size_t i = 0; i < kTargets; ++i) {
        const DiscoveredTarget& target = portal.discovery.targets()[i];
        REQUIRE(target.name == keys[3 * i].second);
        REQUIRE(target.addresses == std::vector<std::string>{"192.0.2.1:3260,1", "192.0.2.2:3260,2"});
      }
    }
  }
}

TEST_CASE("discovery: a portal that never comes to an end is left") {
  DiscoveryPortal portal;
  portal.login();
  const std::uint32_t itt = portal.take(Opcode::text_request).as<TextRequest>().itt;
  std::string reason;
  SUBCASE("targets for ever") {
    const Bytes text = to_text({{"TargetName", "iqn.2026-11.com.example:x"}});
    while (!portal.discovery.finished()) portal.deliver(portal.text(itt, text, false, false, 1));
    CHECK(portal.discovery.targets().size() == Discovery::kMaxTargets);
    reason = "more than 65536 targets";
  }
  SUBCASE("text for ever") {
    Keys keys(400, {"X-com.example.filler", "nothing"});
    const Bytes text = to_text(keys);
    for (std::size_t sent = 0; !portal.discovery.finished(); sent += text.size()) {
      REQUIRE(sent < Discovery::kMaxText + text.size());
      portal.deliver(portal.text(itt, text, false, true, 1));
    }
    reason = "more text than we take";
  }
  SUBCASE("rounds for ever, without a word") {
    for (int i = 0; i < 15; ++i) {
      CHECK_FALSE(portal.discovery.finished());
      portal.deliver(portal.text(itt, {}, false, false, 1));
      portal.now += kSecond;
      portal.discovery.on_deadline(portal.now);
    }
    reason = "did not answer in time";
  }
  SUBCASE("a word now and then, for ever") {
    const Bytes text = to_text({{"TargetName", "iqn.2026-11.com.example:x"}});
    for (int i = 0; i < 60 && !portal.discovery.finished(); ++i) {
      portal.deliver(portal.text(itt, text, false, false, 1));
      portal.now += 10 * kSecond;
      portal.discovery.on_deadline(portal.now);
    }
    CHECK(portal.now == Discovery::kMaxDuration);
    reason = "come to the end";
  }
  CHECK(portal.discovery.finished());
  CAPTURE(portal.discovery.failure());
  CHECK(portal.discovery.failure().find(reason) != std::string::npos);
}

TEST_CASE("discovery: no more is asked for at once than there is room for") {
  DiscoveryPortal portal;
  portal.discovery.on_connected(portal.now);
  const Pdu first = portal.take(Opcode::login_request);
  portal.deliver(make_pdu(LoginResponse{.transit = true,
                                        .next_stage = LoginStage::operational,
                                        .itt = first.as<LoginRequest>().itt,
                                        .sequence = portal.sequence()},
                          to_text({{"AuthMethod", "None"}})));
  CHECK(value_of(portal.take(Opcode::login_request), "MaxRecvDataSegmentLength") ==
        std::to_string(PduReader::kMaxControlLength));
}

TEST_CASE("discovery: no TCP connection") {
  DiscoveryPortal portal;
  portal.discovery.setup(0);
  CHECK(portal.discovery.next_deadline() == 15 * kSecond);
  portal.discovery.on_deadline(15 * kSecond);
  CHECK(portal.discovery.failure() == describe(ConnectionError::login_timed_out, kNoTcpConnection));
}

TEST_CASE("discovery: a login that does not come about") {
  DiscoveryPortal portal;
  portal.discovery.on_connected(0);
  SUBCASE("refused") {
    const Pdu request = portal.take(Opcode::login_request);
    portal.deliver(make_pdu(
        LoginResponse{.itt = request.as<LoginRequest>().itt, .status = LoginStatus::authentication_failure}));
    CHECK(portal.discovery.failure().find("CHAP") != std::string::npos);
  }
  SUBCASE("redirected") {
    const Pdu request = portal.take(Opcode::login_request);
    portal.deliver(
        make_pdu(LoginResponse{.itt = request.as<LoginRequest>().itt, .status = LoginStatus::redirect_temporary},
                 to_text({{"TargetAddress", "203.0.113.9:99"}})));
    CHECK(portal.discovery.failure().find("203.0.113.9:99") != std::string::npos);
  }
  SUBCASE("answered before the request is out") {
    portal.takes = false;
    portal.deliver(make_pdu(LoginResponse{.transit = true, .next_stage = LoginStage::operational, .itt = 1}));
    CHECK(portal.discovery.failure().find("before the request") != std::string::npos);
  }
  SUBCASE("refused by TCP") {
    portal.discovery.on_disconnected("connection refused", 0);
    CHECK(portal.discovery.failure() == "connection refused");
  }
  SUBCASE("no answer") {
    CHECK(portal.discovery.next_deadline() == 15 * kSecond);
    portal.discovery.on_deadline(15 * kSecond);
    CHECK(portal.discovery.failure() == describe(ConnectionError::login_timed_out));
  }
  SUBCASE("something else") {
    portal.take(Opcode::login_request);
    portal.deliver(make_pdu(TextResponse{}));
    CHECK(portal.discovery.failure().find("not a login response") != std::string::npos);
  }
  CHECK(portal.discovery.finished());
  CHECK(portal.discovery.targets().empty());
}
