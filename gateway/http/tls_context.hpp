#pragma once

#include <memory>
#include <stdexcept>

#include "config/model.hpp"

namespace boost::asio::ssl {
class context;
}

namespace nbdgw::http {

/// Why TLS cannot be offered: names the key of the configuration. For people.
class TlsError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// What the https addresses offer: TLS 1.2 and newer, and with `client_ca` only for clients that show a certificate
/// which it has signed. Throws TlsError.
std::shared_ptr<boost::asio::ssl::context> make_tls_context(const config::AdminTls& tls);

}  // namespace nbdgw::http
