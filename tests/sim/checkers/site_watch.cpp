#include "tests/sim/checkers/site_watch.hpp"

#include <algorithm>
#include <utility>

#include "proto/scsi/lun.hpp"

namespace nbdgw::sim {
namespace {

constexpr std::uint64_t kAtOnce = 8;  // cells that are looked at together

}  // namespace

SiteWatch::SiteWatch(const Timeline& timeline, Complaints& complaints, Trace& trace, DiskChecker& disk_checker,
                     DebtChecker& debts)
    : complaints_(complaints),
      trace_(trace),
      disk_checker_(disk_checker),
      debts_(debts),
      timeline_(timeline),
      ghosts_(complaints) {}

void SiteWatch::begin(const Site& site, const GatewaySetup::Target& setup) {
  site_ = &site;
  ladder_ = std::make_unique<LadderChecker>(complaints_, timeline_, setup.settings, setup.exports);
  if (site.habits().own_attention) ladder_->others_end_commands();
  rungs_ = std::make_unique<RungChecker>(complaints_, timeline_, setup.settings, site.target().controllers() == 1);
  logins_ = std::make_unique<LoginChecker>(complaints_, timeline_, setup.settings.connections,
                                           setup.settings.login_timeout, site.target().controllers());
  pause_ = setup.settings.time2wait == initiator::Time2Wait::negotiated ? kTime2Wait * proto::kSecond : 0;
  patience_ = std::make_unique<PatienceChecker>(complaints_, site);
  std::uint32_t retries = 0;
  for (const bridge::ExportConfig& each : setup.exports) retries = std::max<std::uint32_t>(retries, each.retries);
  losses_ = std::make_unique<LossChecker>(complaints_, timeline_, retries);
}

void SiteWatch::on_request(const Client& client, const AskedRequest& request) {
  if (may_be_deadly(client, request)) losses_->on_request(client.number(), request.cookie);
}

void SiteWatch::on_reply(const Client& client, const AskedRequest& request, std::uint32_t error) {
  losses_->on_reply(client.number(), request.cookie);
  if (!may_be_deadly(client, request)) patience_->on_reply(client, request, error);
}

/// It may take a READ of a block that costs its session.
bool SiteWatch::may_be_deadly(const Client& client, const AskedRequest& request) const noexcept {
  const auto disk = std::ranges::find(site_->disks(), client.oracle().disk(), &Disk::number);
  if (disk == site_->disks().end() || disk->home->options().deadly_block >= disk->home->blocks()) return false;
  const std::uint64_t cells = disk->home->block_size() / Oracle::kCell;
  const std::uint64_t first = disk->home->options().deadly_block * cells;
  return request.cell < first + cells && first < request.cell + request.cells;
}

const Disk* SiteWatch::disk_of(const Medium& medium) const noexcept {
  const auto found = std::ranges::find(site_->disks(), &medium, &Disk::home);
  return found == site_->disks().end() ? nullptr : &*found;
}

void SiteWatch::on_writer(const CommandTable& table, const TargetCommand& command) {
  const CommandRecord& record = table.records()[command.origin.record];
  trace_.note("target: session {0}, CmdSN {1}: operation {2}, blocks {3} and {4} more",
              {record.session, record.cmd_sn, record.operation, record.lba, record.blocks});
  ghosts_.on_writer(table, command);
}

void SiteWatch::on_write(const WriteEvent& event) {
  const Origin& origin = event.origin;
  trace_.note("target: session {0}, CmdSN {1} has written blocks {2} and {3} more ({6})",
              {origin.session, origin.cmd_sn, event.lba, event.blocks}, to_string(origin.fate));
  ghosts_.on_write(event);
  on_progress(origin);
  disk_checker_.on_write(site_->target().commands(), event);
}

void SiteWatch::on_read(const Medium& medium, std::uint64_t, std::uint64_t, const Origin& origin) {
  disk_checker_.on_read(site_->target().commands(), medium, origin);
  on_progress(origin);
}

void SiteWatch::on_unwarned_answer(const TargetCommand& command, bool knows) {
  disk_checker_.on_unwarned_answer(site_->target().commands(), command.origin, knows);
}

void SiteWatch::on_progress(const Origin& origin) {
  const Disk* const disk = origin.home != nullptr ? disk_of(*origin.home) : nullptr;
  if (disk == nullptr) return;
  const std::uint32_t index = disk->number - site_->disks().front().number;
  ladder_->on_progress(index);
  rungs_->on_progress(proto::scsi::encode_lun(index).value());
}

void SiteWatch::on_sync(const Medium& medium, std::uint64_t, std::uint64_t, Micros, const Origin& origin) {
  trace_.note("target: session {0}, CmdSN {1}: SYNCHRONIZE CACHE", {origin.session, origin.cmd_sn});
  disk_checker_.on_sync(medium, origin);
}

void SiteWatch::on_login(bool leading) {
  trace_.note("target: a login, {6}", {}, leading ? "of a new session" : "of a further connection");
  logins_->on_login(leading);
}

void SiteWatch::on_connect(std::uint16_t controller, bool silent, bool in_session) {
  logins_->on_connect(controller, silent, in_session);
}

void SiteWatch::on_redirect() {
  logins_->on_redirect();
}

void SiteWatch::on_fault(Fault fault) {
  trace_.note("fault: {6}", {}, to_string(fault));
  ladder_->on_fault(fault);
  patience_->on_fault(fault);
  const bool ends_told = fault == Fault::logout_requested || fault == Fault::drop_announced ||
                         fault == Fault::session_drop_announced || fault == Fault::parameters_requested;
  if (ends_told) logins_->forgets_pauses();
}

void SiteWatch::on_abort(const CommandTable& table, const TargetCommand& command) {
  ladder_->on_abort(table, command);
}

void SiteWatch::on_function(const CommandTable& table, const FunctionSeen& seen) {
  trace_.note("target: session {0}, function {1} for LUN {2}", {seen.session, seen.function, seen.lun >> 48});
  rungs_->on_function(table, seen);
}

void SiteWatch::on_function_answered(const CommandTable& table, const FunctionSeen& seen, std::uint8_t response) {
  trace_.note("target: session {0}, function {1} for LUN {2} is answered, response {3}",
              {seen.session, seen.function, seen.lun >> 48, response});
  rungs_->on_function_answered(table, seen, response);
}

void SiteWatch::on_reset_told(const CommandTable& table, const TargetCommand& command) {
  rungs_->on_reset_told(table, command);
}

void SiteWatch::on_hole(std::uint32_t session, std::uint32_t cmd_sn) {
  rungs_->on_hole(session, cmd_sn);
}

void SiteWatch::on_block_lost(const Medium& medium, std::uint64_t lba) {
  const Disk* const disk = disk_of(medium);
  if (disk == nullptr) return;
  const std::uint64_t cells = medium.block_size() / Oracle::kCell;
  for (std::uint64_t i = 0; i < cells; ++i) {
    const std::uint64_t cell = lba * cells + i;
    if (cell >= disk->oracle->cells()) return;
    const Oracle::Loss loss = disk->oracle->look_at_loss(cell, medium.block(lba) + i * kept_of_payload());
    if (!loss.wrong.empty()) complaints_.complain("durability", disk->exported + ": " + loss.wrong);
    lost_ = std::max(lost_, loss.begun);
  }
}

void SiteWatch::on_power_loss(const Medium& medium, std::uint64_t blocks, Micros, bool lasting) {
  const Micros lost = std::exchange(lost_, Oracle::Loss::kNothing);
  const Disk* const disk = disk_of(medium);
  if (disk == nullptr) return;
  trace_.note("target: disk {0} has lost {1} blocks of its cache", {disk->number, blocks});
  if (lost != Oracle::Loss::kNothing) debts_.on_loss(disk->number, lost, lasting);
  // What any reset is told as may be taken for one: then nobody may ever know.
  disk->oracle->lose_power(lasting && !site_->habits().plain_power_on);
}

void SiteWatch::on_loss_known(const Medium& medium, Micros from, Micros lost_at) {
  const Disk* const disk = disk_of(medium);
  if (disk == nullptr) return;
  trace_.note("target: the gateway knows of the loss of disk {0} at {1} us",
              {disk->number, static_cast<std::uint64_t>(lost_at)});
  debts_.on_loss_known(disk->number, from, lost_at);
  disk->oracle->loss_known(lost_at);
}

void SiteWatch::on_violation(const std::string& what) {
  complaints_.complain("protocol", what);
}

/// As if it were read just now: what is acknowledged has been executed. The ends and the middle of it are looked at.
void SiteWatch::on_written(std::uint32_t number, std::uint64_t cell, std::uint64_t cells) {
  const Disk& disk = site_->disks()[number - site_->disks().front().number];
  const std::size_t kept = kept_of_payload();
  const Bytes data(disk.home->block(0), disk.oracle->cells() * kept);
  for (const std::uint64_t each : {cell, cell + cells / 2, cell + cells - 1}) {
    const std::string wrong = disk.oracle->look(each, data.subspan(each * kept, kept));
    if (!wrong.empty()) return complaints_.complain("content", disk.exported + ", just acknowledged: " + wrong);
  }
}

void SiteWatch::look_at_disks() {
  for (const Disk& disk : site_->disks()) {
    const std::size_t kept = kept_of_payload();
    const Bytes data(disk.home->block(0), disk.oracle->cells() * kept);
    // Most of a disk has never been touched: that need not be read.
    for (std::uint64_t cell = 0, cells = 0; cell < disk.oracle->cells(); cell += cells) {
      cells = disk.home->untouched(cell, disk.oracle->cells() - cell);
      std::string wrong;
      if (cells > 0) {
        wrong = disk.oracle->look_at_zeroes(cell, cells);
      } else {
        cells = std::min<std::uint64_t>(kAtOnce, disk.oracle->cells() - cell);
        wrong = disk.oracle->look(cell, data.subspan(cell * kept, cells * kept));
      }
      if (!wrong.empty()) return complaints_.complain("content", disk.exported + ", at the end: " + wrong);
    }
  }
}

}  // namespace nbdgw::sim
