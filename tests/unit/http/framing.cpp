#include <map>
#include <memory>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "tests/unit/http/http_client.hpp"
#include "tests/unit/http/served.hpp"

using namespace nbdgw;
using namespace nbdgw::http;
using nbdgw::test::HttpClient;
using nbdgw::test::local_address;
using nbdgw::test::Served;

/// Where a request's body ends must be beyond doubt, or what is a body to whoever passed it on is a request to us
/// (RFC 9112 sections 6.3 and 11.2).
namespace {

/// What must not be taken for a request of its own.
const std::string kSmuggled = "GET /echo?smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
const std::string kChunks = "2\r\nab\r\n0\r\n\r\n";

std::string post(const std::string& fields, const std::string& body, const std::string& version = "1.1") {
  return "POST /echo HTTP/" + version + "\r\nHost: x\r\n" + fields + "\r\n" + body;
}

/// Refused with one answer, before any handler has seen it or what follows, and the connection ends.
void check_refused(Served& served, const std::string& request, int status, const std::string& code) {
  CAPTURE(request);
  const auto before = served.counters().answers;
  HttpClient client = served.client();
  CHECK(client.ask(request + kSmuggled) == status);
  CHECK(client.body.find("\"code\":\"" + code + "\"") != std::string::npos);
  CHECK(client.field("Content-Type") == "application/problem+json");
  CHECK((client.field("Connection") == "close" || client.head.starts_with("HTTP/1.0 ")));
  CHECK(client.is_closed());
  auto expected = before;
  ++expected[static_cast<unsigned>(status)];
  CHECK(served.counters().answers == expected);
}

void check_accepted(Served& served, const std::string& request) {
  CAPTURE(request);
  HttpClient client = served.client();
  CHECK(client.ask(request + kSmuggled) == 200);
  CHECK(client.body == "POST /echo   ab");
  CHECK(client.receive());  // a request like any other here
  CHECK(client.body == "GET /echo smuggled  ");
}

}  // namespace

TEST_CASE("http framing: a body is chunked in exactly one way") {
  Served served;
  for (const char* spelling :
       {"chunked", "Chunked", "CHUNKED", "  chunked", "\tchunked", "chunked \t", "\r\n chunked"})
    check_accepted(served, post("Transfer-Encoding:" + std::string(spelling) + "\r\n", kChunks));
  check_accepted(served, post("transfer-encoding: chunked\r\n", kChunks));

  // The body's end is not told, or in more than one way: RFC 9112 section 6.3 wants 400 where chunked is not last.
  for (const char* value : {"xchunked",
                            "chunkedx",
                            "chunke",
                            "identity",
                            "gzip",
                            "chunked, identity",
                            "chunked, gzip",
                            "chunked, chunked",
                            "chunked, gzip, chunked",
                            "gzip, chunked, chunked",
                            "Chunked,gzip , CHUNKED",
                            "",
                            " \t",
                            "\"chunked\"",
                            "'chunked'",
                            "chunked;param",
                            "chunked;param=1",
                            "chunked ; param",
                            "gzip, chunked;param",
                            "chunked,",
                            ",chunked",
                            ", chunked",
                            ",",
                            "gzip,,",
                            "chunked chunked",
                            "gzip chunked",
                            "chunked\x0b",
                            "\x0b"
                            "chunked",
                            "chunked\xa0",
                            "chunked\rx",
                            "chunked\nx",
                            "chunked,\r\n identity",
                            "x\r\n chunked",
                            "chunked\r\n x"})
    check_refused(served, post("Transfer-Encoding: " + std::string(value) + "\r\n", kChunks), 400, "bad_request");
  check_refused(served, post("Transfer-Encoding: chunked" + std::string(1, '\0') + "\r\n", kChunks), 400,
                "bad_request");
  check_refused(served, post("Transfer-Encoding : chunked\r\n", kChunks), 400, "bad_request");
  check_refused(served, post("Transfer-Encoding\t: chunked\r\n", kChunks), 400, "bad_request");

  // The chunks could be read, but not what is in them.
  for (const char* value : {"gzip, chunked", "gzip,chunked", "identity, Chunked", "deflate, gzip\t,\tchunked",
                            "xchunked, chunked", "gzip;level=9, chunked"})
    check_refused(served, post("Transfer-Encoding: " + std::string(value) + "\r\n", kChunks), 501,
                  "unknown_transfer_coding");
}

TEST_CASE("http framing: a body's end is told once") {
  Served served;
  const std::vector<std::string> codings{"chunked", "xchunked", "identity", "gzip, chunked", ""};
  for (const std::string& one : codings) {
    const std::string coding = "Transfer-Encoding: " + one + "\r\n";
    for (const std::string& other : codings)
      check_refused(served, post(coding + "Transfer-Encoding: " + other + "\r\n", kChunks), 400, "bad_request");
    for (const char* length : {"0", "2", "12"}) {
      const std::string fields = "Content-Length: " + std::string(length) + "\r\n";
      check_refused(served, post(coding + fields, kChunks), 400, "bad_request");
      check_refused(served, post(fields + coding, kChunks), 400, "bad_request");
    }
    // HTTP/1.0 has no transfer codings (RFC 9112 section 6.1), whatever else it says.
    check_refused(served, post(coding, kChunks, "1.0"), 400, "bad_request");
    check_refused(served, post(coding + "Connection: keep-alive\r\n", kChunks, "1.0"), 400, "bad_request");
  }
  // One that is too large besides.
  check_refused(served, post("Content-Length: 1000000\r\nTransfer-Encoding: xchunked\r\n", kChunks), 400,
                "bad_request");
  // One in which somebody asks first.
  check_refused(served, post("Expect: 100-continue\r\nTransfer-Encoding: xchunked\r\n", kChunks), 400, "bad_request");
}

TEST_CASE("http framing: a length is one decimal number") {
  Served served;
  for (const char* spelling : {"2", " 2", "\t2 \t", "002", "\r\n 2"})
    check_accepted(served, post("Content-Length:" + std::string(spelling) + "\r\n", "ab"));
  for (const char* value : {"",
                            " ",
                            "+2",
                            "-2",
                            "-0",
                            "2,2",
                            "2, 2",
                            "2,3",
                            "2,",
                            ",2",
                            "2 2",
                            "1\r\n 0",
                            "2\r\n x",
                            "0x2",
                            "2.0",
                            "2e0",
                            "2;q=1",
                            "\"2\"",
                            "two",
                            "2\x0b",
                            "18446744073709551616",
                            "18446744073709551618",
                            "99999999999999999999999999"})
    check_refused(served, post("Content-Length: " + std::string(value) + "\r\n", "ab"), 400, "bad_request");
  check_refused(served, post("Content-Length : 2\r\n", "ab"), 400, "bad_request");
  check_refused(served, post("Content-Length: 2\r\nContent-Length: 2\r\n", "ab"), 400, "bad_request");
  check_refused(served, post("Content-Length: 2\r\nContent-Length: 3\r\n", "ab"), 400, "bad_request");
  check_refused(served, post("Content-Length: 0\r\nContent-Length: 2\r\n", "ab"), 400, "bad_request");
  check_refused(served, post("Content-Length: 2\r\nX: y\r\ncontent-length: 2\r\n", "ab", "1.0"), 400, "bad_request");
  for (const char* value : {"65537", "4294967298", "9223372036854775810", "18446744073709551615"})
    check_refused(served, post("Content-Length: " + std::string(value) + "\r\n", "ab"), 413, "body_too_large");
}

TEST_CASE("http framing: chunks are what they say") {
  Served served;
  const auto chunks = [](const std::string& body) { return post("Transfer-Encoding: chunked\r\n", body); };
  for (const char* body : {"2\r\nab\r\n0\r\n\r\n", "1\r\na\r\n1\r\nb\r\n0\r\n\r\n", "02\r\nab\r\n00\r\n\r\n",
                           "2;x=y\r\nab\r\n0;z\r\n\r\n", "2\r\nab\r\n0\r\nX-Sum: 1\r\n\r\n"})
    check_accepted(served, chunks(body));
  for (const char* body :
       {"zz\r\nab\r\n0\r\n\r\n", "\r\nab\r\n0\r\n\r\n", "-2\r\nab\r\n0\r\n\r\n", "+2\r\nab\r\n0\r\n\r\n",
        "0x2\r\nab\r\n0\r\n\r\n", " 2\r\nab\r\n0\r\n\r\n", "1\r\nab\r\n0\r\n\r\n", "3\r\nab\r\n0\r\n\r\n",
        "2\r\nab0\r\n\r\n", "2\r\nab\r\n0x\r\n\r\n", "10000000000000002\r\nab\r\n0\r\n\r\n",
        // Fields behind the body that would say again where it ends.
        "2\r\nab\r\n0\r\nContent-Length: 2\r\n\r\n", "2\r\nab\r\n0\r\nTransfer-Encoding: gzip\r\n\r\n"})
    check_refused(served, chunks(body), 400, "bad_request");
  check_refused(served, chunks("ffffffffffffffff\r\nab\r\n0\r\n\r\n"), 413, "body_too_large");
}

TEST_CASE("http framing: who may not ask gets no second request in, either") {
  HttpAddress local = local_address(), guarded = local_address();
  local.local_names_only = true;
  guarded.token = std::make_shared<const Token>("0123456789abcdef0123456789abcdef");
  Served served({}, {local, guarded});
  for (const std::size_t door : {0U, 1U}) {
    HttpClient client = served.client(door);
    CHECK(client.ask("POST /echo HTTP/1.1\r\nHost: evil.example\r\nTransfer-Encoding: xchunked\r\n\r\n" +
                     kSmuggled) == 400);
    CHECK(client.is_closed());
  }
  CHECK(served.counters().answers == std::map<unsigned, std::uint64_t>{{400, 2}});
}
