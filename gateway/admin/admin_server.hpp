#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/model.hpp"
#include "gateway/admin/api.hpp"
#include "gateway/admin/metrics_routes.hpp"
#include "gateway/admin/probes.hpp"
#include "gateway/http/router.hpp"
#include "gateway/http/server.hpp"
#include "gateway/net/listener.hpp"

namespace nbdgw::control {
class Gateway;
}
namespace nbdgw::shard {
class EventLog;
}
namespace nbdgw::net {
class InheritedSockets;
}

namespace nbdgw::admin {

/// Tells what becomes of the addresses of the admin server, as of those for NBD.
class AdminDoors final : public net::ListenerObserver {
 public:
  explicit AdminDoors(shard::EventLog& events) : events_(events) {}
  void on_listener(News news, const std::string& text, proto::Micros lasting) override;
  void on_sent_away(bool lowered, const std::string& peer, proto::Micros now) override;

 private:
  shard::EventLog& events_;
};

/// The admin server of a gateway: where it is watched and steered over HTTP. On a thread of its own.
class AdminServer {
 public:
  /// Binds the addresses of `config.listen.admin`, of which there is at least one, and reads nothing else but
  /// `config.admin`; nobody is answered before start(). The gateway must
  /// outlive the server. Throws net::ListenError or TlsError, with a text for people.
  /// `inherited`: what addresses "systemd:NAME" take; null: there are none.
  AdminServer(const config::Config& config, control::Gateway& gateway, ApiSetup setup = {},
              http::HttpLimits limits = {}, net::InheritedSockets* inherited = nullptr);
  ~AdminServer();
  AdminServer(const AdminServer&) = delete;
  AdminServer& operator=(const AdminServer&) = delete;

  /// Once the gateway has been started.
  void start();
  /// From any thread: the gateway is about to end: /readyz says so from now on, and all else goes on.
  void begin_end() noexcept;
  /// Closes all connections, ends the thread. Safe to call more than once.
  void stop();

  /// From any thread: makes token and TLS from the settings, and returns what puts them in the place of those that
  /// are in force, for any thread, and without effect after stop(). Throws TlsError.
  std::function<void()> prepare(const config::Admin& settings);

  /// Changes that were asked for; once it has started, from any thread.
  const Audit& audit() const noexcept { return api_->audit(); }

  /// Where it listens, with the ports that the system picked, in the order of the configuration.
  std::vector<std::string> addresses() const { return http_.addresses(); }
  std::uint16_t port(std::size_t index = 0) const { return http_.port(index); }

  /// What the server has counted (on its own thread, where handlers are called), and how many clients it has.
  const http::HttpServer& http() const noexcept { return http_; }
  /// After start().
  const Probes& probes() const noexcept { return *probes_; }

 private:
  AdminFigures figures(const shard::GatewayView& view) const;

  control::Gateway& gateway_;
  http::Router router_;
  AdminDoors doors_;
  http::HttpServer http_;
  const std::function<control::ReloadCounts()> reloads_;
  ApiSetup setup_;  // until the start
  ViewDesk desk_;
  std::optional<Probes> probes_;
  std::optional<Api> api_;
  std::optional<Metrics> metrics_;
};

}  // namespace nbdgw::admin
