#include "gateway/admin/admin_server.hpp"

#include "config/address.hpp"
#include "gateway/admin/console_routes.hpp"
#include "gateway/admin/tls_context.hpp"
#include "gateway/net/gateway.hpp"

namespace nbdgw::admin {

namespace {

/// What is asked for at each address. Nobody but root and the socket's group gets to a UNIX socket: no token there.
std::vector<HttpAddress> http_addresses(const config::Config& config) {
  const auto tls = config.admin.tls ? make_tls_context(*config.admin.tls) : nullptr;
  const auto token = config.admin.token.empty() ? nullptr : std::make_shared<const Token>(config.admin.token);
  std::vector<HttpAddress> addresses;
  for (const config::AdminEndpoint& each : config.listen.admin) {
    HttpAddress& address = addresses.emplace_back();
    address.endpoint = each.endpoint;
    if (each.endpoint.kind == config::Endpoint::Kind::unix_socket) continue;
    if (each.tls) address.tls = tls;
    address.token = token;
    address.local_names_only = !each.tls && !token;
  }
  return addresses;
}

}  // namespace

AdminServer::AdminServer(const config::Config& config, net::Gateway& gateway, ApiSetup setup, HttpLimits limits)
    : listeners_(config.listen.nbd.size()),
      gateway_(gateway),
      http_(http_addresses(config), router_,
            net::ListenerSettings{.address = "listen.admin", .limit = "of the admin server"}, limits),
      setup_(std::move(setup)) {
  if (!setup_.config) setup_.config = [config] { return config; };
}

AdminServer::~AdminServer() {
  stop();
}

void AdminServer::start() {
  probes_.emplace(probe_source(gateway_, listeners_), http_.postbox());
  add_probe_routes(router_, *probes_);
  api_.emplace(
      gateway_, http_, [this](const net::GatewayView& view) { return probes_->is_ready(view); }, std::move(setup_));
  api_->add_routes(router_);
  add_console_routes(router_);
  http_.start();
}

void AdminServer::begin_end() noexcept {
  if (probes_) probes_->begin_end();
}

void AdminServer::stop() {
  http_.stop();
}

}  // namespace nbdgw::admin
