#include "tests/sim/target/commands.hpp"

#include <algorithm>

namespace nbdgw::sim {

TargetCommand& CommandTable::add(const Origin& origin, const std::uint8_t* cdb, Micros now) {
  if (free_.empty()) {
    pool_.push_back(std::make_unique<TargetCommand>());
    free_.push_back(pool_.back().get());
  }
  TargetCommand& command = *free_.back();
  free_.pop_back();
  ++live_;
  command.origin = origin;
  command.origin.record = static_cast<std::uint32_t>(records_.size());
  std::copy_n(cdb, command.cdb.size(), command.cdb.begin());
  command.block = scsi::block_command(cdb);
  command.before = last_;
  (last_ != nullptr ? last_->behind : first_) = &command;
  last_ = &command;
  records_.push_back({.session = origin.session,
                      .itt = origin.itt,
                      .cmd_sn = origin.cmd_sn,
                      .controller = origin.controller,
                      .cid = origin.cid,
                      .fate = origin.fate,
                      .operation = cdb[0],
                      .may_write = command.block.writes(),
                      .lba = command.block.lba,
                      .blocks = command.block.blocks,
                      .at = now});
  return command;
}

void CommandTable::remove(TargetCommand& command, Micros now) noexcept {
  writes_no_more(command);
  records_[command.origin.record].over_at = now;
  (command.before != nullptr ? command.before->behind : first_) = command.behind;
  (command.behind != nullptr ? command.behind->before : last_) = command.before;
  // Its buffer keeps its room, and timers that are still planned must not fit the next one.
  Row data = std::move(command.data);
  const std::uint32_t timer = command.timer + 1;
  Executor* const executor = command.executor;
  command = TargetCommand();
  command.data = std::move(data);
  command.timer = timer;
  command.executor = executor;
  free_.push_back(&command);
  --live_;
}

bool CommandTable::may_still_write(std::uint32_t session, std::uint32_t itt, std::uint32_t cmd_sn) const noexcept {
  for (const TargetCommand* command = first_; command != nullptr; command = command->behind) {
    const Origin& origin = command->origin;
    if (origin.session == session && origin.itt == itt && origin.cmd_sn == cmd_sn) {
      return records_[origin.record].may_write;
    }
  }
  return false;
}

bool CommandTable::may_still_write(const Medium& medium, std::uint64_t lba, std::uint64_t blocks) const noexcept {
  for (const TargetCommand* command = first_; command != nullptr; command = command->behind) {
    const CommandRecord& record = records_[command->origin.record];
    if (!record.may_write || command->medium != &medium) continue;
    if (command->block.kind == scsi::BlockCommand::Kind::unmap) return true;  // anywhere, for all that is known
    if (record.lba < lba + blocks && lba < record.lba + std::max<std::uint64_t>(record.blocks, 1)) return true;
  }
  return false;
}

}  // namespace nbdgw::sim
