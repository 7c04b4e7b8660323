#include "gateway/attach/negotiation.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <span>
#include <string>

#include "tests/unit/nbd/wire.hpp"

using namespace nbdgw;
using namespace nbdgw::test;
using attach::Negotiation;

namespace {

constexpr std::uint32_t kListContexts = 9, kGo = 7, kInfoOption = 6, kAbort = 2, kContext = 4;

std::string identity(std::string_view text) {
  return reply(kListContexts, kContext, be32(0) + "x-nbdgw:identity=" + std::string(text));
}

std::string block_sizes(std::uint32_t option, std::uint32_t minimum) {
  return reply(option, kInfo, be16(3) + be32(minimum) + be32(4096) + be32(1 << 25));
}

std::string contexts(std::string_view exported, std::initializer_list<std::string> queries) {
  std::string data = be32(exported.size()) + std::string(exported) + be32(queries.size());
  for (const std::string& query : queries) data += be32(query.size()) + query;
  return option(kListContexts, data);
}

/// Feeds what a server says, in parts of `part` bytes, and returns what has gone out.
std::string talk(Negotiation& negotiation, const std::string& said, std::size_t part = 1 << 20) {
  std::string sent, waiting;
  for (std::size_t at = 0; at < said.size(); at += part) {
    waiting += said.substr(at, part);
    const auto bytes = [&waiting] {
      return std::span(reinterpret_cast<const std::uint8_t*>(waiting.data()), waiting.size());
    };
    while (const std::size_t used = negotiation.consume(bytes())) waiting.erase(0, used);
    sent += negotiation.output();
    negotiation.output().clear();
  }
  return sent;
}

std::string all_of_a_server() {
  return greeting() + identity("naa.6001405abc") + reply(kListContexts, kAck) + info_export(kGo, 1 << 30, 0x16d) +
         block_sizes(kGo, 512) + reply(kGo, kAck);
}

}  // namespace

TEST_CASE("attach negotiation: identity first, then GO; byte for byte, however it is cut") {
  for (const std::size_t part : {1, 3, 17, 1000}) {
    Negotiation negotiation("vol0", "", Negotiation::Purpose::go);
    CHECK(talk(negotiation, all_of_a_server(), part) ==
          client_flags(3) + contexts("vol0", {"x-nbdgw:identity"}) + option(kGo, info_data("vol0", {3})));
    REQUIRE(negotiation.state() == Negotiation::State::agreed);
    CHECK(negotiation.offer().identity == "naa.6001405abc");
    CHECK(negotiation.offer().size == 1 << 30);
    CHECK(negotiation.offer().flags == 0x16d);
    CHECK(negotiation.offer().block == 512);
  }
}

TEST_CASE("attach negotiation: who was attached before says so; who only asks says good-bye") {
  Negotiation first("vol0", "f00d", Negotiation::Purpose::go);
  CHECK(talk(first, greeting()) == client_flags(3) + contexts("vol0", {"x-nbdgw:identity", "x-nbdgw:client=f00d"}));
  Negotiation again("vol0", "f00d", Negotiation::Purpose::resume);
  CHECK(talk(again, greeting()) == client_flags(3) + contexts("vol0", {"x-nbdgw:identity", "x-nbdgw:resume=f00d"}));
  CHECK(talk(again, identity("a") + reply(kListContexts, kAck)) == option(kGo, info_data("vol0", {3})));

  Negotiation asks("vol0", "", Negotiation::Purpose::ask);
  const std::string sent = talk(asks, greeting() + identity("") + reply(kListContexts, kAck) +
                                          info_export(kInfoOption, 4096, 1) + reply(kInfoOption, kAck));
  CHECK(sent == client_flags(3) + contexts("vol0", {"x-nbdgw:identity"}) +
                    option(kInfoOption, info_data("vol0", {3})) + option(kAbort));
  CHECK(asks.state() == Negotiation::State::running);
  talk(asks, reply(kAbort, kAck));
  CHECK(asks.state() == Negotiation::State::agreed);
  CHECK(asks.offer().identity.empty());
}

TEST_CASE("attach negotiation: servers that are none of ours are refused, with what to do") {
  const std::string other = "nbd-client";
  for (const std::string& said :
       {greeting() + reply(kListContexts, kUnsup, "no"), greeting() + reply(kListContexts, kInvalid, "no structure"),
        greeting() + reply(kListContexts, kAck), std::string("NBDMAGICIHAVEOPT") + be16(0)}) {
    Negotiation negotiation("vol0", "", Negotiation::Purpose::go);
    talk(negotiation, said);
    REQUIRE(negotiation.state() == Negotiation::State::refused);
    CHECK(negotiation.reason().find(other) != std::string::npos);
  }
}

TEST_CASE("attach negotiation: what a server refuses is told in its words, without what a terminal would obey") {
  Negotiation negotiation("nope", "", Negotiation::Purpose::go);
  talk(negotiation, greeting() + reply(kListContexts, kUnknown, "There is no export\x1b[2J of that name."));
  REQUIRE(negotiation.state() == Negotiation::State::refused);
  CHECK(negotiation.reason() == "says: There is no export?[2J of that name.");
}

TEST_CASE("attach negotiation: nonsense ends it, and nothing is taken after that") {
  const std::string good = greeting() + identity("a") + reply(kListContexts, kAck);
  for (const std::string& said :
       {std::string("HTTP/1.1 400 Bad Request\r\n\r\n"), greeting() + std::string(20, '\0'),
        greeting() + reply(kGo, kAck),
        greeting() + be64(0x0003e889045565a9) + be32(kListContexts) + be32(1) + be32(1 << 20),
        greeting() + reply(kListContexts, kContext, "abc"), good + reply(kGo, kAck), good + reply(kGo, kInfo, "x"),
        good + reply(kGo, kInfo, be16(0) + be32(1)), good + reply(kGo, kInfo, be16(3) + be32(1)),
        good + reply(kGo, kContext, be32(0) + "x-nbdgw:identity=b")}) {
    CAPTURE(said);
    Negotiation negotiation("vol0", "", Negotiation::Purpose::go);
    talk(negotiation, said);
    REQUIRE(negotiation.state() == Negotiation::State::refused);
    CHECK(!negotiation.reason().empty());
    const std::string more = all_of_a_server();
    CHECK(negotiation.consume(std::span(reinterpret_cast<const std::uint8_t*>(more.data()), more.size())) == 0);
  }
}

TEST_CASE("attach negotiation: no bytes of a server break it") {
  std::mt19937_64 random(4711);
  for (int round = 0; round < 2000; ++round) {
    std::string said = all_of_a_server();
    for (int i = 0; i < 3; ++i) said[random() % said.size()] = static_cast<char>(random());
    said.resize(random() % (said.size() + 1));
    Negotiation negotiation("vol0", "f00d", Negotiation::Purpose::go);
    talk(negotiation, said, 1 + random() % 40);
    const bool ended = negotiation.state() != Negotiation::State::running;
    CHECK((negotiation.state() == Negotiation::State::refused) == !negotiation.reason().empty());
    CHECK((ended || said.size() <= all_of_a_server().size()));
  }
}
