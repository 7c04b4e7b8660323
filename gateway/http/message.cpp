#include "gateway/http/message.hpp"

#include <boost/beast/http/status.hpp>
#include <boost/json.hpp>

#include "gateway/http/json_text.hpp"
#include "proto/assert.hpp"

namespace nbdgw::http {

namespace {

Response with_body(unsigned status, std::string content_type, const boost::json::value& body) {
  return {.status = status, .content_type = std::move(content_type), .body = to_text(body) + "\n", .fields = {}};
}

}  // namespace

Response json_response(unsigned status, const boost::json::value& body) {
  return with_body(status, "application/json", body);
}

Response problem(unsigned status, std::string_view code, std::string_view detail, std::string_view field) {
  boost::json::object members;
  if (!field.empty()) members["field"] = field;
  return problem(status, code, detail, members);
}

Response problem(unsigned status, std::string_view code, std::string_view detail,
                 const boost::json::object& members) {
  const auto title = boost::beast::http::obsolete_reason(boost::beast::http::int_to_status(status));
  boost::json::object body{{"type", "about:blank"},
                           {"title", std::string_view(title.data(), title.size())},
                           {"status", status},
                           {"detail", detail},
                           {"code", code}};
  body.insert(members.begin(), members.end());
  return with_body(status, "application/problem+json", body);
}

Reply::~Reply() {
  if (sender_) send(problem(503, "no_answer", "whoever should have answered has ended or failed; see the log"));
}

void Reply::send(Response response) {
  NBDGW_ASSERT(sender_ != nullptr, "a request is answered once");
  std::exchange(sender_, nullptr)(std::move(response));
}

}  // namespace nbdgw::http
