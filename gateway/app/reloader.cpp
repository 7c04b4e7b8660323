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

void tell_refusal(const control::ReloadOutcome& outcome, const std::string& file, bool dry_run,
                  shard::EventLog& events) {
  for (const config::Problem& problem : outcome.errors) net::log::error({}, "{}", problem.to_string());
  std::string text = "reload: " + describe(outcome);
  if (outcome.kind == control::ReloadOutcome::Kind::wrong)
    text = fmt::format("reload: {} has {} error(s); everything stays as it is", file, outcome.errors.size());
  if (dry_run) return net::log::error({}, "{}", text);
  if (!outcome.errors.empty()) text += ": " + outcome.errors.front().to_string();
  events.add({}, {}, {.kind = shard::StateEvent::Kind::reload_refused, .text = std::move(text)});
}

void tell_changes(const control::ReloadOutcome& outcome, shard::EventLog& events) {
  for (const control::ConfigChange& change : outcome.diff.changes) net::log::info({}, "reload: {}", describe(change));
  for (const std::string& key : outcome.diff.needs_restart) {
    net::log::warn({}, "reload: {} differs, and stays as it is until the gateway is started again", key);
  }
  events.add({}, {},
             {.kind = shard::StateEvent::Kind::reload_done,
              .text = "reload: done, " + describe(outcome),
              .count = outcome.diff.changes.size()});
}

bool changes(const control::ConfigDiff& diff, const char* object) {
  return std::ranges::find(diff.changes, object, &control::ConfigChange::object) != diff.changes.end();
}

}  // namespace

Reloader::Reloader(std::string config_file, control::Gateway& gateway)
    : config_file_(std::move(config_file)), gateway_(gateway) {
  history_->counts.loaded_at = net::wall_now();
}

control::ReloadCounts Reloader::counts() const {
  const std::lock_guard lock(history_->mutex);
  return history_->counts;
}

std::uint64_t Reloader::History::begin() {
  const std::lock_guard lock(mutex);
  return ++asked;
}

void Reloader::History::note(std::uint64_t number, const control::ReloadOutcome& outcome) {
  const std::lock_guard lock(mutex);
  ++(outcome.refused() ? counts.failed : counts.succeeded);
  if (!outcome.refused()) counts.loaded_at = net::wall_now();
  if (number < last) return;
  last = number;
  counts.last_succeeded = !outcome.refused();
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

void Reloader::reload(bool dry_run, control::OnReload done) {
  const std::uint64_t number = dry_run ? 0 : history_->begin();
  config::ParseResult file = read_config(config_file_);
  std::function<void()> then = prepare(file);
  const config::LogLevel level = file.config ? file.config->log.level : config::LogLevel{};
  control::OnReload end = [history = history_, name = config_file_, dry_run, number, level, then = std::move(then),
                           done = std::move(done), &events = gateway_.events()](control::ReloadOutcome outcome) {
    if (outcome.refused()) {
      tell_refusal(outcome, name, dry_run, events);
    } else if (!dry_run) {
      tell_changes(outcome, events);
      if (changes(outcome.diff, "log")) net::log::set_level(level);
      if (changes(outcome.diff, "admin")) then();
    }
    if (!dry_run) history->note(number, outcome);
    if (done) done(std::move(outcome));
  };
  if (!file.config) return end({.kind = control::ReloadOutcome::Kind::wrong, .errors = std::move(file.errors)});
  for (const config::Problem& problem : file.warnings) net::log::warn({}, "{}", problem.to_string());
  gateway_.apply(*std::move(file.config), dry_run, std::move(end));
}

}  // namespace nbdgw::app
