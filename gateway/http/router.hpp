#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/http/message.hpp"

namespace nbdgw::http {

/// Who may ask for a route where the server demands a token.
enum class Access : std::uint8_t {
  guarded,  // who knows the token
  open,     // everybody
};

/// Which handler a request goes to, by method and path. Filled before the server starts.
class Router {
 public:
  /// Called on the server's thread, which must not wait: an answer that takes time is sent later.
  using Handler = std::function<void(const Request& request, Reply reply)>;

  /// `pattern`: "/v1/faults/{id}"; a {name} stands for one segment that is not empty. GET answers HEAD, too.
  void add(std::string method, std::string_view pattern, Handler handler, Access access = Access::guarded);

  /// Whether everybody may ask for this path, which stands in no pattern with parameters.
  bool is_open(std::string_view path) const;

  /// Hands the request to its handler, or answers 404 or 405.
  void dispatch(Request request, Reply reply) const;

 private:
  struct Route {
    std::string method;
    std::vector<std::string> segments;
    Handler handler;
    Access access;
  };

  std::vector<Route> routes_;
};

/// Undoes percent-encoding (RFC 3986 section 2.1); nothing: it is broken.
std::optional<std::string> decode_percent(std::string_view text);

/// Takes a request's target apart (RFC 9112 section 3.2: origin form or absolute form) into path and query. False: it
/// is none. The path stays encoded.
bool split_target(std::string_view target, std::string& path, std::string& query);

}  // namespace nbdgw::http
