#pragma once

#include <string>
#include <string_view>

#include "gateway/http/router.hpp"

namespace nbdgw::admin {

/// The Content-Security-Policy under which a page runs its own inline scripts and styles, each by its hash, and
/// nothing else; it may talk to the server that it came from.
std::string content_security_policy(std::string_view page);

/// "/": the console, a page that needs nothing but the API. "/openapi.yaml": what the API is. Both are in the
/// program.
void add_console_routes(http::Router& router);

}  // namespace nbdgw::admin
