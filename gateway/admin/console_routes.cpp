#include "gateway/admin/console_routes.hpp"

#include <openssl/evp.h>

#include <array>

#include "gateway/admin/assets.hpp"
#include "gateway/http/request_fields.hpp"
#include "proto/assert.hpp"

namespace nbdgw::admin {

namespace {

std::array<unsigned char, 32> sha256(std::string_view text) {
  std::array<unsigned char, 32> digest{};
  NBDGW_ASSERT(::EVP_Digest(text.data(), text.size(), digest.data(), nullptr, ::EVP_sha256(), nullptr) == 1,
               "SHA-256 is there");
  return digest;
}

std::string base64(const std::array<unsigned char, 32>& bytes) {
  std::array<unsigned char, 48> text{};  // 44 and the end of the string
  const int length = ::EVP_EncodeBlock(text.data(), bytes.data(), static_cast<int>(bytes.size()));
  return {reinterpret_cast<const char*>(text.data()), static_cast<std::size_t>(length)};
}

/// The sources that allow each inline element of this kind, " 'sha256-...'" for each; " 'none'" if there is none.
std::string hashes(std::string_view page, const std::string& element) {
  std::string sources;
  std::size_t at = 0;
  while ((at = page.find("<" + element, at)) != std::string_view::npos) {
    const std::size_t begin = page.find('>', at);
    const std::size_t end = page.find("</" + element + ">", at);
    if (begin == std::string_view::npos || end == std::string_view::npos || begin > end) break;
    sources += " 'sha256-" + base64(sha256(page.substr(begin + 1, end - begin - 1))) + "'";
    at = end;
  }
  return sources.empty() ? " 'none'" : sources;
}

/// What a browser already has it need not get again; but it asks each time, for the program may be a newer one.
void add_asset(http::Router& router, const char* path, std::string_view content, http::Response prototype) {
  NBDGW_ASSERT(!content.empty(), "the file was built in");
  const std::string tag = "\"" + base64(sha256(content)).substr(0, 22) + "\"";
  prototype.fields.emplace_back("ETag", tag);
  prototype.fields.emplace_back("Cache-Control", "no-cache");
  router.add("GET", path, [content, tag, prototype](const http::Request& request, http::Reply reply) {
    if (http::has_query(request, reply)) return;
    http::Response response = prototype;
    if (request.if_none_match.find(tag) != std::string::npos || request.if_none_match == "*") {
      response.status = 304;
      response.content_type.clear();
    } else {
      response.body = content;
    }
    reply.send(std::move(response));
  });
}

}  // namespace

std::string content_security_policy(std::string_view page) {
  return "default-src 'none'; script-src" + hashes(page, "script") + "; style-src" + hashes(page, "style") +
         "; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
}

void add_console_routes(http::Router& router) {
  const std::string_view page = asset("console/index.html");
  add_asset(router, "/", page,
            {.status = 200,
             .content_type = "text/html; charset=utf-8",
             .body = {},
             .fields = {{"Content-Security-Policy", content_security_policy(page)},
                        {"Referrer-Policy", "no-referrer"},
                        {"Cross-Origin-Opener-Policy", "same-origin"},
                        {"Cross-Origin-Resource-Policy", "same-origin"}}});
  add_asset(router, "/openapi.yaml", asset("openapi.yaml"),
            {.status = 200, .content_type = "application/yaml", .body = {}, .fields = {}});
}

}  // namespace nbdgw::admin
