#include "gateway/admin/console_routes.hpp"

#include <map>
#include <optional>

#include <doctest/doctest.h>

#include "gateway/admin/assets.hpp"

using namespace nbdgw::admin;
using namespace nbdgw::http;

namespace {

Response ask(const std::string& path, const std::string& if_none_match = {}, const std::string& query = {}) {
  Router router;
  add_console_routes(router);
  std::optional<Response> answer;
  Request request;
  request.method = "GET";
  request.path = path;
  request.query = query;
  request.if_none_match = if_none_match;
  router.dispatch(std::move(request), Reply([&](Response response) { answer = std::move(response); }));
  REQUIRE(answer);
  return *answer;
}

std::map<std::string, std::string> fields(const Response& response) {
  return {response.fields.begin(), response.fields.end()};
}

}  // namespace

TEST_CASE("console: the page is in the program, whole, and says what it may do") {
  const Response response = ask("/");
  CHECK(response.status == 200);
  CHECK(response.content_type == "text/html; charset=utf-8");
  CHECK(response.body.starts_with("<!doctype html>"));
  CHECK(response.body.find("</html>") != std::string::npos);
  auto all = fields(response);
  CHECK(all["Content-Security-Policy"] == content_security_policy(response.body));
  CHECK(all["Content-Security-Policy"].find("unsafe") == std::string::npos);
  CHECK(all["Cache-Control"] == "no-cache");
  CHECK(all["Referrer-Policy"] == "no-referrer");
  // What would not run under that policy is not in the page.
  for (const char* element :
       {"<script src", "<link rel=\"stylesheet", " onclick=", " onload=", " style=\"", "<iframe", "<base"}) {
    CAPTURE(element);
    CHECK(response.body.find(element) == std::string::npos);
  }
}

TEST_CASE("console: the description of the API is in the program") {
  const Response response = ask("/openapi.yaml");
  CHECK(response.status == 200);
  CHECK(response.content_type == "application/yaml");
  CHECK(response.body == asset("openapi.yaml"));
  CHECK(response.body.find("openapi: 3.") != std::string::npos);
}

TEST_CASE("console: who has the page already need not get it again") {
  const std::string tag = fields(ask("/"))["ETag"];
  CHECK(tag.size() == 24);
  for (const std::string& has : {tag, "W/" + tag, "\"other\", " + tag, std::string("*")}) {
    const Response response = ask("/", has);
    CHECK(response.status == 304);
    CHECK(response.body.empty());
    CHECK(fields(response)["ETag"] == tag);
  }
  CHECK(ask("/", "\"other\"").status == 200);
}

TEST_CASE("console: no parameters are taken") {
  for (const char* path : {"/", "/openapi.yaml"}) {
    const Response response = ask(path, "*", "v=2");
    CHECK(response.status == 400);
    CHECK(response.content_type == "application/problem+json");
    CHECK(response.body.find("\"unknown_parameter\"") != std::string::npos);
  }
}

TEST_CASE("content security policy: the hash of each inline script and style, and nothing else") {
  const std::string of_nothing = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='";
  const std::string of_abc = "'sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0='";
  const std::string rest =
      "; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
  CHECK(content_security_policy("<p>") == "default-src 'none'; script-src 'none'; style-src 'none'" + rest);
  CHECK(content_security_policy("<style>abc</style><script></script>") ==
        "default-src 'none'; script-src " + of_nothing + "; style-src " + of_abc + rest);
  CHECK(content_security_policy("<script type=\"module\">abc</script><p><script></script>") ==
        "default-src 'none'; script-src " + of_abc + " " + of_nothing + "; style-src 'none'" + rest);
  CHECK(content_security_policy("<script>abc") == "default-src 'none'; script-src 'none'; style-src 'none'" + rest);
}

TEST_CASE("assets: what was not built in is not there") {
  CHECK(asset("console/index.html").size() > 100);
  CHECK(asset("index.html").empty());
  CHECK(asset("").empty());
}
