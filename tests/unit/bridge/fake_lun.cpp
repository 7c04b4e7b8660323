#include "tests/unit/bridge/fake_lun.hpp"

#include <algorithm>
#include <cstring>

#include <doctest/doctest.h>

#include "proto/bytes/iovecs.hpp"
#include "proto/scsi/capacity.hpp"
#include "proto/scsi/cdb.hpp"
#include "proto/scsi/inquiry.hpp"
#include "proto/scsi/mode.hpp"
#include "proto/scsi/unmap.hpp"
#include "tests/unit/proofs.hpp"

namespace scsi = nbdgw::proto::scsi;
using nbdgw::initiator::Direction;
using nbdgw::initiator::Outcome;
using scsi::Opcode;

namespace {

FakeLun::Sense illegal(scsi::AdditionalSense code) {
  return make_sense(scsi::SenseKey::illegal_request, code.asc, code.ascq);
}

std::span<const std::uint8_t> cdb_of(const FakeLun::Command& command) {
  return std::span(command.cdb).first(command.cdb_length);
}

}  // namespace

FakeLun::FakeLun(LunOptions lun_options) : options(lun_options), disk(options.block * options.blocks), stable(disk) {}

void FakeLun::queuecommand(Command& command, nbdgw::proto::Micros) {
  REQUIRE(command.outcome == Outcome::pending);
  REQUIRE(command.sink != nullptr);
  command.proof.reset();
  command.lost_by_us = false;
  command.held_since = Command::kNotHeld;
  REQUIRE(nbdgw::proto::total_length(command.data) == command.data_length);
  REQUIRE((command.direction == Direction::none) == (command.data_length == 0));
  (window_closed ? unsent : waiting).push_back(&command);
  ++sent;
  most_waiting = std::max(most_waiting, waiting.size());
}

void FakeLun::recall(std::uint64_t) {
  recalled_.insert(recalled_.end(), unsent.begin(), unsent.end());
  unsent.clear();
}

void FakeLun::give_back(nbdgw::proto::Micros now) {
  std::vector<Command*> back;
  back.swap(recalled_);
  for (Command* command : back) {
    command->outcome = Outcome::recalled;
    end(*command, now);
  }
}

std::uint64_t FakeLun::lba(const Command& command) {
  if (const auto cdb = scsi::ReadWrite::parse(cdb_of(command))) return cdb->lba;
  if (const auto cdb = scsi::WriteSame::parse(cdb_of(command))) return cdb->lba;
  return 0;
}

std::uint32_t FakeLun::count(const Command& command) {
  if (const auto cdb = scsi::ReadWrite::parse(cdb_of(command))) return cdb->blocks;
  if (const auto cdb = scsi::WriteSame::parse(cdb_of(command))) return cdb->blocks;
  return 0;
}

FakeLun::Command& FakeLun::take(std::size_t i) {
  REQUIRE(i < waiting.size());
  Command& command = *waiting[i];
  waiting.erase(waiting.begin() + static_cast<std::ptrdiff_t>(i));
  return command;
}

void FakeLun::end(Command& command, nbdgw::proto::Micros now) {
  using Kind = nbdgw::initiator::Proof::Kind;
  command.held_since = Command::kNotHeld;
  if (command.outcome == Outcome::path_lost) {
    command.proof.reset();
  } else if (!command.proof) {
    command.proof =
        nbdgw::initiator::ProofMaker::make(command.outcome == Outcome::aborted               ? Kind::task_management
                                           : command.outcome == Outcome::transport_disrupted ? Kind::harmless
                                                                                             : Kind::answered);
  }
  command.sink->on_command_done(command, now);
}

void FakeLun::check_condition(Command& command, const Sense& sense) {
  command.outcome = Outcome::completed;
  command.transferred = 0;
  command.status = static_cast<std::uint8_t>(scsi::Status::check_condition);
  command.sense_length = static_cast<std::uint8_t>(scsi::build_fixed_sense(sense, command.sense));
}

void FakeLun::complete(std::size_t i, nbdgw::proto::Micros now) {
  Command& command = take(i);
  command.outcome = Outcome::completed;
  command.status = 0;
  command.transferred = command.data_length;
  if (const auto sense = execute(command)) check_condition(command, *sense);
  executed_.erase(&command);
  end(command, now);
}

void FakeLun::execute_only(std::size_t i) {
  Command& command = *waiting.at(i);
  executed_[&command] = execute(command);
}

void FakeLun::abort(std::size_t i, bool overdue, nbdgw::proto::Micros now) {
  Command& command = take(i);
  executed_.erase(&command);
  command.outcome = Outcome::aborted;
  command.overdue = overdue;
  end(command, now);
}

void FakeLun::power_loss(std::uint8_t asc, std::uint8_t ascq) {
  for (const auto& [block, by] : dirty) {
    const auto at = static_cast<std::ptrdiff_t>(block * options.block);
    std::copy_n(stable.begin() + at, options.block, disk.begin() + at);
    number[block] = stable_number[block];
  }
  dirty.clear();
  attentions.push_back(make_sense(scsi::SenseKey::unit_attention, asc, ascq));
}

std::optional<std::size_t> FakeLun::attention_on_the_way() const {
  const auto found = std::find_if(waiting.begin(), waiting.end(), [this](Command* command) {
    const auto answer = executed_.find(command);
    return answer != executed_.end() && answer->second && answer->second->key == scsi::SenseKey::unit_attention;
  });
  if (found == waiting.end()) return std::nullopt;
  return static_cast<std::size_t>(found - waiting.begin());
}

void FakeLun::complete_short(std::size_t i, std::uint32_t missing, nbdgw::proto::Micros now) {
  REQUIRE(i < waiting.size());
  const std::uint32_t residual = std::min(missing, waiting[i]->data_length);
  complete_partly(i, {.moved = waiting[i]->data_length - residual, .residual = residual}, now);
}

void FakeLun::complete_partly(std::size_t i, const Shortfall& shortfall, nbdgw::proto::Micros now) {
  Command& command = take(i);
  REQUIRE(shortfall.moved <= command.data_length);
  executed_.erase(&command);
  if (const auto cdb = scsi::ReadWrite::parse(cdb_of(command))) {
    std::uint8_t* const at = disk.data() + cdb->lba * options.block;
    if (!cdb->write) {
      if (shortfall.moved > 0) nbdgw::proto::copy_in(command.data, 0, at, shortfall.moved);
    } else if (const std::uint32_t blocks = shortfall.moved / options.block; blocks > 0) {
      nbdgw::proto::copy_out(command.data, 0, at, std::size_t{blocks} * options.block);
      wrote(command, cdb->lba, blocks, false);
    }
  }
  command.outcome = Outcome::completed;
  command.status = 0;
  if (shortfall.recovered) check_condition(command, make_sense(scsi::SenseKey::recovered_error, 0x17));
  command.residual_underflow = shortfall.residual;
  command.transferred = shortfall.moved;
  end(command, now);
}

void FakeLun::refuse(std::size_t i, std::uint8_t status, nbdgw::proto::Micros now) {
  Command& command = take(i);
  REQUIRE_FALSE(executed_.contains(&command));
  command.outcome = Outcome::completed;
  command.status = status;
  command.transferred =
      status == 0 ? command.data_length : 0;  // GOOD, and nothing done: for disks that are too large
  end(command, now);
}

void FakeLun::refuse(std::size_t i, const Sense& sense, nbdgw::proto::Micros now) {
  Command& command = take(i);
  REQUIRE_FALSE(executed_.contains(&command));
  check_condition(command, sense);
  end(command, now);
}

void FakeLun::disrupt(const std::function<bool(const Command&)>& executed, nbdgw::proto::Micros now) {
  std::vector<Command*> lost;
  lost.swap(waiting);
  for (Command* command : lost) {
    const bool known = executed_.contains(command);
    executed_.erase(command);
    if (!known && attentions.empty() && executed(*command)) execute(*command);
  }
  for (Command* command : lost) {
    command->outcome = Outcome::transport_disrupted;
    command->lost_by_us = losses_are_ours;
    command->status = 0;
    command->residual_underflow = 0;
    end(*command, now);
  }
}

void FakeLun::disrupt_and_hold(nbdgw::proto::Micros now) {
  std::vector<Command*> lost;
  lost.swap(waiting);
  for (Command* command : lost) {
    executed_.erase(command);
    if (command->direction == Direction::write) {
      command->held_since = now;
      held.push_back(command);
    } else {
      command->outcome = Outcome::transport_disrupted;
      end(*command, now);
    }
  }
}

void FakeLun::later(std::size_t i, nbdgw::proto::Micros now) {
  Command& command = *held.at(i);
  held.erase(held.begin() + static_cast<std::ptrdiff_t>(i));
  command.outcome = Outcome::transport_disrupted;
  command.proof = nbdgw::initiator::ProofMaker::make(nbdgw::initiator::Proof::Kind::reinstated_and_reset);
  end(command, now);
}

void FakeLun::lose_path(nbdgw::proto::Micros now) {
  std::vector<Command*> lost;
  lost.swap(waiting);
  lost.insert(lost.end(), held.begin(), held.end());
  held.clear();
  for (Command* command : lost) {
    command->outcome = Outcome::path_lost;
    executed_.erase(command);
    end(*command, now);
  }
}

std::vector<std::uint8_t> FakeLun::gather(const Command& command) const {
  std::vector<std::uint8_t> data(command.data_length);
  if (!data.empty()) nbdgw::proto::copy_out(command.data, 0, data.data(), data.size());
  return data;
}

void FakeLun::answer(Command& command, const std::vector<std::uint8_t>& data) {
  const std::size_t n = std::min<std::size_t>(data.size(), command.data_length);
  if (n > 0) nbdgw::proto::copy_in(command.data, 0, data.data(), n);
  command.residual_underflow = static_cast<std::uint32_t>(command.data_length - n);
  command.transferred = static_cast<std::uint32_t>(n);
}

std::optional<FakeLun::Sense> FakeLun::execute(Command& command) {
  if (const auto known = executed_.find(&command); known != executed_.end()) return known->second;
  if (!attentions.empty() && static_cast<Opcode>(opcode(command)) != Opcode::inquiry) {
    const Sense sense = attentions.front();
    attentions.pop_front();
    return sense;
  }
  return carry_out(command);
}

/// The blocks hold what the command with the next number has written.
void FakeLun::wrote(const Command& command, std::uint64_t first, std::uint64_t blocks, bool stable_at_once) {
  ++written;
  for (std::uint64_t b = first; b < first + blocks; ++b) {
    number[b] = written;
    dirty[b] = written;
    if (stable_at_once || !options.write_cache) harden(b);
  }
  on_written(command, first, blocks);
}

void FakeLun::harden(std::uint64_t block) {
  const auto at = static_cast<std::ptrdiff_t>(block * options.block);
  stable.resize(disk.size());
  std::copy_n(disk.begin() + at, options.block, stable.begin() + at);
  stable_number[block] = number[block];
  dirty.erase(block);
}

std::optional<FakeLun::Sense> FakeLun::carry_out(Command& command) {
  const auto code = static_cast<Opcode>(opcode(command));
  if (options.absent && code != Opcode::inquiry) return illegal(scsi::asc::kLogicalUnitNotSupported);
  log.push_back(opcode(command));
  switch (code) {
    case Opcode::test_unit_ready:
      return std::nullopt;
    case Opcode::inquiry:
      if (const auto cdb = scsi::Inquiry::parse(cdb_of(command));
          cdb && cdb->evpd && cdb->page == scsi::vpd::kUnitSerialNumber && !options.tells_serial) {
        return illegal(scsi::asc::kInvalidFieldInCdb);
      }
      answer(command, inquiry(command));
      return std::nullopt;
    case Opcode::read_capacity_10:
    case Opcode::service_action_in_16: {
      const bool ten = code == Opcode::read_capacity_10;
      if (!ten && !options.capacity_16) return illegal(scsi::asc::kInvalidOpcode);
      const scsi::Capacity capacity{.last_lba = options.blocks - 1,
                                    .block_length = options.block,
                                    .lbpme = options.lbpu || options.lbpws,
                                    .lbprz = options.lbprz};
      answer(command, ten ? capacity.build10() : capacity.build16());
      return std::nullopt;
    }
    case Opcode::mode_sense_6: {
      const scsi::ModeParameters mode{.write_protected = options.write_protected,
                                      .dpofua = options.dpofua,
                                      .write_cache_enabled = options.write_cache};
      answer(command, mode.build(false));
      return std::nullopt;
    }
    case Opcode::read_16:
    case Opcode::write_16:
      if (!options.transfer_16) return illegal({options.transfer_16_asc, 0x00});
      return read_write(command, code == Opcode::write_16);
    case Opcode::read_10:
    case Opcode::write_10:
      return read_write(command, code == Opcode::write_10);
    case Opcode::write_same_16:
      if (!options.write_same_16) return illegal(scsi::asc::kInvalidOpcode);
      return write_same(command);
    case Opcode::write_same_10:
      return write_same(command);
    case Opcode::unmap:
      return unmap(command);
    case Opcode::synchronize_cache_16:
    case Opcode::synchronize_cache_10: {
      const bool known = code == Opcode::synchronize_cache_16 ? options.synchronize_16 : options.synchronize_10;
      if (!known) return illegal(scsi::asc::kInvalidOpcode);
      const auto cdb = scsi::SynchronizeCache::parse(cdb_of(command));
      REQUIRE((cdb && cdb->lba == 0 && cdb->blocks == 0 && !cdb->immediate));
      while (!dirty.empty()) harden(dirty.begin()->first);
      ++synchronized;
      return std::nullopt;
    }
    default:
      return illegal(scsi::asc::kInvalidOpcode);
  }
}

std::vector<std::uint8_t> FakeLun::inquiry(const Command& command) const {
  const auto cdb = scsi::Inquiry::parse(cdb_of(command));
  REQUIRE(cdb);
  if (options.absent) return std::vector<std::uint8_t>(36, 0x7f);
  if (!cdb->evpd) return scsi::StandardInquiry{.vendor = "TEST", .product = "DISK", .revision = "1"}.build();
  switch (cdb->page) {
    case scsi::vpd::kSupportedPages: {
      scsi::SupportedPages pages;
      for (const std::uint8_t page : {scsi::vpd::kSupportedPages, scsi::vpd::kUnitSerialNumber,
                                      scsi::vpd::kBlockLimits, scsi::vpd::kLogicalBlockProvisioning}) {
        pages.supported[page] = true;
      }
      return pages.build();
    }
    case scsi::vpd::kUnitSerialNumber:
      return scsi::UnitSerialNumber{options.serial}.build();
    case scsi::vpd::kBlockLimits:
      return scsi::BlockLimits{.max_transfer = options.max_transfer,
                               .max_unmap_lba_count = options.max_unmap,
                               .max_unmap_descriptor_count = 1,
                               .optimal_unmap_granularity = options.granularity,
                               .unmap_granularity_alignment = options.alignment,
                               .max_write_same = options.max_write_same}
          .build();
    case scsi::vpd::kLogicalBlockProvisioning:
      return scsi::LogicalBlockProvisioning{.lbpu = options.lbpu, .lbpws = options.lbpws, .lbprz = options.lbprz}
          .build();
    default:
      FAIL("a page that is not supported");
      return {};
  }
}

std::optional<FakeLun::Sense> FakeLun::read_write(Command& command, bool write) {
  const auto cdb = scsi::ReadWrite::parse(cdb_of(command));
  REQUIRE((cdb && cdb->write == write && cdb->blocks > 0));
  REQUIRE(std::uint64_t{cdb->blocks} * options.block == command.data_length);
  REQUIRE(command.direction == (write ? Direction::write : Direction::read));
  REQUIRE(command.data_length <= 1024 * 1024);
  REQUIRE(!(cdb->fua && !options.dpofua));
  if (cdb->fua && options.fua_refused) return illegal(scsi::asc::kInvalidFieldInCdb);
  if (options.max_transfer != 0 && cdb->blocks > options.max_transfer) {
    FAIL_CHECK("more than the LUN takes at once");
    return illegal(scsi::asc::kInvalidFieldInCdb);
  }
  if (cdb->lba + cdb->blocks > options.blocks) return illegal(scsi::asc::kLbaOutOfRange);
  std::uint8_t* const at = disk.data() + cdb->lba * options.block;
  if (!write) {
    nbdgw::proto::copy_in(command.data, 0, at, command.data_length);
    return std::nullopt;
  }
  if (options.write_protected) return make_sense(scsi::SenseKey::data_protect, 0x27);
  nbdgw::proto::copy_out(command.data, 0, at, command.data_length);
  wrote(command, cdb->lba, cdb->blocks, cdb->fua);
  return std::nullopt;
}

std::optional<FakeLun::Sense> FakeLun::write_same(Command& command) {
  if (!options.write_same) return illegal(scsi::asc::kInvalidOpcode);
  const auto cdb = scsi::WriteSame::parse(cdb_of(command));
  REQUIRE((cdb && cdb->blocks > 0));
  REQUIRE(command.data_length == options.block);
  if (cdb->unmap && !options.write_same_unmap_bit) return illegal(scsi::asc::kInvalidFieldInCdb);
  REQUIRE((!cdb->unmap || (options.lbpws && options.lbprz)));
  REQUIRE(cdb->lba + cdb->blocks <= options.blocks);
  REQUIRE((options.max_write_same == 0 || cdb->blocks <= options.max_write_same));
  const std::vector<std::uint8_t> block = gather(command);
  std::uint64_t blocks = cdb->blocks;
  if (options.write_same_16_bits) blocks &= 0xffff;
  if (blocks == 0) blocks = options.blocks - cdb->lba;
  for (std::uint64_t b = cdb->lba; b < cdb->lba + blocks; ++b) {
    std::copy(block.begin(), block.end(), disk.begin() + static_cast<std::ptrdiff_t>(b * options.block));
  }
  wrote(command, cdb->lba, blocks, false);
  return std::nullopt;
}

std::optional<FakeLun::Sense> FakeLun::unmap(Command& command) {
  if (!options.unmap) return illegal(scsi::asc::kInvalidOpcode);
  REQUIRE(options.lbpu);
  const std::vector<std::uint8_t> data = gather(command);
  const auto list = scsi::UnmapList::parse(data);
  REQUIRE((list && list->size() == 1));
  const scsi::UnmapRange range = (*list)[0];
  REQUIRE(range.blocks > 0);
  REQUIRE(range.blocks <= options.max_unmap);
  REQUIRE(range.lba + range.blocks <= options.blocks);
  REQUIRE(range.lba % options.granularity == options.alignment % options.granularity);
  std::memset(disk.data() + range.lba * options.block, options.lbprz ? 0 : 0xdb,
              std::size_t{range.blocks} * options.block);
  wrote(command, range.lba, range.blocks, false);
  return std::nullopt;
}
