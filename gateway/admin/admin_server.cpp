#include "gateway/admin/admin_server.hpp"

#include "config/address.hpp"
#include "gateway/admin/console_routes.hpp"
#include "gateway/control/gateway.hpp"
#include "gateway/http/tls_context.hpp"
#include "gateway/net/clock.hpp"
#include "gateway/net/inherited_sockets.hpp"
#include "gateway/net/log.hpp"
#include "gateway/shard/event_log.hpp"

namespace nbdgw::admin {

namespace {

/// Whoever gets to an address off this machine must be asked who he is. For addresses in the configuration its parser
/// has seen to that. Throws net::ListenError.
void check_access(const config::Config& config, const config::AdminEndpoint& named, const config::Endpoint& bound) {
  const bool certificate = named.tls && config.admin.tls && config.admin.tls->client_ca;
  if (config::is_local(bound) || certificate || !config.admin.token.empty()) return;
  throw net::ListenError(to_string(named) + " is " + to_string(bound) +
                         ": whoever gets there could stop every export; give admin.token_file, or https+" +
                         to_string(named.endpoint) + " and admin.tls.client_ca_file, or have its unit listen on " +
                         "127.0.0.1 or a UNIX socket");
}

std::shared_ptr<boost::asio::ssl::context> tls_of(const config::Admin& settings) {
  return settings.tls ? http::make_tls_context(*settings.tls) : nullptr;
}

std::shared_ptr<const http::Token> token_of(const config::Admin& settings) {
  return settings.token.empty() ? nullptr : std::make_shared<const http::Token>(settings.token);
}

/// What is asked for at each address. Nobody but root and the socket's group gets to a UNIX socket: no token there.
std::vector<http::HttpAddress> http_addresses(const config::Config& config, net::InheritedSockets* inherited) {
  const auto tls = tls_of(config.admin);
  const auto token = token_of(config.admin);
  std::vector<http::HttpAddress> addresses;
  net::InheritedSockets none;
  for (const config::AdminEndpoint& each : config.listen.admin) {
    for (net::ListeningPlace& place : (inherited != nullptr ? *inherited : none).places(each.endpoint)) {
      http::HttpAddress& address = addresses.emplace_back();
      address.endpoint = place.endpoint;
      if (place.inherited) {
        check_access(config, each, place.endpoint);
        address.inherited = std::make_shared<net::UniqueFd>(std::move(place.inherited));
      }
      if (place.endpoint.kind == config::Endpoint::Kind::unix_socket) continue;
      if (each.tls) address.tls = tls;
      address.token = token;
      address.local_names_only = !each.tls && !token;
    }
  }
  return addresses;
}

/// Of a configuration that was loaded just now and stays.
std::function<control::ReloadCounts()> never_reloaded() {
  return [counts = control::ReloadCounts{.loaded_at = net::wall_now()}] { return counts; };
}

/// Those that the server has for an answer: each is shown from the start, be it with 0.
constexpr unsigned kStatuses[] = {200, 201, 202, 204, 304, 400, 401, 404, 405, 409,
                                  413, 415, 417, 421, 422, 431, 500, 503, 505};

}  // namespace

AdminServer::AdminServer(const config::Config& config, control::Gateway& gateway, ApiSetup setup,
                         http::HttpLimits limits, net::InheritedSockets* inherited)
    : gateway_(gateway),
      doors_(gateway.events()),
      http_(http_addresses(config, inherited), router_,
            net::ListenerSettings{.address = "listen.admin", .limit = "of the admin server", .observer = &doors_},
            limits),
      reloads_(setup.reloads ? std::move(setup.reloads) : never_reloaded()),
      setup_(std::move(setup)),
      desk_([&gateway](bool clients, auto done) { gateway.view({.clients = clients}, std::move(done)); },
            http_.postbox()) {
  if (!setup_.config) setup_.config = [config] { return config; };
}

void AdminDoors::on_listener(News news, const std::string& text, proto::Micros lasting) {
  events_.on_listener(news, text, lasting);
}

void AdminDoors::on_sent_away(bool, const std::string& peer, proto::Micros) {
  net::log::folded({"admin client sent away"}, {.client = peer}, net::log::Level::warn,
                   "{}: sent away, there are as many clients of the admin server as may be", peer);
}

AdminServer::~AdminServer() {
  stop();
}

void AdminServer::start() {
  probes_.emplace(probe_source(gateway_), desk_, http_.postbox());
  add_probe_routes(router_, *probes_);
  api_.emplace(
      gateway_, desk_, http_, [this](const shard::GatewayView& view) { return probes_->is_ready(view); },
      std::move(setup_));
  api_->add_routes(router_);
  metrics_.emplace(desk_, [this](const shard::GatewayView& view) { return figures(view); });
  add_metrics_routes(router_, *metrics_);
  add_console_routes(router_);
  http_.start();
}

AdminFigures AdminServer::figures(const shard::GatewayView& view) const {
  AdminFigures figures;
  figures.version = NBDGW_VERSION;
  figures.ready = probes_->is_ready(view);
  figures.connections = http_.connections();
  for (const unsigned status : kStatuses) figures.answers.emplace(status, 0);
  for (const auto& [status, count] : http_.counters().answers) figures.answers[status] = count;
  figures.intrusions = http_.counters().intrusions;
  const Audit& audit = api_->audit();
  for (std::size_t i = 0; i < kVerbs; ++i) {
    const auto verb = static_cast<Verb>(i);
    figures.changes.push_back({.verb = to_string(verb),
                               .accepted = audit.count(verb, ChangeOutcome::accepted),
                               .refused = audit.count(verb, ChangeOutcome::refused),
                               .dry_run = audit.count(verb, ChangeOutcome::dry_run)});
  }
  figures.reloads = reloads_();
  return figures;
}

void AdminServer::begin_end() noexcept {
  if (probes_) probes_->begin_end();
}

std::function<void()> AdminServer::prepare(const config::Admin& settings) {
  return http_.renewal(tls_of(settings), token_of(settings));
}

void AdminServer::stop() {
  http_.stop();
}

}  // namespace nbdgw::admin
