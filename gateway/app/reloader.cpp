#include "gateway/app/reloader.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "gateway/app/commands.hpp"
#include "gateway/net/clock.hpp"
#include "gateway/net/log.hpp"

namespace nbdgw::app {
namespace {

std::string why_refused(control::ReloadOutcome outcome) {
  switch (outcome) {
    case control::ReloadOutcome::busy:
      return "another reload is under way; try again when it is done";
    case control::ReloadOutcome::stopping:
      return "the gateway is shutting down";
    case control::ReloadOutcome::applied:
    case control::ReloadOutcome::planned:
      break;
  }
  return {};
}

void log_errors(const std::string& file, const std::vector<config::Problem>& errors, bool dry_run,
                shard::EventLog& events) {
  for (const config::Problem& problem : errors) net::log::error({}, "{}", problem.to_string());
  const std::string text = fmt::format("reload: {} has {} error(s); everything stays as it is", file, errors.size());
  if (dry_run) return net::log::error({}, "{}", text);
  const std::string first = errors.empty() ? "" : ": " + errors.front().to_string();
  events.add({}, {}, {.kind = shard::StateEvent::Kind::reload_refused, .text = text + first});
}

void log_diff(const control::ConfigDiff& diff, shard::EventLog& events) {
  for (const control::ConfigChange& change : diff.changes) net::log::info({}, "reload: {}", describe(change));
  for (const std::string& key : diff.needs_restart) {
    net::log::warn({}, "reload: {} differs, and stays as it is until the gateway is started again", key);
  }
  events.add({}, {},
             {.kind = shard::StateEvent::Kind::reload_done,
              .text = fmt::format("reload: done, {} change(s), {} that need a restart", diff.changes.size(),
                                  diff.needs_restart.size()),
              .count = diff.changes.size()});
}

void log_refusal(const std::string& why, bool dry_run, shard::EventLog& events) {
  if (dry_run) return net::log::error({}, "reload: {}", why);
  events.add({}, {}, {.kind = shard::StateEvent::Kind::reload_refused, .text = "reload: " + why});
}

bool changes(const control::ConfigDiff& diff, const char* object) {
  return std::ranges::find(diff.changes, object, &control::ConfigChange::object) != diff.changes.end();
}

}  // namespace

Reloader::Reloader(std::string config_file, control::Gateway& gateway)
    : config_file_(std::move(config_file)), gateway_(gateway) {
  history_->loaded_at = net::wall_now();
}

/// One that was asked for earlier may end later.
void Reloader::History::note(std::uint64_t number, bool good) noexcept {
  ++(good ? succeeded : failed);
  const std::uint64_t mine = 2 * number + (good ? 1 : 0);
  std::uint64_t known = last.load();
  while (known < mine && !last.compare_exchange_weak(known, mine)) {
  }
}

/// Takes the configuration away from `file`, and adds the error, if it cannot be used.
std::function<void()> Reloader::prepare(config::ParseResult& file) const {
  if (!file.config || !participant_) return [] {};
  try {
    return participant_(control::without_restart(*gateway_.config(), *file.config));
  } catch (const std::exception& error) {
    file.errors.push_back({.file = config_file_, .key = {}, .text = error.what()});
    file.config.reset();
    return {};
  }
}

void Reloader::reload(bool dry_run, Done done) {
  if (!done) done = [](const ReloadResult&) {};
  const std::uint64_t number = dry_run ? 0 : ++history_->asked;
  config::ParseResult file = read_config(config_file_);
  std::function<void()> then = prepare(file);
  if (!file.config) {
    log_errors(config_file_, file.errors, dry_run, gateway_.events());
    if (!dry_run) history_->note(number, false);
    return done({.errors = std::move(file.errors), .refused = {}, .diff = {}});
  }
  for (const config::Problem& problem : file.warnings) net::log::warn({}, "{}", problem.to_string());
  const config::LogLevel level = file.config->log.level;
  gateway_.apply(*std::move(file.config), dry_run,
                 [history = history_, dry_run, number, level, then = std::move(then), done = std::move(done),
                  &events = gateway_.events()](control::ReloadReport report) {
                   ReloadResult result{
                       .errors = {}, .refused = why_refused(report.outcome), .diff = std::move(report.diff)};
                   const bool good = result.refused.empty();
                   if (!good) log_refusal(result.refused, dry_run, events);
                   if (good && !dry_run) {
                     log_diff(result.diff, events);
                     if (changes(result.diff, "log")) net::log::set_level(level);
                     if (changes(result.diff, "admin")) then();
                     history->loaded_at = net::wall_now();
                   }
                   if (!dry_run) history->note(number, good);
                   done(std::move(result));
                 });
}

}  // namespace nbdgw::app
