#include "gateway/http/framing.hpp"

#include <boost/beast/core/string.hpp>
#include <boost/beast/http/field.hpp>
#include <string_view>

namespace nbdgw::http {

namespace http = boost::beast::http;

namespace {

constexpr std::string_view kChunked = "chunked";
constexpr std::string_view kWhitespace = " \t";

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(kWhitespace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kWhitespace) - begin + 1);
}

bool is_chunked(std::string_view coding) {
  return boost::beast::iequals({coding.data(), coding.size()}, {kChunked.data(), kChunked.size()});
}

/// Whether chunks are what comes last, once, and what is in them is coded in some other way.
bool is_coded_within(std::string_view codings) {
  const std::size_t last = codings.rfind(',');
  if (last == std::string_view::npos || !is_chunked(trimmed(codings.substr(last + 1)))) return false;
  std::string_view rest = codings.substr(0, last);
  for (;;) {
    const std::size_t comma = rest.find(',');
    const std::string_view coding = trimmed(rest.substr(0, comma));
    if (coding.empty() || is_chunked(coding)) return false;
    if (comma == std::string_view::npos) return true;
    rest = rest.substr(comma + 1);
  }
}

Response malformed(std::string_view detail) {
  return problem(400, "bad_request", detail);
}

}  // namespace

std::optional<Response> framing_problem(const http::request_header<>& header) {
  const auto lengths = header.count(http::field::content_length);
  const auto codings = header.count(http::field::transfer_encoding);
  if (codings == 0) {
    const auto length = header[http::field::content_length];
    // Beast also takes "5, 5", and as little as that may be read differently by somebody before us.
    if (lengths > 1 || length.find_first_not_of("0123456789") != length.npos)
      return malformed("Content-Length says once, as a decimal number, how long the body is");
    return std::nullopt;
  }
  if (header.version() < 11) return malformed("HTTP/1.0 has no Transfer-Encoding");
  if (lengths > 0) return malformed("a request has Content-Length or Transfer-Encoding, not both");
  if (codings > 1) return malformed("a request has one Transfer-Encoding field");
  const auto value = header[http::field::transfer_encoding];
  const std::string_view coding = trimmed({value.data(), value.size()});
  if (is_chunked(coding)) return std::nullopt;
  if (is_coded_within(coding))
    return problem(501, "unknown_transfer_coding", "chunked is the only Transfer-Encoding that is understood");
  // Where chunked does not come last nobody knows where the body ends, whatever the coding is.
  return malformed("the body has no certain end: Transfer-Encoding can only be chunked");
}

}  // namespace nbdgw::http
