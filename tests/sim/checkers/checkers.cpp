#include "tests/sim/checkers/checkers.hpp"

#include <algorithm>
#include <set>
#include <type_traits>
#include <variant>

#include "gateway/initiator/error.hpp"
#include "gateway/shard/event_text.hpp"

namespace nbdgw::sim {
namespace {

/// How often who has to look by himself does so.
constexpr Micros kLookEvery = 500 * proto::kMillisecond;

const char* word_for(NbdCommand command) noexcept {
  switch (command) {
    case NbdCommand::read:
      return "READ";
    case NbdCommand::write:
      return "WRITE";
    case NbdCommand::disc:
      return "DISC";
    case NbdCommand::flush:
      return "FLUSH";
    case NbdCommand::trim:
      return "TRIM";
    case NbdCommand::cache:
      return "CACHE";
    case NbdCommand::write_zeroes:
      return "WRITE_ZEROES";
  }
  return "?";
}

/// Of those that no target of this world gives a reason for, the one that the text tells of.
const char* groundless_reproach(const std::string& text) {
  using Error = initiator::ConnectionError;
  for (const Error error :
       {Error::data_sn, Error::r2t_sn, Error::stat_sn, Error::data_offset, Error::data_length, Error::ahs_length,
        Error::bad_opcode, Error::bad_itt, Error::wrong_connection, Error::protocol}) {
    if (text.find(initiator::describe(error)) != std::string::npos) return initiator::to_string(error);
  }
  return nullptr;
}

/// As the log has it.
std::string text_of(const shard::EventRecord& record) {
  return std::visit(
      [&](const auto& event) {
        using Event = std::decay_t<decltype(event)>;
        if constexpr (std::is_same_v<Event, initiator::RecoveryEvent> || std::is_same_v<Event, shard::RungBegun>) {
          return shard::describe(record.target, event);
        } else {
          return shard::describe(record.target, record.exported, event);
        }
      },
      record.event);
}

}  // namespace

Checkers::Checkers(const Timeline& timeline, Complaints& complaints, Trace& trace)
    : timeline_(timeline),
      complaints_(complaints),
      trace_(trace),
      disk_checker_(complaints, disks_),
      debts_(complaints, timeline),
      service_(complaints, timeline),
      sums_(complaints) {}

SiteWatch& Checkers::add_site() {
  return *watches_.emplace_back(std::make_unique<SiteWatch>(timeline_, complaints_, trace_, disk_checker_, debts_));
}

void Checkers::begin(const std::vector<std::unique_ptr<Site>>& sites, const GatewaySetup& setup) {
  sites_ = &sites;
  setup_ = &setup;
  limits_ = std::make_unique<LimitChecker>(complaints_, setup);
  crowd_ = std::make_unique<CrowdChecker>(complaints_, setup);
  for (std::size_t i = 0; i < sites.size(); ++i) {
    watches_[i]->begin(*sites[i], setup.targets[i]);
    for (const Disk& disk : sites[i]->disks()) {
      disks_.push_back(&disk);
      site_of_.push_back(i);
    }
  }
}

void Checkers::begin(const std::vector<std::unique_ptr<Client>>& clients,
                     const std::vector<std::unique_ptr<RudeHost>>& rude, const LinkHabits& links, bool restarts) {
  rude_ = &rude;
  // What they are told nobody adds up.
  for (const auto& host : rude) {
    sums_.on_lost(host->habits().exported);
    for (const Disk* disk : disks_) {
      const std::size_t site = site_of_[disk->number];
      if (disk->exported == host->habits().exported)
        watches_[site]->ladder().has_rude_hosts(disk->number - (*sites_)[site]->disks().front().number);
    }
  }
  for (const auto& watch : watches_) {
    watch->ladder().set_links(links, setup_->shard.memory);
    watch->rungs().set_lag(watch->ladder().lag());
    disk_checker_.set_lag(watch->ladder().lag());
  }
  if (restarts) return;
  for (std::size_t i = 0; i < sites_->size(); ++i) {
    const Site& site = *(*sites_)[i];
    if (!site.healthy()) continue;
    std::vector<const Client*> neighbours;
    std::uint32_t rude_ones = 0;
    for (const auto& host : rude) {
      rude_ones += std::ranges::count(site.disks(), host->habits().exported, &Disk::exported) > 0 ? 1 : 0;
    }
    for (const auto& client : clients) {
      if (site_of_[client->oracle().disk()] == i) neighbours.push_back(client.get());
    }
    for (const Client* client : neighbours) {
      if (client->habits().spared) service_.watch(*client, site, neighbours, rude_ones, links, setup_->shard.memory);
    }
  }
}

/// Null: it is another name of it.
const Disk* Checkers::disk_exported_as(const std::string& name) const noexcept {
  const auto found = std::ranges::find(disks_, name, [](const Disk* disk) { return disk->exported; });
  return found == disks_.end() ? nullptr : *found;
}

SiteWatch* Checkers::watch_of(const std::string& target) {
  for (std::size_t i = 0; i < watches_.size(); ++i) {
    if (setup_->targets[i].settings.label == target) return watches_[i].get();
  }
  return nullptr;
}

void Checkers::look(const Gateway& gateway) {
  const Micros now = timeline_.now();
  if (now < look_at_) return;
  look_at_ = now + kLookEvery;
  limits_->look(gateway.workers(), now);
  crowd_->look(gateway.workers(), now);
  look_at_debts(gateway);
  service_.look();
  for (std::size_t i = 0; i < watches_.size(); ++i) {
    watches_[i]->ladder().look((*sites_)[i]->target().commands());
    watches_[i]->rungs().look((*sites_)[i]->target());
  }
}

/// Nothing while some of it has ended.
DebtChecker::Shows Checkers::shown_by(const Gateway& gateway) const {
  std::set<std::string> names;
  for (const auto& worker : gateway.workers()) {
    if (worker->shard.has_ended()) return {};
    for (const shard::ClientView& client : worker->view({.clients = true}, timeline_.now()).clients)
      names.insert(client.peer);
  }
  return [names = std::move(names)](std::uint64_t id) { return names.contains(Network::client_name(id)); };
}

void Checkers::watch(const Gateway& gateway) {
  debts_.watch([this, &gateway] { return shown_by(gateway); });
}

void Checkers::look_at_debts(const Gateway& gateway) {
  if (!debts_.any_leaves()) return;
  if (const DebtChecker::Shows shows = shown_by(gateway)) debts_.look(shows);
}

void Checkers::rest(const Gateway& gateway) {
  at_rest_ = true;
  crowd_->rest(gateway.workers(), *rude_, timeline_.now());
}

Micros Checkers::time_to_heal() const {
  Micros longest = 0;
  for (std::size_t i = 0; i < watches_.size(); ++i) {
    const Target& target = (*sites_)[i]->target();
    longest = std::max(longest, watches_[i]->ladder().time_to_heal(target.controllers() > 1));
  }
  return longest;
}

void Checkers::end(const Network& network) {
  limits_->on_last_end(network);
  sums_.check();
}

void Checkers::look_at_disks() {
  for (const auto& watch : watches_) watch->look_at_disks();
}

std::vector<std::pair<std::string, double>> Checkers::figures() const {
  Micros silence = 0;
  double share = 0;
  for (const auto& watch : watches_) {
    const LadderChecker& ladder = watch->ladder();
    silence = std::max(silence, ladder.longest_seen());
    share =
        std::max(share, static_cast<double>(ladder.longest_seen()) / static_cast<double>(ladder.longest_silence()));
  }
  return {{"longest wait for the ladder, s", static_cast<double>(silence) / proto::kSecond},
          {"the same, of its bound", share},
          {"longest wait of a good client, of its bound", service_.longest_seen()},
          {"FLUSHes that have paid a debt", static_cast<double>(debts_.paid())},
          {"commands that have met another disk unwarned", static_cast<double>(disk_checker_.strays())}};
}

// ---- clients ----

void Checkers::on_attached(const Client& client, const NbdLink& link) {
  trace_.note("client {0}: connection {1} is attached", {client.number(), link.id()});
  debts_.on_attached(client.oracle().disk(), link.id());
  service_.on_attached(client);
}

void Checkers::on_request(const Client& client, const AskedRequest& request) {
  trace_.note("client {0}: {6} of cells {1} and {2} more, flags {3}, cookie {4:x}, over connection {5}",
              {client.number(), request.cell, request.cells, request.flags, request.cookie, request.link},
              word_for(request.command));
  debts_.on_request(request);
  watches_[site_of_[client.oracle().disk()]]->on_request(client, request);
}

void Checkers::on_reply(const Client& client, const AskedRequest& request, std::uint32_t error) {
  trace_.note("client {0}: {6} {4:x} is answered, error {1}, over connection {2}",
              {client.number(), error, request.link, 0, request.cookie}, word_for(request.command));
  const std::uint32_t disk = client.oracle().disk();
  debts_.on_reply(request, error);
  service_.on_reply(client, request, error);
  sums_.on_reply(client.habits().exported, error);
  const std::size_t site = site_of_[disk];
  watches_[site]->ladder().on_progress(disk - (*sites_)[site]->disks().front().number);
  watches_[site]->on_reply(client, request, error);
}

void Checkers::on_written(const Client& client, std::uint64_t cell, std::uint64_t cells) {
  const std::uint32_t disk = client.oracle().disk();
  watches_[site_of_[disk]]->on_written(disk, cell, cells);
}

void Checkers::on_lost(const Client& client, const NbdLink& link, const std::string& why) {
  trace_.note("client {0}: connection {1} is no more: {6}", {client.number(), link.id()}, why);
  debts_.on_lost(link.id());
  watches_[site_of_[client.oracle().disk()]]->on_lost();
  sums_.on_lost(client.habits().exported);
  const std::uint32_t disk = client.oracle().disk();
  const std::size_t site = site_of_[disk];
  watches_[site]->ladder().on_left_behind(disk - (*sites_)[site]->disks().front().number, client.parts_on(link));
}

// ---- the gateway ----

void Checkers::on_process_begins() {
  trace_.note("the gateway begins", {});
  debts_.on_legacies();
  for (const auto& watch : watches_) {
    watch->logins().on_process_begins();
    watch->ladder().on_process_begins();
  }
}

void Checkers::on_event(const shard::EventRecord& record) {
  sums_.on_event(record);
  trace_.note("gateway: {6}", {}, text_of(record));
  if (const auto* const cache = std::get_if<bridge::CacheEvent>(&record.event)) on_cache_event(record, *cache);
  const auto* const rung = std::get_if<initiator::RecoveryEvent>(&record.event);
  SiteWatch* const watch = watch_of(record.target);
  if (rung != nullptr && watch != nullptr) {
    watch->ladder().on_rung(*rung);
    if (rung->rung == initiator::Rung::session_reset) watch->rungs().on_session_reset();
  }
  const auto* const state = std::get_if<shard::StateEvent>(&record.event);
  const bool lost = state != nullptr && state->kind == shard::StateEvent::Kind::session_lost;
  if (!lost || watch == nullptr) return;
  watch->on_session_lost();
  if (const char* const reproach = groundless_reproach(state->text))
    complaints_.complain("protocol", "the gateway ends a session for a PDU that was right (" + std::string(reproach) +
                                         "): " + state->text);
  if (state->text.find(describe(initiator::ConnectionError::portal_left)) != std::string::npos)
    watch->logins().on_portal_left();
}

void Checkers::on_cache_event(const shard::EventRecord& record, const bridge::CacheEvent& event) {
  if (event.kind != bridge::CacheEvent::Kind::in_doubt) return;
  // Under whatever name.
  for (const Disk* const disk : disks_) {
    if (record.exported.starts_with(disk->exported)) debts_.on_doubt(disk->number);
  }
}

void Checkers::on_process_ends(const std::vector<std::unique_ptr<shard::Worker>>& workers) {
  trace_.note("the gateway has ended", {});
  if (at_rest_) limits_->on_end(workers);
  sums_.on_process_ends(workers);
}

void Checkers::on_export_leaves(const std::string& exported) {
  trace_.note("export {6} is taken away", {}, exported);
  sums_.on_export_leaves(exported);
  const Disk* const disk = disk_exported_as(exported);
  if (disk == nullptr) return;
  debts_.on_legacy(disk->number);
  (*sites_)[site_of_[disk->number]]->target().on_remade(*disk->home);
}

/// The next one knows of no pauses, and of no rungs that have not helped.
void Checkers::on_session_leaves(const std::string& target) {
  SiteWatch* const watch = watch_of(target);
  if (watch == nullptr) return;
  watch->logins().on_session_leaves();
  watch->ladder().on_session_leaves();
}

void Checkers::on_rung_asked(const std::string& target, initiator::Rung rung) {
  SiteWatch* const watch = watch_of(target);
  if (watch == nullptr) return;
  watch->ladder().others_end_commands();
  watch->rungs().on_rung_asked();
  // What was under way when the gateway has ended its session itself has done nothing wrong.
  if (rung != initiator::Rung::session_reset) watch->patience().on_rung_asked();
}

}  // namespace nbdgw::sim
