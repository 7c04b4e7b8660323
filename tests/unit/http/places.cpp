// Who gets a place when there are more clients than places.
#include <memory>
#include <vector>

#include <doctest/doctest.h>

#include "tests/unit/http/served.hpp"

using namespace nbdgw;
using namespace nbdgw::http;
using nbdgw::test::becomes_true;
using nbdgw::test::HttpClient;
using nbdgw::test::local_address;
using nbdgw::test::Served;

namespace {

using Clients = std::vector<std::unique_ptr<HttpClient>>;

/// Clients that have connected, and said `bytes`.
Clients silent(const Served& served, int count, const std::string& bytes = {}) {
  Clients clients;
  for (int i = 0; i < count; ++i) {
    clients.push_back(std::make_unique<HttpClient>(served.server->port()));
    if (!bytes.empty()) clients.back()->send(bytes);
  }
  return clients;
}

}  // namespace

TEST_CASE("http places: a newcomer gets the place of the client that has been silent longest") {
  Served served({.connections = 2});
  HttpClient one = served.client();
  HttpClient two = served.client();
  CHECK(one.get("/echo") == 200);
  CHECK(two.get("/echo") == 200);
  CHECK(one.get("/echo") == 200);  // so the other has been silent longer
  HttpClient three = served.client();
  CHECK(three.get("/echo") == 200);
  CHECK(two.is_closed());
  CHECK(one.get("/echo") == 200);
  CHECK(served.server->connections() == 2);
  CHECK(served.counters().evicted == 1);
}

TEST_CASE("http places: a place is free again when its client leaves") {
  Served served({.connections = 1});
  for (int i = 0; i < 3; ++i) {
    CHECK(served.client().get("/echo") == 200);
    CHECK(becomes_true([&] { return served.server->connections() == 0; }));
  }
  CHECK(served.counters().evicted == 0);
}

TEST_CASE("http places: whoever waits for us keeps its place, and if all do a newcomer is sent away") {
  Served served({.connections = 2});
  const std::string later = "GET /later HTTP/1.1\r\nHost: x\r\n\r\n";
  HttpClient one = served.client();
  HttpClient two = served.client();
  one.send(later);
  two.send(later);
  CHECK(becomes_true([&] { return served.waiting() == 2; }));
  CHECK(served.client().is_closed());
  CHECK(served.client().is_closed());
  CHECK(served.counters().turned_away == 2);
  served.answer();
  served.answer();
  CHECK(one.receive());
  CHECK(two.receive());
  CHECK(served.client().get("/echo") == 200);
}

TEST_CASE("http places: clients that ask for nothing take no place from those that do") {
  Served served({.connections = 8});
  HttpClient regular = served.client();
  REQUIRE(regular.get("/echo") == 200);
  for (const char* said :
       {"", "GET /echo HT", "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n123", "nonsense\r\n\r\n"}) {
    CAPTURE(said);
    const Clients flood = silent(served, 100, said);
    CHECK(served.client().get("/echo") == 200);
    CHECK(regular.get("/echo") == 200);
    CHECK(served.server->connections() <= 8);
  }
  CHECK(served.counters().turned_away == 0);
  CHECK(served.counters().evicted >= 3 * 92);
}

TEST_CASE("http places: clients that have been answered once cannot keep all others out") {
  Served served({.connections = 8});
  Clients squatters;
  for (int i = 0; i < 8; ++i) {
    squatters.push_back(std::make_unique<HttpClient>(served.server->port()));
    REQUIRE(squatters.back()->get("/echo") == 200);
  }
  Clients flood = silent(served, 8);
  // Half of the places are in the hands of newcomers now, and the squatters have the rest.
  CHECK(becomes_true([&] { return served.counters().evicted == 8; }));
  int left = 0;
  for (const auto& each : squatters) left += each->get("/echo") == 200;
  CHECK(left == 4);
  CHECK(served.client().get("/echo") == 200);
}

TEST_CASE("http places: of each address its own") {
  Served served({.connections = 1}, std::vector{local_address(), local_address()});
  HttpClient first = served.client(0);
  REQUIRE(first.get("/echo") == 200);
  HttpClient second = served.client(1);
  CHECK(second.get("/echo") == 200);
  CHECK(first.get("/echo") == 200);
  CHECK(served.server->connections() == 2);
}

TEST_CASE("http places: a client that loses its place in the middle of something") {
  Served served({.connections = 1, .body_bytes = 16 << 20});
  HttpClient reading = served.client();
  const std::string large(16 << 20, 'a');  // more than the buffers of a loopback connection hold
  reading.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(large.size()) + "\r\n\r\n" +
               large);
  CHECK(becomes_true([&] { return served.counters().answers.count(200) == 1; }));
  CHECK(served.client().get("/echo") == 200);
  CHECK_FALSE(reading.receive());
  CHECK(becomes_true([&] { return served.server->connections() == 0; }));
}
