#pragma once

#include <boost/beast/http/fields.hpp>
#include <boost/beast/http/message.hpp>
#include <optional>

#include "gateway/http/message.hpp"

namespace nbdgw::http {

/// What is wrong with how a request says where its body ends, once Beast has accepted its header; nothing: it says so
/// once and in one way. Beast takes a transfer coding that it does not know for no body at all, and the body for the
/// next request. After such an answer the connection must be closed (RFC 9112 sections 6.1 and 6.3).
std::optional<Response> framing_problem(const boost::beast::http::request_header<>& header);

}  // namespace nbdgw::http
