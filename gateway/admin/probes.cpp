#include "gateway/admin/probes.hpp"

#include <algorithm>
#include <utility>

#include "gateway/control/gateway.hpp"
#include "gateway/http/request_fields.hpp"

namespace nbdgw::admin {

namespace {

std::string describe(const shard::ExportView& exported) {
  std::string text = "export " + exported.name + ": " + to_string(exported.state);
  if (exported.state != bridge::ExportState::online && !exported.reason.empty()) text += ": " + exported.reason;
  return text;
}

/// What is configured and not there while a reload is being applied.
std::vector<shard::MissingExport> missing_exports(const shard::GatewayView& view) {
  std::vector<shard::MissingExport> missing = view.missing;
  for (const shard::ShardView& shard : view.shards) {
    for (const shard::ExportView& exported : shard.exports) {
      if (exported.leaving) continue;  // another one of that name is wanted
      std::erase_if(missing, [&](const shard::MissingExport& each) { return each.name == exported.name; });
    }
  }
  return missing;
}

}  // namespace

ProbeSource probe_source(control::Gateway& gateway) {
  return {.shards = static_cast<std::uint32_t>(gateway.worker_count()),
          .listeners = gateway.addresses().size(),
          .ping = [&gateway](std::uint32_t shard,
                             std::function<void()> answer) { gateway.ping(shard, std::move(answer)); },
          .has_ended = [&gateway](std::uint32_t shard) { return gateway.has_ended(shard); }};
}

Probes::Probes(ProbeSource source, ViewDesk& desk, std::shared_ptr<http::HttpPostbox> postbox)
    : source_(std::move(source)),
      desk_(desk),
      postbox_(std::move(postbox)),
      asked_(source_.shards, false),
      answered_(source_.shards, false) {}

/// What failed is always said; the rest when it was asked for.
void Probes::answer(Waiting& waiting, const Checks& checks) {
  const bool failed =
      std::ranges::any_of(checks, [](const Check& check) { return check.result == Check::Result::failed; });
  std::string body;
  for (const Check& check : checks) {
    if (!waiting.verbose && check.result != Check::Result::failed) continue;
    constexpr std::string_view kMarks[] = {"[+] ", "[-] ", "[.] "};
    body.append(kMarks[static_cast<std::size_t>(check.result)]).append(check.text).append("\n");
  }
  if (waiting.verbose || failed)
    body.append(waiting.probe).append(failed ? ": failed\n" : ": passed\n");
  else
    body = "ok\n";
  waiting.reply.send({.status = failed ? 503U : 200U,
                      .content_type = "text/plain; charset=utf-8",
                      .body = std::move(body),
                      .fields = {}});
}

// ---- /livez

void Probes::live(bool verbose, http::Reply reply) {
  live_.waiting.push_back({"livez", verbose, nullptr, std::move(reply)});
  if (live_.waiting.size() == 1) ask_shards();
}

/// A shard that has not answered the last round is not asked again: its answer to that is as good, and its mailbox
/// does not fill.
void Probes::ask_shards() {
  std::fill(answered_.begin(), answered_.end(), false);
  postbox_->post_after(kProbeLimit, [this, number = live_.number] {
    if (number == live_.number) end_live_round();
  });
  for (std::uint32_t shard = 0; shard < source_.shards; ++shard) {
    if (asked_[shard]) continue;
    asked_[shard] = true;
    source_.ping(shard, [this, shard, postbox = postbox_] { postbox->post([this, shard] { on_pong(shard); }); });
  }
  if (have_all_answered()) end_live_round();  // all have ended
}

void Probes::on_pong(std::uint32_t shard) {
  asked_[shard] = false;
  answered_[shard] = true;
  if (!live_.waiting.empty() && have_all_answered()) end_live_round();
}

bool Probes::have_all_answered() const {
  for (std::uint32_t shard = 0; shard < source_.shards; ++shard)
    if (!answered_[shard] && !source_.has_ended(shard)) return false;
  return true;
}

void Probes::end_live_round() {
  Checks checks;
  for (std::uint32_t shard = 0; shard < source_.shards; ++shard) {
    const std::string name = "shard " + std::to_string(shard);
    if (answered_[shard])
      checks.push_back({Check::Result::passed, name});
    else if (source_.has_ended(shard))
      checks.push_back({Check::Result::passed, name + ": has ended, as it was told to"});
    else
      checks.push_back(
          {Check::Result::failed, name + ": no answer for " + std::to_string(kProbeLimit / proto::kSecond) + " s"});
  }
  ++live_.number;
  for (Waiting& each : std::exchange(live_.waiting, {})) answer(each, checks);
}

// ---- /readyz, /startupz

void Probes::ready(bool verbose, http::Reply reply) {
  Waiting waiting{"readyz", verbose, &Probes::judge_ready, std::move(reply)};
  // At once: the shards may have ended, and whoever sends clients must hear of it first.
  if (ending_.load(std::memory_order_relaxed))
    return answer(waiting, {{Check::Result::failed, "gateway: is ending"}});
  look(std::move(waiting));
}

void Probes::started(bool verbose, http::Reply reply) {
  Waiting waiting{"startupz", verbose, &Probes::judge_started, std::move(reply)};
  if (has_started_) return answer(waiting, {{Check::Result::passed, "gateway: has started"}});
  if (ending_.load(std::memory_order_relaxed))
    return answer(waiting, {{Check::Result::failed, "gateway: is ending"}});
  look(std::move(waiting));
}

void Probes::look(Waiting waiting) {
  looking_.push_back(std::move(waiting));
  if (looking_.size() > 1) return;
  desk_.ask(false, kProbeLimit, [this](const shard::GatewayView* view) { end_look(view); });
}

/// `view`: null if there was none in time.
void Probes::end_look(const shard::GatewayView* view) {
  for (Waiting& each : std::exchange(looking_, {})) {
    if (view == nullptr)
      answer(each,
             {{Check::Result::failed, "gateway: no answer from every shard in time; /livez?verbose tells which"}});
    else
      answer(each, (this->*each.judge)(*view));
  }
}

bool Probes::is_ready(const shard::GatewayView& view) const {
  return !ending_.load(std::memory_order_relaxed) && std::ranges::none_of(ready_checks(view), [](const Check& check) {
    return check.result == Check::Result::failed;
  });
}

Probes::Checks Probes::ready_checks(const shard::GatewayView& view) const {
  Checks checks;
  if (view.draining)
    checks.push_back({Check::Result::failed, "gateway: drained by an operator, takes no new clients"});
  else
    checks.push_back({Check::Result::passed, "gateway: takes clients"});
  for (const shard::ShardView& shard : view.shards) {
    for (const shard::ExportView& exported : shard.exports) {
      if (exported.leaving) {
        checks.push_back(
            {Check::Result::ignored, "export " + exported.name + ": goes, as the configuration has changed"});
        continue;
      }
      const bool online = exported.state == bridge::ExportState::online;
      const bool open = exported.admin_state == shard::AdminState::ready;
      std::string text = describe(exported);
      if (!open) text += ", an operator lets no new clients in";
      if (!exported.required) text += " (not required)";
      const auto result = online && open      ? Check::Result::passed
                          : exported.required ? Check::Result::failed
                                              : Check::Result::ignored;
      checks.push_back({result, std::move(text)});
    }
  }
  add_missing(view, checks);
  return checks;
}

void Probes::add_missing(const shard::GatewayView& view, Checks& checks) {
  for (const shard::MissingExport& each : missing_exports(view)) {
    checks.push_back({each.required ? Check::Result::failed : Check::Result::ignored,
                      "export " + each.name + ": is being made, as the configuration has changed" +
                          (each.required ? "" : " (not required)")});
  }
}

Probes::Checks Probes::judge_ready(const shard::GatewayView& view) {
  return ready_checks(view);
}

/// An export that has been seen once counts, even if it has gone since: that is a matter for /readyz.
Probes::Checks Probes::judge_started(const shard::GatewayView& view) {
  Checks checks;
  const bool listening = view.addresses.size() >= source_.listeners;
  checks.push_back(
      {listening ? Check::Result::passed : Check::Result::failed,
       "listeners: " + std::to_string(view.addresses.size()) + " of " + std::to_string(source_.listeners)});
  for (const shard::ShardView& shard : view.shards) {
    for (const shard::ExportView& exported : shard.exports) {
      if (exported.leaving) continue;
      std::string text = describe(exported);
      if (exported.known) {
        checks.push_back({Check::Result::passed, "export " + exported.name + ": has been online"});
      } else if (exported.required) {
        checks.push_back({Check::Result::failed, std::move(text)});
      } else {
        checks.push_back({Check::Result::ignored, std::move(text) + " (not required)"});
      }
    }
  }
  add_missing(view, checks);
  has_started_ = std::ranges::none_of(checks, [](const Check& c) { return c.result == Check::Result::failed; });
  return checks;
}

void add_probe_routes(http::Router& router, Probes& probes) {
  const auto add = [&](const char* path, void (Probes::*probe)(bool, http::Reply)) {
    router.add(
        "GET", path,
        [&probes, probe](const http::Request& request, http::Reply reply) {
          http::Query query(request, {"verbose"});
          const bool verbose = query.flag("verbose");
          if (query.refusal()) return reply.send(query.refusal()->response());
          (probes.*probe)(verbose, std::move(reply));
        },
        http::Access::open);
  };
  add("/livez", &Probes::live);
  add("/readyz", &Probes::ready);
  add("/startupz", &Probes::started);
}

}  // namespace nbdgw::admin
