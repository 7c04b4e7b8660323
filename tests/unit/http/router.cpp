#include "gateway/http/router.hpp"

#include <boost/json.hpp>
#include <optional>

#include <doctest/doctest.h>

using namespace nbdgw::http;

namespace {

struct Routed {
  Routed() {
    const auto add = [this](const char* method, const char* pattern) {
      router.add(method, pattern,
                 [this, name = std::string(method) + " " + pattern](const Request& request, Reply reply) {
                   std::string said = name;
                   for (const auto& each : request.parameters) said += " " + each;
                   reply.send({.status = 200, .content_type = "text/plain", .body = said, .fields = {}});
                 });
    };
    add("GET", "/");
    add("GET", "/v1/faults");
    add("POST", "/v1/faults");
    add("DELETE", "/v1/faults/{id}");
    add("GET", "/v1/exports/{name}/clients/{number}");
    router.add("GET", "/silent", [](const Request&, Reply) {});
  }
  Response ask(const std::string& method, const std::string& path) {
    std::optional<Response> answer;
    Request request;
    request.method = method;
    request.path = path;
    router.dispatch(std::move(request), Reply([&](Response response) { answer = std::move(response); }));
    REQUIRE(answer);
    return *answer;
  }
  Router router;
};

}  // namespace

TEST_CASE("router: method and path find their handler, with what stands for the parameters") {
  Routed routed;
  CHECK(routed.ask("GET", "/").body == "GET /");
  CHECK(routed.ask("GET", "/v1/faults").body == "GET /v1/faults");
  CHECK(routed.ask("HEAD", "/v1/faults").body == "GET /v1/faults");
  CHECK(routed.ask("POST", "/v1/faults").body == "POST /v1/faults");
  CHECK(routed.ask("DELETE", "/v1/faults/17").body == "DELETE /v1/faults/{id} 17");
  CHECK(routed.ask("GET", "/v1/exports/a%2Fb%20c/clients/2").body ==
        "GET /v1/exports/{name}/clients/{number} a/b c 2");
}

TEST_CASE("router: nothing there, nothing that answers this method, a broken path, a handler that forgets") {
  Routed routed;
  for (const char* path : {"/v1", "/v1/faults/", "/v1/faults/1/2", "//v1/faults", "/V1/faults", "/v1%2Ffaults"}) {
    CAPTURE(path);
    const Response response = routed.ask("GET", path);
    CHECK(response.status == 404);
    CHECK(response.content_type == "application/problem+json");
  }
  const Response response = routed.ask("PUT", "/v1/faults");
  CHECK(response.status == 405);
  REQUIRE(response.fields.size() == 1);
  CHECK(response.fields[0] == std::pair<std::string, std::string>("Allow", "GET, HEAD, POST"));
  CHECK(routed.ask("GET", "/v1/faults/1").fields[0].second == "DELETE");
  for (const char* path : {"/v1/%", "/v1/%4", "/v1/%zz", "/v1/%-1"}) CHECK(routed.ask("GET", path).status == 400);
  CHECK(routed.ask("GET", "/silent").status == 503);
}

TEST_CASE("router: which paths are open to everybody") {
  Routed routed;
  routed.router.add(
      "GET", "/livez", [](const Request&, Reply) {}, Access::open);
  CHECK(routed.router.is_open("/livez"));
  for (const char* path :
       {"", "/", "/livez/", "/livez/x", "//livez", "/%6civez", "/LIVEZ", "livez", "/v1/faults", "/none"})
    CHECK_FALSE(routed.router.is_open(path));
}

TEST_CASE("router: what the target of a request may look like") {
  struct Case {
    const char* target;
    bool good;
    const char* path;
    const char* query;
  };
  for (const Case& each :
       {Case{"/", true, "/", ""}, Case{"/a/b?c=d&e", true, "/a/b", "c=d&e"}, Case{"/a?", true, "/a", ""},
        Case{"/a?b?c", true, "/a", "b?c"}, Case{"http://host:1/a?b", true, "/a", "b"}, Case{"*", false, "", ""},
        Case{"", false, "", ""}, Case{"a", false, "", ""}, Case{"host:1", false, "", ""}, Case{"/a#b", false, "", ""},
        Case{"http://host", false, "", ""}, Case{"https://host/a", false, "", ""}}) {
    CAPTURE(each.target);
    std::string path, query;
    CHECK(split_target(each.target, path, query) == each.good);
    if (!each.good) continue;
    CHECK(path == each.path);
    CHECK(query == each.query);
  }
}

TEST_CASE("problem documents have what RFC 9457 wants, and a code") {
  const Response response = problem(413, "too_much", "more than \"this\"", "size");
  CHECK(response.status == 413);
  CHECK(response.content_type == "application/problem+json");
  const auto body = boost::json::parse(response.body).as_object();
  CHECK(body.at("type") == "about:blank");
  CHECK(body.at("title") == "Payload Too Large");
  CHECK(body.at("status") == 413);
  CHECK(body.at("detail") == "more than \"this\"");
  CHECK(body.at("code") == "too_much");
  CHECK(body.at("field") == "size");
}
