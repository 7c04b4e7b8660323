#pragma once

#include <memory>
#include <string>

#include "tests/sim/checkers/debt_checker.hpp"
#include "tests/sim/checkers/disk_checker.hpp"
#include "tests/sim/checkers/ghost_checker.hpp"
#include "tests/sim/checkers/ladder_checker.hpp"
#include "tests/sim/checkers/login_checker.hpp"
#include "tests/sim/checkers/loss_checker.hpp"
#include "tests/sim/checkers/patience_checker.hpp"
#include "tests/sim/checkers/rung_checker.hpp"
#include "tests/sim/gateway.hpp"
#include "tests/sim/site.hpp"
#include "tests/sim/trace.hpp"

namespace nbdgw::sim {

/// All that watches one target: hands on what happens there to the checkers that have to do with it.
class SiteWatch final : public TargetObserver, public ProtocolComplaints {
 public:
  SiteWatch(const Timeline& timeline, Complaints& complaints, Trace& trace, DiskChecker& disk_checker,
            DebtChecker& debts);

  /// Before anything happens there.
  void begin(const Site& site, const GatewaySetup::Target& setup);
  LadderChecker& ladder() noexcept { return *ladder_; }
  RungChecker& rungs() noexcept { return *rungs_; }
  LoginChecker& logins() noexcept { return *logins_; }
  PatienceChecker& patience() noexcept { return *patience_; }

  // ---- clients of its disks ----

  void on_request(const Client& client, const AskedRequest& request);
  void on_reply(const Client& client, const AskedRequest& request, std::uint32_t error);
  void on_lost() noexcept { losses_->on_lost(); }

  /// The gateway says so.
  void on_session_lost() noexcept { logins_->on_session_lost(pause_); }

  void on_writer(const CommandTable& table, const TargetCommand& command) override;
  void on_login(bool leading) override;
  void on_redirect() override;
  void on_connect(std::uint16_t controller, bool silent, bool in_session) override;
  void on_loss_known(const Medium& medium, Micros from, Micros lost_at) override;
  void on_unwarned_answer(const TargetCommand& command, bool knows) override;
  void on_fault(Fault fault) override;
  void on_abort(const CommandTable& table, const TargetCommand& command) override;
  void on_function(const CommandTable& table, const FunctionSeen& seen) override;
  void on_function_answered(const CommandTable& table, const FunctionSeen& seen, std::uint8_t response) override;
  void on_reset_told(const CommandTable& table, const TargetCommand& command) override;
  void on_hole(std::uint32_t session, std::uint32_t cmd_sn) override;
  void on_deadly(const TargetCommand&) override { losses_->on_deadly(); }
  void on_write(const WriteEvent& event) override;
  void on_read(const Medium& medium, std::uint64_t lba, std::uint64_t blocks, const Origin& origin) override;
  void on_sync(const Medium& medium, std::uint64_t lba, std::uint64_t blocks, Micros at,
               const Origin& origin) override;
  void on_block_lost(const Medium& medium, std::uint64_t lba) override;
  void on_power_loss(const Medium& medium, std::uint64_t blocks, Micros at, bool lasting) override;
  void on_violation(const std::string& what) override;

  /// What a client has written to that disk is acknowledged.
  void on_written(std::uint32_t disk, std::uint64_t cell, std::uint64_t cells);
  /// Everything is over: what the disks hold now they may hold. Ghosts of the last minutes are seen here.
  void look_at_disks();

 private:
  bool may_be_deadly(const Client& client, const AskedRequest& request) const noexcept;
  const Disk* disk_of(const Medium& medium) const noexcept;
  void on_progress(const Origin& origin);

  Complaints& complaints_;
  Trace& trace_;
  DiskChecker& disk_checker_;
  DebtChecker& debts_;
  const Timeline& timeline_;
  GhostChecker ghosts_;
  const Site* site_ = nullptr;
  Micros pause_ = 0;  // that is kept between the loss of a session and a login
  std::unique_ptr<LadderChecker> ladder_;
  std::unique_ptr<RungChecker> rungs_;
  std::unique_ptr<LoginChecker> logins_;
  std::unique_ptr<PatienceChecker> patience_;
  std::unique_ptr<LossChecker> losses_;
  Micros lost_ = Oracle::Loss::kNothing;  // of the disk that is losing its cache just now: see Oracle::Loss::begun
};

}  // namespace nbdgw::sim
