#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/sim/checkers/crowd_checker.hpp"
#include "tests/sim/checkers/limit_checker.hpp"
#include "tests/sim/checkers/service_checker.hpp"
#include "tests/sim/checkers/site_watch.hpp"
#include "tests/sim/checkers/sum_checker.hpp"

namespace nbdgw::sim {

/// All who watch a world. Each rule is in a file of its own; here is only who is told what.
class Checkers final : public ClientObserver, public GatewayObserver {
 public:
  Checkers(const Timeline& timeline, Complaints& complaints, Trace& trace);

  /// The watch of a target that is about to be made.
  SiteWatch& add_site();
  /// All targets are there, and nothing has begun. Both must stay.
  void begin(const std::vector<std::unique_ptr<Site>>& sites, const GatewaySetup& setup);
  /// With that target the ladder may begin, or climb on, after so short a time, and exports hold requests for so
  /// long. `anew`: exports, or the gateway, are ended and made anew.
  void begins_early(std::size_t site, const GatewaySetup::Target& least, bool anew) {
    watches_[site]->ladder().begins_early(least.settings);
    watches_[site]->rungs().begins_early(least.settings);
    if (anew) {
      watches_[site]->logins().forgets_pauses();
    } else {
      watches_[site]->patience().begin(least);
    }
  }
  /// The clients are there. Of a gateway that is started again and again nobody is judged by how long it takes.
  void begin(const std::vector<std::unique_ptr<Client>>& clients, const std::vector<std::unique_ptr<RudeHost>>& rude,
             const LinkHabits& links, bool restarts);

  /// That gateway; it must stay.
  void watch(const Gateway& gateway);
  /// After each step of the world.
  void look(const Gateway& gateway);
  /// How long it may take until all is at rest.
  Micros time_to_heal() const;
  /// All is at rest now: nothing is in flight, and nobody is started again.
  void rest(const Gateway& gateway);
  bool anything_with_targets(const Gateway& gateway) const {
    return CrowdChecker::anything_with_targets(gateway.workers(), timeline_.now());
  }
  Micros longest_dead() const noexcept { return crowd_->longest_dead(); }
  /// The gateway has ended for good.
  void end(const Network& network);
  /// Nothing is left at the targets either.
  void look_at_disks();

  /// What is worth knowing of a good run, by name.
  std::vector<std::pair<std::string, double>> figures() const;

  void on_attached(const Client& client, const NbdLink& link) override;
  void on_request(const Client& client, const AskedRequest& request) override;
  void on_reply(const Client& client, const AskedRequest& request, std::uint32_t error) override;
  void on_written(const Client& client, std::uint64_t cell, std::uint64_t cells) override;
  void on_lost(const Client& client, const NbdLink& link, const std::string& why) override;
  void on_process_begins() override;
  void on_event(const shard::EventRecord& record) override;
  void on_process_ends(const std::vector<std::unique_ptr<shard::Worker>>& workers) override;
  void on_all_forgotten() override { debts_.on_all_forgotten(); }
  void on_export_leaves(const std::string& exported) override;
  void on_session_leaves(const std::string& target) override;
  void on_rung_asked(const std::string& target, initiator::Rung rung) override;

 private:
  SiteWatch* watch_of(const std::string& target);
  void on_cache_event(const shard::EventRecord& record, const bridge::CacheEvent& event);
  const Disk* disk_exported_as(const std::string& name) const noexcept;
  DebtChecker::Shows shown_by(const Gateway& gateway) const;
  void look_at_debts(const Gateway& gateway);

  const Timeline& timeline_;
  Complaints& complaints_;
  Trace& trace_;
  std::vector<const Disk*> disks_;    // by number
  std::vector<std::size_t> site_of_;  // by number of the disk
  DiskChecker disk_checker_;
  DebtChecker debts_;
  ServiceChecker service_;
  SumChecker sums_;
  std::vector<std::unique_ptr<SiteWatch>> watches_;
  const std::vector<std::unique_ptr<Site>>* sites_ = nullptr;
  const GatewaySetup* setup_ = nullptr;
  std::unique_ptr<LimitChecker> limits_;
  std::unique_ptr<CrowdChecker> crowd_;
  const std::vector<std::unique_ptr<RudeHost>>* rude_ = nullptr;
  Micros look_at_ = 0;
  bool at_rest_ = false;
};

}  // namespace nbdgw::sim
