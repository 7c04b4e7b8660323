#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gateway/admin/view_desk.hpp"
#include "gateway/http/router.hpp"
#include "gateway/http/server.hpp"
#include "gateway/shard/view.hpp"

namespace nbdgw::control {
class Gateway;
}

namespace nbdgw::admin {

/// How long whoever is asked may take. An orchestrator asks again and again, and its own patience is often 1 s more.
inline constexpr proto::Micros kProbeLimit = 2 * proto::kSecond;

/// What the probes find things out from. Each may be called on the server's thread, and answer from any thread.
struct ProbeSource {
  std::uint32_t shards = 0;
  std::size_t listeners = 0;                                             // as configured
  std::function<void(std::uint32_t shard, std::function<void()>)> ping;  // answers when its loop turns
  std::function<bool(std::uint32_t shard)> has_ended;                    // in good order: it answers no more
};

/// The source that a gateway is, once it has been started; it must outlive the source.
ProbeSource probe_source(control::Gateway& gateway);

/// /livez, /readyz and /startupz: answers for those who restart programs and send them clients. All requests of one
/// kind that come while an answer is being found share it, so that no number of them costs the shards more than one
/// posted piece of work at a time.
class Probes {
 public:
  /// `postbox`: of the server that asks; all is done on its thread. The desk must outlive the probes.
  Probes(ProbeSource source, ViewDesk& desk, std::shared_ptr<http::HttpPostbox> postbox);
  Probes(const Probes&) = delete;
  Probes& operator=(const Probes&) = delete;

  /// From any thread: the gateway is about to end. /readyz says so from now on.
  void begin_end() noexcept { ending_.store(true, std::memory_order_relaxed); }
  /// From any thread: whether /readyz would say yes.
  bool is_ready(const shard::GatewayView& view) const;

  // ---- on the server's thread ----
  void live(bool verbose, http::Reply reply);
  void ready(bool verbose, http::Reply reply);
  void started(bool verbose, http::Reply reply);

 private:
  /// One line of an answer.
  struct Check {
    enum class Result : std::uint8_t { passed, failed, ignored };
    Result result;
    std::string text;  // "export vol0: online"
  };
  using Checks = std::vector<Check>;
  using Judge = Checks (Probes::*)(const shard::GatewayView& view);

  struct Waiting {
    const char* probe;
    bool verbose;
    Judge judge;  // null: /livez
    http::Reply reply;
  };
  /// A round of questions, and who waits for its end.
  struct Round {
    std::vector<Waiting> waiting;
    std::uint64_t number = 0;  // of the round: its time limit ends no later one
  };

  static void answer(Waiting& waiting, const Checks& checks);
  void ask_shards();
  void on_pong(std::uint32_t shard);
  bool have_all_answered() const;
  void end_live_round();
  void look(Waiting waiting);
  void end_look(const shard::GatewayView* view);
  Checks judge_ready(const shard::GatewayView& view);
  Checks judge_started(const shard::GatewayView& view);
  Checks ready_checks(const shard::GatewayView& view) const;
  static void add_missing(const shard::GatewayView& view, Checks& checks);

  const ProbeSource source_;
  ViewDesk& desk_;
  const std::shared_ptr<http::HttpPostbox> postbox_;
  std::atomic<bool> ending_{false};
  Round live_;
  std::vector<bool> asked_;     // by shard: a ping is under way
  std::vector<bool> answered_;  // by shard: in this round
  std::vector<Waiting> looking_;
  bool has_started_ = false;  // /startupz has said yes once, and stays with it
};

/// The probes' routes; `probes` must outlive the router.
void add_probe_routes(http::Router& router, Probes& probes);

}  // namespace nbdgw::admin
