// Who may ask, and under which name.
#include <unistd.h>

#include <doctest/doctest.h>

#include "tests/unit/http/served.hpp"

using namespace nbdgw;
using namespace nbdgw::http;
using nbdgw::test::HttpClient;
using nbdgw::test::local_address;
using nbdgw::test::Served;

namespace {

HttpAddress guarded() {
  HttpAddress address = local_address();
  address.token = std::make_shared<const Token>("the-token");
  return address;
}

std::string get(const std::string& path, const std::string& fields) {
  return "GET " + path + " HTTP/1.1\r\nHost: x\r\n" + fields + "\r\n";
}

const std::string kRight = "Authorization: Bearer the-token\r\n";

}  // namespace

TEST_CASE("http access: the token is asked for, except where the route is open") {
  Served served({}, std::vector{guarded()});
  HttpClient client = served.client();
  CHECK(client.get("/echo") == 401);
  CHECK(client.field("WWW-Authenticate") == "Bearer realm=\"nbdgw\", Basic realm=\"nbdgw\"");
  CHECK(client.field("Content-Type") == "application/problem+json");
  CHECK(client.body.find("\"unauthorized\"") != std::string::npos);
  // Not whether there is something, and not what it would answer.
  CHECK(client.get("/none") == 401);
  CHECK(client.remove("/echo") == 401);
  CHECK(client.get("/open") == 200);
  CHECK(client.get("/open?x") == 200);
  CHECK(client.get("/open/") == 401);
  CHECK(client.get("/%6fpen") == 401);
  CHECK(client.ask(get("/echo", kRight)) == 200);
  CHECK(client.ask(get("/none", kRight)) == 404);
  CHECK(client.ask(get("/echo", "Authorization: Basic eDp0aGUtdG9rZW4=\r\n")) == 200);
  CHECK(client.ask(get("/echo", "Authorization: Bearer the-tokem\r\n")) == 401);
  CHECK(client.field("WWW-Authenticate").find("error=\"invalid_token\"") != std::string::npos);
  CHECK(client.ask(get("/echo", kRight + "Authorization: Bearer other\r\n")) == 401);
  // An absolute target is no way around, nor is one that is none.
  CHECK(client.ask(get("http://x/echo", "")) == 401);
  CHECK(client.ask(get("*", "")) == 401);
  client.send("HEAD /echo HTTP/1.1\r\nHost: x\r\n\r\n");
  REQUIRE(client.receive(false));
  CHECK(client.status == 401);
  CHECK(client.get("/open") == 200);  // the connection is still in step
  CHECK(served.counters().answers.at(401) == 10);
  const auto refused = [&](Intrusion why) { return served.counters().intrusions[static_cast<std::size_t>(why)]; };
  CHECK(refused(Intrusion::wrong_token) == 2);
  CHECK(refused(Intrusion::no_token) == 8);
}

TEST_CASE("http access: without the token no body is read and no handler called") {
  Served served({.body_bytes = 100, .linger = 50 * proto::kMillisecond}, std::vector{guarded()});
  const std::string post = "POST /echo HTTP/1.1\r\nHost: x\r\n";
  HttpClient announced = served.client();
  CHECK(announced.ask(post + "Content-Length: 50\r\n\r\n") == 401);  // the body has not come, and is not waited for
  CHECK(announced.field("Connection") == "close");
  CHECK(announced.is_closed());
  HttpClient expecting = served.client();
  CHECK(expecting.ask(post + "Expect: 100-continue\r\nContent-Length: 50\r\n\r\n") == 401);
  CHECK(expecting.is_closed());
  HttpClient large = served.client();
  CHECK(large.ask(post + "Content-Length: 101\r\n\r\n") == 401);
  CHECK(large.is_closed());
  HttpClient known = served.client();
  CHECK(known.ask(post + kRight + "Content-Length: 101\r\n\r\n") == 413);
  CHECK(known.is_closed());
  // What follows is not taken for a request, even if it looks like one.
  HttpClient smuggling = served.client();
  const std::string inner = get("/echo", kRight);
  CHECK(smuggling.ask(post + "Content-Length: " + std::to_string(inner.size()) + "\r\n\r\n" + inner) == 401);
  CHECK(smuggling.is_closed());
  HttpClient later = served.client();
  CHECK(later.get("/later") == 401);
  CHECK(served.waiting() == 0);
  CHECK(served.counters().answers.count(200) == 0);
}

TEST_CASE("http access: each address asks for what it was told to") {
  char folder[] = "/tmp/nbdgw-http-XXXXXX";
  REQUIRE(::mkdtemp(folder) != nullptr);
  const std::string path = std::string(folder) + "/http.sock";
  {
    Served served({}, std::vector{guarded(), local_address(), local_address(path)});
    CHECK(served.client(0).get("/echo") == 401);
    CHECK(served.client(1).get("/echo") == 200);
    HttpClient local(path);
    CHECK(local.get("/echo") == 200);
    CHECK(local.field("X-Peer").starts_with("unix"));
    const auto addresses = served.server->addresses();
    CHECK(addresses == std::vector{"http://127.0.0.1:" + std::to_string(served.server->port(0)),
                                   "http://127.0.0.1:" + std::to_string(served.server->port(1)), "unix://" + path});
  }
  CHECK(::rmdir(folder) == 0);
}

TEST_CASE("http access: an address that trusts this machine does not answer to names from elsewhere") {
  HttpAddress address = local_address();
  address.local_names_only = true;
  Served served({}, std::vector{address});
  HttpClient client = served.client();
  for (const char* host : {"127.0.0.1", "127.0.0.1:80", "localhost", "localhost:9810", "[::1]:9810", "10.1.2.3"}) {
    CAPTURE(host);
    CHECK(client.ask("GET /echo HTTP/1.1\r\nHost: " + std::string(host) + "\r\n\r\n") == 200);
  }
  for (const char* host : {"evil.example", "evil.example:9810", "127.0.0.1.evil.example", "localhost.evil.example",
                           "1.2.3", "[::1", "a:b:c"}) {
    CAPTURE(host);
    CHECK(client.ask("GET /echo HTTP/1.1\r\nHost: " + std::string(host) + "\r\n\r\n") == 421);
    CHECK(client.body.find("bad_host") != std::string::npos);
  }
  CHECK(client.ask("POST /echo HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 5\r\n\r\n") == 421);
  CHECK(client.is_closed());
  HttpClient old = served.client();
  CHECK(old.ask("GET /echo HTTP/1.0\r\n\r\n") == 200);
}
