#pragma once

#include <boost/json/fwd.hpp>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// What handlers see of HTTP: a whole request, and a response that may come later and from another thread.
namespace nbdgw::http {

struct Request {
  std::string method;         // "GET"
  std::string path;           // as it came, without the query
  std::string query;          // what follows the "?", as it came
  std::string content_type;   // as it came
  std::string if_none_match;  // as it came
  std::string peer;           // who asks, for the log: "192.0.2.1:4711", with TLS also the certificate's subject
  std::string body;
  std::vector<std::string> parameters;  // what stands for the {names} of the route's pattern, in their order
};

/// A text in pieces, each of which others may hold, too. Nobody changes them.
using SharedText = std::vector<std::shared_ptr<const std::string>>;

struct Response {
  unsigned status = 200;
  std::string content_type;  // empty: without a body
  std::string body;
  std::vector<std::pair<std::string, std::string>> fields;  // beside those that every response has
  SharedText shared{};                                      // what of the body comes behind `body`
};

Response json_response(unsigned status, const boost::json::value& body);

/// A problem document (RFC 9457). `code` is stable: programs may go by it. The title is the status's own name.
/// `field`: the member of the request that it is about, if there is one.
Response problem(unsigned status, std::string_view code, std::string_view detail, std::string_view field = {});
/// The same, with members of its own (RFC 9457 section 3.2).
Response problem(unsigned status, std::string_view code, std::string_view detail, const boost::json::object& members);

/// The obligation to answer one request, once, from any thread. One that is destroyed before that, because whoever
/// had it ended or failed, answers 503 itself.
class Reply {
 public:
  using Sender = std::function<void(Response)>;

  explicit Reply(Sender sender) noexcept : sender_(std::move(sender)) {}
  Reply(Reply&& other) noexcept : sender_(std::exchange(other.sender_, nullptr)) {}
  Reply& operator=(Reply&&) = delete;
  ~Reply();

  void send(Response response);

 private:
  Sender sender_;
};

}  // namespace nbdgw::http
