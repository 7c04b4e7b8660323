#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>

#include "config/model.hpp"
#include "gateway/attach/negotiation.hpp"
#include "gateway/net/unique_fd.hpp"
#include "proto/time.hpp"

namespace nbdgw::attach {

/// Whom to ask for what.
struct Call {
  config::Endpoint address;  // tcp or unix_socket
  std::string export_name;
  std::string token;
  Negotiation::Purpose purpose = Negotiation::Purpose::go;
  proto::Micros connect_limit = 0;    // for the connection
  proto::Micros handshake_limit = 0;  // for the handshake
};

/// What came of it.
struct CallResult {
  Offer offer;
  net::UniqueFd socket;  // connected, ready for the transmission (`go`)
  std::string trouble;   // why there is none, for people; empty: there is one
  bool refused = false;  // the server was there, and says no
};

/// Connects and negotiates. Can be cancelled. `call` stays until then: where a coroutine has temporaries of its own
/// while it waits, g++ 12 destroys them twice.
boost::asio::awaitable<CallResult> dial(const Call& call);

}  // namespace nbdgw::attach
