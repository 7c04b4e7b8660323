#include "proto/nbd/meta_context.hpp"

#include "proto/nbd/constants.hpp"

#include <string>
#include <vector>

#include <doctest/doctest.h>

using namespace nbdgw::proto::nbd;

namespace {

const char* parse(const std::string& data, MetaContextRequest& request) {
  // A copy of exactly this size, so that a sanitizer sees a read beyond it.
  static std::vector<std::uint8_t> exact;
  exact.assign(data.begin(), data.end());
  exact.shrink_to_fit();
  return parse_meta_context_request(exact, request);
}

std::string request_for(const std::vector<std::string>& queries) {
  return meta_context_request("vol0", queries);
}

}  // namespace

TEST_CASE("nbd meta context: queries of our namespace are understood, others left alone") {
  MetaContextRequest request;
  REQUIRE(parse(request_for({"base:allocation", "x-nbdgw:identity", "x-nbdgw:resume=0af_-Z", "qemu:"}), request) ==
          nullptr);
  CHECK(request.export_name == "vol0");
  CHECK(request.identity);
  CHECK(request.token == "0af_-Z");
  CHECK(request.resumes);
  REQUIRE(parse(request_for({"x-nbdgw:client=0af"}), request) == nullptr);
  CHECK(request.token == "0af");
  CHECK_FALSE(request.resumes);

  REQUIRE(parse(request_for({"x-nbdgw:"}), request) == nullptr);
  CHECK(request.identity);
  CHECK(request.token.empty());
  for (const std::vector<std::string>& others :
       {std::vector<std::string>{}, {"base:"}, {"x-nbdgw"}, {"x-nbdgw:identit"}, {"x-nbdgw:identity2"}, {""}}) {
    REQUIRE(parse(request_for(others), request) == nullptr);
    CHECK(!request.ours());
  }
}

TEST_CASE("nbd meta context: the bytes of a request") {
  const std::string bytes = meta_context_request("v", std::vector<std::string>{"ab"});
  CHECK(bytes == std::string("\0\0\0\1v\0\0\0\1\0\0\0\2ab", 15));
}

TEST_CASE("nbd meta context: every truncation, every wrong length and every odd token is refused") {
  MetaContextRequest request;
  const std::string data = request_for({"x-nbdgw:identity", "x-nbdgw:resume=aa"});
  for (std::size_t length = 0; length < data.size(); ++length) {
    CAPTURE(length);
    CHECK(parse(data.substr(0, length), request) != nullptr);
  }
  CHECK(parse(data + '\0', request) != nullptr);
  CHECK(parse(std::string("\xff\xff\xff\xff", 4), request) != nullptr);
  CHECK(parse(std::string("\0\0\0\0\xff\xff\xff\xff", 8), request) != nullptr);
  CHECK(parse(std::string("\0\0\0\0\0\0\0\1\xff\xff\xff\xff", 12), request) != nullptr);
  CHECK(parse(std::string("\0\0\0\1\0\0\0\0\0", 9), request) != nullptr);  // a name with a NUL
  for (const std::string& token : {std::string(), std::string("a b"), std::string("a\0b", 3), std::string("\n"),
                                   std::string(kMaxClientToken + 1, 'a')})
    CHECK(parse(request_for({"x-nbdgw:resume=" + token}), request) != nullptr);
  CHECK(parse(request_for({"x-nbdgw:resume=" + std::string(kMaxClientToken, 'a')}), request) == nullptr);
  CHECK(parse(request_for({std::string(kMaxString, 'q')}), request) == nullptr);
  CHECK(parse(request_for({std::string(kMaxString + 1, 'q')}), request) != nullptr);
}
