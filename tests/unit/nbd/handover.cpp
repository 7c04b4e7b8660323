// A connection passes from one process to the next: nothing that the client sees tells of it.

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "proto/bytes/endian.hpp"
#include "tests/unit/nbd/rig.hpp"
#include "tests/unit/nbd/wire.hpp"

using namespace nbdgw;
using namespace nbdgw::test;
using proto::load_be16;
using proto::load_be32;
using proto::load_be64;
using Phase = nbd::Connection::Phase;

namespace {

/// Every kind of request, refused ones too, with a payload of more than one segment.
std::string conversation() {
  return request(kWrite, 0, 1, 512, 5000) + std::string(5000, 'a') + request(kRead, 0, 2, 0, 6000) +
         request(kWrite, kFua, 3, 100, 300) + std::string(300, 'b') + request(kFlush, 0, 4, 0, 0) +
         request(kWrite, 0, 5, 1 << 20, 200) + std::string(200, 'c') +  // past the end
         request(kTrim, 0, 6, 4096, 512) + request(kRead, 0, 7, 0, 5600) + request(kZeroes, 0, 8, 0, 700) +
         request(kRead, 0, 9, 0, 800);
}

/// What each request came to, by cookie: its error and its data. Replies may come in any order, and data in any
/// pieces.
using Outcomes = std::map<std::uint64_t, std::string>;

Outcomes outcomes(const std::string& said, bool structured) {
  const std::map<std::uint64_t, std::size_t> reads{{2, 6000}, {7, 5600}, {9, 800}};
  Outcomes found;
  std::size_t at = 0;
  const auto next = [&](std::size_t length) {
    REQUIRE(at + length <= said.size());
    at += length;
    return reinterpret_cast<const std::uint8_t*>(said.data()) + at - length;
  };
  while (at < said.size()) {
    const std::uint8_t* const header = next(16);
    const std::uint64_t cookie = load_be64(header + 8);
    std::string& outcome = found[cookie];
    if (load_be32(header) == proto::nbd::kSimpleReplyMagic) {
      const std::uint32_t error = load_be32(header + 4);
      outcome += std::to_string(error) + ":";
      const auto read = reads.find(cookie);
      if (read != reads.end() && error == 0 && !structured)
        outcome.append(reinterpret_cast<const char*>(next(read->second)), read->second);
      continue;
    }
    const bool done = (load_be16(header + 4) & 1) != 0;
    const std::uint16_t type = load_be16(header + 6);
    const std::uint32_t length = load_be32(next(4));
    const std::string content(reinterpret_cast<const char*>(next(length)), length);
    outcome += type == 1 ? content.substr(8) : content;  // data come in order from this backend
    if (done) outcome += ":";
  }
  return found;
}

std::string uninterrupted(bool structured) {
  Rig rig;
  rig.feed(attach(structured));
  rig.take();
  rig.feed(conversation());
  return rig.take();
}

nbd::KeptConnection kept_after_attach() {
  Rig rig;
  rig.feed(attach(false));
  rig.connection.begin_handover(rig.now);
  REQUIRE(rig.connection.parked());
  return rig.connection.kept();
}

/// What becomes of a client whose export is another one after the restart.
nbd::CloseReason resumed_on(const std::function<void(nbd::ExportInfo&)>& change) {
  nbd::KeptConnection kept = kept_after_attach();
  kept.info.disk = {.designator = "naa.6001405a", .serial = "1"};
  Rig rig(std::move(kept));
  rig.backend.info_.disk = {.designator = "naa.6001405a", .serial = "1"};
  change(rig.backend.info_);
  rig.serve();
  return rig.connection.close_reason();
}

}  // namespace

TEST_CASE("handover: at every byte, with everything in flight") {
  for (const bool structured : {false, true}) {
    const Outcomes expected = outcomes(uninterrupted(structured), structured);
    REQUIRE(expected.size() == 9);
    const std::string all = conversation();
    for (std::size_t cut = 0; cut <= all.size(); ++cut) {
      CAPTURE(structured);
      CAPTURE(cut);
      Rig first;
      first.feed(attach(structured));
      first.take();
      first.automatic = false;
      std::size_t fed = first.feed(std::string_view(all).substr(0, cut));
      first.connection.begin_handover(first.now);
      first.automatic = true;
      first.serve();
      const std::size_t piece = cut % 16 == 0 ? 1 : 97;  // single bytes are slow: not after each cut
      while (!first.connection.parked()) {               // a payload is on its way
        const std::size_t taken = first.feed(std::string_view(all).substr(fed, piece));
        REQUIRE(taken > 0);
        fed += taken;
      }
      CHECK(fed < cut + 5000 + piece);
      std::array<iovec, 4> room;
      CHECK(first.connection.rx_buffers(room) == 0);
      CHECK(!first.connection.wants_close());

      Rig second(first.connection.kept());
      std::swap(second.backend.disk, first.backend.disk);
      second.feed(std::string_view(all).substr(fed));
      CHECK(second.connection.structured_replies() == structured);
      const std::string said = first.take();
      CHECK((outcomes(said + second.take(), structured) == expected));
    }
  }
}

TEST_CASE("handover: a request that waits for memory waits for the next process") {
  Rig first;
  first.feed(attach(false));
  first.take();
  first.backend.no_room = [] { return true; };
  first.feed(request(kRead, 0, 1, 0, 512));
  REQUIRE(first.connection.stalled());
  first.connection.begin_handover(first.now);
  CHECK(!first.connection.stalled());
  REQUIRE(first.connection.parked());
  Rig second(first.connection.kept());
  second.serve();
  CHECK(second.take() == simple(0, 1, std::string(512, '\0')));
}

TEST_CASE("handover: who has left in the middle of a WRITE is not left to the next process") {
  // The rest lies in the socket, and looks like requests.
  for (const bool refused : {false, true}) {
    CAPTURE(refused);
    Rig rig;
    rig.feed(attach(false));
    rig.take();
    rig.feed(request(kWrite, 0, 1, refused ? 1 << 20 : 0, 4096) + std::string(1000, 'a'));
    rig.connection.begin_handover(0);
    CHECK(!rig.connection.parked());
    rig.connection.on_peer_gone(true, 0);
    CHECK(!rig.connection.parked());
    CHECK(rig.connection.wants_close());
  }
}

TEST_CASE("handover: whole requests of who has left are left to the next process") {
  Rig rig;
  rig.feed(attach(false));
  rig.take();
  rig.feed(request(kWrite, 0, 1, 0, 512) + std::string(256, 'a'));
  rig.connection.begin_handover(0);
  rig.feed(std::string(256, 'a') + request(kTrim, 0, 2, 0, 512));
  rig.connection.on_peer_gone(true, 0);
  CHECK(!rig.connection.wants_close());
  REQUIRE(rig.connection.parked());
  CHECK(rig.connection.kept().unread.size() == 28);
}

TEST_CASE("handover: a handshake goes on to its end") {
  Rig first;
  first.feed(client_flags());
  first.connection.begin_handover(first.now);
  CHECK(!first.connection.parked());
  first.feed(opt_go("vol0"));
  CHECK(first.take() == attached(false));
  REQUIRE(first.connection.parked());
  Rig second(first.connection.kept());
  second.feed(request(kRead, 0, 1, 0, 512));
  CHECK(second.take() == simple(0, 1, std::string(512, '\0')));
}

TEST_CASE("handover: replies that are not sent yet are sent first") {
  Rig rig;
  rig.feed(attach(false));
  rig.take();
  rig.automatic = false;
  rig.feed(request(kRead, 0, 1, 0, 512));
  rig.connection.begin_handover(rig.now);
  CHECK(!rig.connection.parked());
  rig.backend.complete_all();
  CHECK(!rig.connection.parked());
  rig.send(100);
  CHECK(rig.connection.parked());
  CHECK(rig.take().size() == 16 + 512);
}

TEST_CASE("handover: the export must be what the client knows, or more") {
  CHECK(resumed_on([](nbd::ExportInfo&) {}) == nbd::CloseReason::none);
  CHECK(resumed_on([](nbd::ExportInfo& info) { info.size += 512; }) == nbd::CloseReason::none);
  CHECK(resumed_on([](nbd::ExportInfo& info) { info.rotational = !info.rotational; }) == nbd::CloseReason::none);
  CHECK(resumed_on([](nbd::ExportInfo& info) { info.description = "renamed"; }) == nbd::CloseReason::none);
  const std::vector<std::function<void(nbd::ExportInfo&)>> worse{
      [](nbd::ExportInfo& info) { info.disk.designator = "naa.6001405b"; },
      [](nbd::ExportInfo& info) { info.disk.serial = "2"; },
      [](nbd::ExportInfo& info) { info.disk = {}; },
      [](nbd::ExportInfo& info) { info.size -= 512; },
      [](nbd::ExportInfo& info) { info.read_only = true; },
      [](nbd::ExportInfo& info) { info.fua = false; },
      [](nbd::ExportInfo& info) { info.flush = false; },
      [](nbd::ExportInfo& info) { info.trim = false; },
      [](nbd::ExportInfo& info) { info.write_zeroes = false; },
      [](nbd::ExportInfo& info) { info.multi_conn = false; },
      [](nbd::ExportInfo& info) { info.min_block = 4096; }};
  for (const auto& change : worse) CHECK(resumed_on(change) == nbd::CloseReason::resume_refused);
  // It may have to share the memory with more exports. Clients send no READ that long, and to lose them is worse.
  CHECK(resumed_on([](nbd::ExportInfo& info) { info.max_payload /= 2; }) == nbd::CloseReason::none);
}

TEST_CASE("attachment: from the choice of the export to the end, with whatever is in flight") {
  Rig rig;
  rig.feed(client_flags());
  CHECK(rig.backend.attached == nullptr);
  CHECK(rig.connection.attachment() == nullptr);
  rig.automatic = false;
  rig.feed(opt_go("vol0") + request(kRead, 0, 1, 0, 512));
  REQUIRE(rig.backend.attached != nullptr);
  CHECK(rig.connection.attachment() == rig.backend.attached);
  CHECK(rig.backend.attached->stands == nbd::LossStanding::newcomer);
  CHECK(rig.backend.requests_out == 1);
  rig.disconnect();
  CHECK(rig.backend.attached == nullptr);
}

TEST_CASE("attachment: who would make another connection is known by its word, through restarts, too") {
  Rig rig;
  const std::string query = "x-nbdgw:resume=f00d";
  rig.feed(client_flags() + option(9, be32(4) + "vol0" + be32(1) + be32(query.size()) + query) + opt_go("vol0"));
  REQUIRE(rig.backend.attached != nullptr);
  CHECK(rig.backend.attached->token == "f00d");
  CHECK(rig.backend.attached->again);
  rig.connection.begin_handover(rig.now);
  Rig there(rig.connection.kept());
  there.serve();
  REQUIRE(there.backend.attached != nullptr);
  CHECK(there.backend.attached->token == "f00d");
  CHECK_FALSE(there.backend.attached->again);
}

TEST_CASE("attachment: a client goes through restarts with what it was told of losses") {
  using enum nbd::LossStanding;
  for (const nbd::LossStanding standing : {newcomer, told, owed}) {
    CAPTURE(static_cast<int>(standing));
    Rig first;
    first.feed(attach(false));
    first.backend.attached->stands = standing;
    first.connection.begin_handover(first.now);
    REQUIRE(first.connection.parked());
    const nbd::KeptConnection kept = first.connection.kept();
    CHECK(kept.standing == standing);
    {
      Rig there(kept);
      CHECK(there.connection.standing() == standing);
      there.serve();
      REQUIRE(there.backend.attached != nullptr);
      CHECK(there.backend.attached->stands == standing);
    }
    {
      Rig late(kept);  // not online yet: what it hears meanwhile counts
      late.connection.expect_export(late.backend);
      REQUIRE(late.backend.attached != nullptr);
      late.backend.attached->stands = owed;
      late.connection.expect_export(late.backend);  // once is enough
      late.waiting["vol0"] = "no session";
      late.serve();
      late.waiting.clear();
      late.serve();
      CHECK(late.connection.phase() == Phase::transmission);
      CHECK(late.connection.standing() == owed);
    }
    {
      Rig never(kept);  // nor at the next restart
      never.connection.expect_export(never.backend);
      never.backend.attached->stands = owed;
      never.connection.begin_handover(never.now);
      REQUIRE(never.connection.parked());
      CHECK(never.connection.kept().standing == owed);
    }
    {
      Rig gone(kept);  // what it was owed is left there, and it may be the one that is told
      gone.connection.expect_export(gone.backend);
      gone.connection.forgo_export();
      CHECK(gone.backend.attached == nullptr);
      CHECK(gone.connection.standing() == (standing == owed ? newcomer : standing));
    }
  }
}

TEST_CASE("handover: the client waits for its export, and not for ever") {
  const nbd::KeptConnection kept = kept_after_attach();
  SUBCASE("it comes") {
    Rig rig(kept);
    rig.waiting["vol0"] = "no session";
    rig.serve();
    CHECK(rig.connection.phase() == Phase::resuming);
    rig.now = rig.connection.next_deadline() - 1;
    rig.connection.on_deadline(rig.now);
    rig.waiting.clear();
    rig.serve();
    CHECK(rig.connection.phase() == Phase::transmission);
    CHECK(rig.connection.next_deadline() == proto::kNever);
  }
  SUBCASE("it does not") {
    Rig rig(kept);
    rig.waiting["vol0"] = "no session";
    rig.serve();
    rig.now = rig.connection.next_deadline();
    rig.connection.on_deadline(rig.now);
    CHECK(rig.connection.wants_close());
    CHECK(rig.connection.close_reason() == nbd::CloseReason::resume_timeout);
  }
  SUBCASE("there is none any more") {
    Rig rig(kept);
    rig.connection.export_unknown("gone", rig.now);
    CHECK(rig.connection.wants_close());
    CHECK(rig.connection.close_reason() == nbd::CloseReason::export_gone);
  }
  SUBCASE("the next restart comes first") {
    Rig rig(kept);
    rig.waiting["vol0"] = "no session";
    rig.serve();
    rig.connection.begin_handover(rig.now);
    REQUIRE(rig.connection.parked());
    Rig third(rig.connection.kept());
    third.feed(request(kRead, 0, 1, 0, 512));
    CHECK(third.take() == simple(0, 1, std::string(512, '\0')));
  }
}
