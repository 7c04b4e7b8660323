#pragma once

#include <boost/json/value.hpp>
#include <stdexcept>
#include <string>

#include "config/model.hpp"
#include "proto/time.hpp"

namespace nbdgw::app {

/// How `nbdgw ctl` gets to the admin server.
struct CtlConnection {
  config::AdminEndpoint address;
  std::string token;             // empty: none is shown
  std::string ca_file;           // https: who may have signed the server's certificate; empty: whom the system trusts
  std::string certificate_file;  // https: our own, if the server demands one
  std::string key_file;
  proto::Micros timeout = 30 * proto::kSecond;  // for one question with its answer
};

/// Why there is no answer; for people.
class CtlError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct CtlAnswer {
  unsigned status = 0;
  boost::json::value body;  // null: there was none
};

/// A client of the admin API: one connection for each question. Throws CtlError where there is no answer, or one that
/// is no JSON.
class CtlClient {
 public:
  explicit CtlClient(CtlConnection connection) : connection_(std::move(connection)) {}

  CtlAnswer get(const std::string& path) const { return ask("GET", path, {}); }
  CtlAnswer post(const std::string& path, const boost::json::value& body) const;

 private:
  CtlAnswer ask(const std::string& method, const std::string& path, const std::string& body) const;

  CtlConnection connection_;
};

/// A name as one segment of a path (RFC 3986 section 2.1).
std::string percent_encode(const std::string& name);

}  // namespace nbdgw::app
