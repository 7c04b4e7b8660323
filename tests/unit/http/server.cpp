#include "gateway/http/server.hpp"

#include <unistd.h>

#include <doctest/doctest.h>

#include "gateway/net/listener.hpp"
#include "proto/time.hpp"
#include "tests/unit/http/http_client.hpp"
#include "tests/unit/http/served.hpp"

using namespace nbdgw;
using namespace nbdgw::http;
using nbdgw::test::becomes_true;
using nbdgw::test::HttpClient;
using nbdgw::test::Served;
using proto::kMillisecond;

namespace {

const std::string kGet = "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n";

}  // namespace

TEST_CASE("http server: one connection, many requests") {
  Served served;
  CHECK(served.server->addresses() == std::vector{"http://127.0.0.1:" + std::to_string(served.server->port())});
  HttpClient client = served.client();
  CHECK(client.get("/echo?a=b") == 200);
  CHECK(client.body == "GET /echo a=b  ");
  CHECK(client.field("X-Test") == "yes");
  CHECK(client.field("Content-Type") == "text/plain");
  CHECK(client.field("Cache-Control") == "no-store");
  CHECK(client.post("/echo", "{}") == 200);
  CHECK(client.body == "POST /echo  application/json {}");
  CHECK(client.get("/none") == 404);
  CHECK(client.remove("/echo") == 405);
  CHECK(client.field("Allow") == "POST, GET, HEAD");
  CHECK(client.remove("/nothing") == 204);
  CHECK(client.field("Content-Length") == "");
  client.send("HEAD /echo HTTP/1.1\r\nHost: x\r\n\r\n");
  REQUIRE(client.receive(false));
  CHECK(client.field("Content-Length") == "13");
  CHECK(client.get("/throws") == 503);
  // Sent ahead, and in pieces.
  client.send(kGet + kGet + kGet.substr(0, 9));
  CHECK(client.receive());
  CHECK(client.receive());
  CHECK(client.ask(kGet.substr(9)) == 200);
  const std::string chunked =
      "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
  CHECK(client.ask(chunked) == 200);
  CHECK(client.body == "POST /echo   abcde");
  CHECK(served.server->connections() == 1);
}

TEST_CASE("http server: the connection ends when one side wants it") {
  Served served({.linger = 50 * kMillisecond});
  HttpClient closing = served.client();
  CHECK(closing.ask("GET /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") == 200);
  CHECK(closing.field("Connection") == "close");
  CHECK(closing.is_closed());
  HttpClient old = served.client();
  CHECK(old.ask("GET /echo HTTP/1.0\r\n\r\n") == 200);
  CHECK(old.head.starts_with("HTTP/1.0 "));
  CHECK(old.is_closed());
  // Half closed behind its request: it gets its answer all the same.
  HttpClient half = served.client();
  half.send(kGet);
  half.end();
  CHECK(half.receive());
  CHECK(half.is_closed());
  CHECK(becomes_true([&] { return served.server->connections() == 0; }));
}

TEST_CASE("http server: requests that are none, or too large, are told so, and their connection ends") {
  Served served({.header_bytes = 512, .body_bytes = 1000});
  struct Case {
    std::string request;
    int status;
    const char* code;
  };
  const std::string post = "POST /echo HTTP/1.1\r\nHost: x\r\n";
  for (const Case& each : {
           Case{"nonsense\r\n\r\n", 400, "bad_request"},
           Case{"GET /echo\r\n\r\n", 400, "bad_request"},
           Case{"GET /echo HTTP/2.0\r\nHost: x\r\n\r\n", 505, "bad_version"},
           Case{"GET /echo HTTP/1.1\r\nHost x\r\n\r\n", 400, "bad_request"},
           Case{post + "Content-Length: x\r\n\r\n", 400, "bad_request"},
           Case{post + "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400, "bad_request"},
           Case{post + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "bad_request"},
           Case{"GET /" + std::string(1000, 'a') + " HTTP/1.1\r\nHost: x\r\n\r\n", 431, "header_too_large"},
           Case{"GET / HTTP/1.1\r\nHost: x\r\nA: " + std::string(1000, 'a'), 431, "header_too_large"},
           Case{post + "Content-Length: 1001\r\n\r\n", 413, "body_too_large"},
           Case{post + "Content-Length: 1001\r\n\r\n" + std::string(1001, 'a'), 413, "body_too_large"},
           Case{post + "Transfer-Encoding: chunked\r\n\r\n3e9\r\n" + std::string(1001, 'a') + "\r\n0\r\n\r\n", 413,
                "body_too_large"},
           Case{post + "Expect: miracle\r\nContent-Length: 1\r\n\r\n", 417, "bad_expectation"},
       }) {
    CAPTURE(each.request);
    HttpClient client = served.client();
    CHECK(client.ask(each.request) == each.status);
    CHECK(client.body.find(each.code) != std::string::npos);
    CHECK(client.field("Connection") == "close");
    CHECK(client.field("Content-Type") == "application/problem+json");
    CHECK(client.is_closed());
  }
  // What is wrong but whole leaves the connection as it is.
  HttpClient client = served.client();
  for (const char* request : {"GET /echo HTTP/1.1\r\n\r\n", "GET /echo HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
                              "GET echo HTTP/1.1\r\nHost: x\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"})
    CHECK(client.ask(request) == 400);
  CHECK(client.post("/echo", std::string(1000, 'a')) == 200);
}

TEST_CASE("http server: a client that asks first whether its body is wanted") {
  Served served;
  HttpClient client = served.client();
  client.send("POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  REQUIRE(client.receive());
  CHECK(client.status == 100);
  CHECK(client.ask("ab") == 200);
  CHECK(client.body == "POST /echo   ab");
}

TEST_CASE("http server: silence and slowness end a connection") {
  SUBCASE("before the first request, and between two") {
    Served served({.idle = 50 * kMillisecond});
    CHECK(served.client().is_closed());
    HttpClient client = served.client();
    CHECK(client.get("/echo") == 200);
    CHECK(client.is_closed());
    CHECK(becomes_true([&] { return served.server->connections() == 0; }));
  }
  SUBCASE("within a request, however it trickles in") {
    Served served({.request = 100 * kMillisecond});
    HttpClient header = served.client();
    header.send("GET /echo HT");
    CHECK(header.is_closed());
    HttpClient body = served.client();
    body.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n123");
    CHECK(body.is_closed());
    HttpClient trickle = served.client();
    const bool closed = becomes_true([&] {
      trickle.send("A");
      return served.server->connections() == 0;
    });
    CHECK(closed);
  }
  SUBCASE("in taking the response") {
    Served served({.body_bytes = 16 << 20, .send = 100 * kMillisecond});
    HttpClient client = served.client();
    const std::string large(16 << 20, 'a');  // more than the buffers of a loopback connection hold
    client.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(large.size()) + "\r\n\r\n" +
                large);
    CHECK(becomes_true([&] { return served.server->connections() == 0; }));
  }
  SUBCASE("after a refusal") {
    Served served({.linger = 50 * kMillisecond});
    HttpClient client = served.client();
    CHECK(client.ask("nonsense\r\n\r\n") == 400);
    CHECK(becomes_true([&] { return served.server->connections() == 0; }));
  }
}

TEST_CASE("http server: answers that come late, not at all, too late, or after the client has left") {
  Served served({.answer = 200 * kMillisecond});
  HttpClient client = served.client();
  const std::string later = "GET /later HTTP/1.1\r\nHost: x\r\n\r\n";
  client.send(later + kGet);
  CHECK(becomes_true([&] { return served.waiting() == 1; }));
  served.answer();
  REQUIRE(client.receive());
  CHECK(client.body == "late");
  REQUIRE(client.receive());  // the one behind it has waited
  CHECK(client.status == 200);

  client.send(later);
  CHECK(becomes_true([&] { return served.waiting() == 1; }));
  served.answer(true);
  REQUIRE(client.receive());
  CHECK(client.status == 503);
  CHECK(client.body.find("no_answer") != std::string::npos);

  CHECK(client.ask(later) == 503);
  CHECK(client.body.find("timeout") != std::string::npos);
  served.answer();  // is not taken for the answer to the next
  CHECK(client.get("/echo") == 200);
  CHECK(client.body == "GET /echo   ");

  {
    HttpClient leaving = served.client();
    leaving.send(later);
    CHECK(becomes_true([&] { return served.waiting() == 1; }));
  }
  served.answer();
  CHECK(client.get("/echo") == 200);
  CHECK(becomes_true([&] { return served.server->connections() == 1; }));

  // And after the server itself has ended.
  client.send(later);
  CHECK(becomes_true([&] { return served.waiting() == 1; }));
  served.server->stop();
  served.server->stop();
  served.server.reset();
  CHECK(client.is_closed());
  served.answer();
}

TEST_CASE("http server: on a UNIX socket, which is gone afterwards") {
  char folder[] = "/tmp/nbdgw-http-XXXXXX";
  REQUIRE(::mkdtemp(folder) != nullptr);
  const std::string path = std::string(folder) + "/http.sock";
  {
    Served served({}, path);
    CHECK(served.server->addresses() == std::vector{"unix://" + path});
    HttpClient client(path);
    CHECK(client.get("/echo") == 200);
    CHECK_THROWS_AS(Served({}, path), net::ListenError);
  }
  CHECK(::access(path.c_str(), F_OK) != 0);
  CHECK(::rmdir(folder) == 0);
}
