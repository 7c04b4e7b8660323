#pragma once

#include <boost/json/object.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/model.hpp"
#include "gateway/admin/audit.hpp"
#include "gateway/admin/log_control.hpp"
#include "gateway/admin/operations.hpp"
#include "gateway/admin/view_desk.hpp"
#include "gateway/control/reload.hpp"
#include "gateway/control/verdict.hpp"
#include "gateway/http/alarm.hpp"
#include "gateway/http/request_fields.hpp"
#include "gateway/http/router.hpp"
#include "gateway/http/server.hpp"

namespace nbdgw::control {
class Gateway;
}
namespace nbdgw::target_host {
class TargetServer;
}

namespace nbdgw::admin {

/// What the API gets from the program around it; each may be left out.
struct ApiSetup {
  std::string version = "unknown";
  /// The configuration in force, from any thread. Left out: the one that the server was made with.
  std::function<config::Config()> config;
  /// Reads the configuration file again and puts it in force, unless it is a dry run. Called on the server's thread,
  /// and must not wait for the gateway; `done` is called once, from any thread.
  std::function<void(bool dry_run, control::OnReload done)> reload;
  /// From any thread.
  std::function<control::ReloadCounts()> reloads;
  /// A target in the same process, made with TargetServerOptions::faults: it can be made to misbehave.
  target_host::TargetServer* target = nullptr;
};

/// /v1: everything there is as JSON, and what operators can have done; openapi.yaml is the contract. All of it is
/// done on the server's thread.
class Api {
 public:
  /// `http`, the desk and the gateway must outlive it; `is_ready`: what /readyz says. The server is stopped before it
  /// goes.
  Api(control::Gateway& gateway, ViewDesk& desk, const http::HttpServer& http,
      std::function<bool(const shard::GatewayView&)> is_ready, ApiSetup setup);
  ~Api();
  Api(const Api&) = delete;
  Api& operator=(const Api&) = delete;

  void add_routes(http::Router& router);

  /// Any thread.
  const Audit& audit() const noexcept { return audit_; }

 private:
  /// A request for events that has nothing to be answered with yet.
  struct Poll {
    std::uint64_t since = 0;
    std::uint64_t limit = 0;
    proto::Micros deadline = 0;
    http::Reply reply;
  };
  /// Somebody waits for what becomes of a change.
  struct Pending;
  /// What a GET shows, made from a view; a problem if the object is not there.
  using Show = std::function<http::Response(const http::Request& request, const shard::GatewayView& view)>;
  /// How a change is answered that was done or begun.
  using Answer = std::function<void(const Change& change, const control::Verdict& verdict, http::Reply reply)>;
  using Handler = void (Api::*)(const http::Request& request, http::Reply reply);

  // Reading (api_read.cpp).
  void add_read_routes(http::Router& router);
  void add_view(http::Router& router, const char* pattern, bool clients, Show show);
  http::Response status(const shard::GatewayView& view) const;
  void tasks(const http::Request& request, http::Reply reply);
  void operation(const http::Request& request, http::Reply reply);

  // Events (api_events.cpp).
  void events(const http::Request& request, http::Reply reply);
  http::Response events_since(std::uint64_t since, std::uint64_t limit, bool& empty) const;
  void on_record(const shard::EventRecord& record);
  void answer_polls();

  // Changing (api_change.cpp, api_verbs.cpp).
  void add_change_routes(http::Router& router);
  void add_recovery_routes(http::Router& router);
  void change(Change change, http::Reply reply, const std::function<void(control::OnVerdict)>& act, Answer answer);
  void decide(Pending& pending, const control::Verdict& verdict);
  bool refused(const Change& change, const std::optional<http::Refusal>& refusal, http::Reply& reply);
  Answer begin_operation(OperationEnd end);
  void drain(bool on, const http::Request& request, http::Reply reply);
  void set_export_state(const http::Request& request, http::Reply reply);
  void rescan_export(const http::Request& request, http::Reply reply);
  void disconnect_client(const http::Request& request, http::Reply reply);
  void drop_connection(const http::Request& request, http::Reply reply);
  void recover(Verb verb, const http::Request& request, http::Reply reply);
  void set_log(const http::Request& request, http::Reply reply);
  void reload(const http::Request& request, http::Reply reply);
  void answer_reload(const Change& what, const control::ReloadOutcome& outcome, http::Reply& reply);

  /// A view for `use`, which is destroyed uncalled if there is none: the server then says so to whoever waits.
  void with_view(bool clients, std::function<void(const shard::GatewayView& view)> use);
  void look_at_the_clock();
  proto::Micros longest_rung(const std::string& target) const;

  control::Gateway& gateway_;
  ViewDesk& desk_;
  const http::HttpServer& http_;
  const std::shared_ptr<http::HttpPostbox> postbox_;
  const std::function<bool(const shard::GatewayView&)> is_ready_;
  const ApiSetup setup_;
  const Now started_;
  Audit audit_;
  Operations operations_;
  LogControl log_;
  std::vector<Poll> polls_;
  http::Alarm alarm_;
};

}  // namespace nbdgw::admin
