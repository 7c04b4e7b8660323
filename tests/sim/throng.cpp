#include "tests/sim/throng.hpp"

#include <algorithm>

namespace nbdgw::sim {
namespace {

using proto::kMillisecond;
using proto::kSecond;

/// Makes of a seed that of the throng.
constexpr std::uint64_t kThrong = 0x7468726f6e67;
constexpr std::uint64_t kLargeBlock = 64 << 10;
/// Of what an export has for itself mostly more than a half: then nothing is under way when one has been read.
constexpr std::uint32_t kPart = 512 << 10;
/// The largest block that a disk has.
constexpr std::uint32_t kBlock = 4096;

/// A READ of one part that takes all of that memory, wherever it begins, and no more.
std::uint32_t whole_of(std::uint64_t floor) noexcept {
  const std::uint64_t blocks = std::min<std::uint64_t>(floor, 1 << 20) / kLargeBlock;
  return static_cast<std::uint32_t>(blocks * kLargeBlock) - 2 * kBlock;
}

}  // namespace

Throng Throng::draw(std::uint64_t seed) {
  Random random(seed ^ kThrong);
  if (!random.chance(0.1)) return {Kind::none, random};
  return {random.pick({Kind::hoards, Kind::passes, Kind::turns, Kind::pieces, Kind::unread}), random};
}

void Throng::set(TroubleHabits& trouble, OperatorHabits& acts, CrowdHabits& crowd) {
  if (!is_there()) return;
  crowd = draw_crowd();
  acts = {};
  trouble.restarts = 0;
  if (kind_ != Kind::hoards) trouble.lost_links = trouble.stalled_links = 0;
  if (kind_ == Kind::unread) trouble.restarts = random_.spread(50, 1000) * kMillisecond;
}

RudeHabits Throng::draw_host() {
  RudeHabits habits;
  const bool reads_nothing = random_.chance(0.8);
  habits.manner = reads_nothing ? RudeHabits::Manner::reads_nothing : RudeHabits::Manner::sends_half;
  habits.links = static_cast<std::uint32_t>(random_.between(2, 4));
  habits.requests = static_cast<std::uint32_t>(random_.between(8, 32));
  habits.stays = random_.between(30, 300) * kSecond;
  habits.room = static_cast<std::size_t>(random_.spread(2 << 10, 64 << 10));
  habits.structured = random_.chance(0.3);
  if (kind_ != Kind::unread) return habits;
  // More than fits into its connections.
  habits.manner = RudeHabits::Manner::asks_nonsense;
  habits.stays = random_.between(2, 30) * kSecond;
  habits.room = static_cast<std::size_t>(random_.spread(512, 2 << 10));
  return habits;
}

/// Who waits for room waits long, so that others are seen to.
CrowdHabits Throng::draw_crowd() {
  CrowdHabits habits;
  const bool least = kind_ == Kind::pieces;  // so that not much is large
  habits.memory = static_cast<std::uint64_t>(least ? random_.between(3, 5) : random_.between(8, 12)) << 19;
  habits.stall_timeout = random_.between(20, 60) * kSecond;
  const bool has_hosts = kind_ == Kind::hoards || kind_ == Kind::passes || kind_ == Kind::unread;
  for (std::int64_t left = has_hosts ? random_.between(2, 4) : 0; left > 0; --left)
    habits.hosts.push_back(draw_host());
  return habits;
}

void Throng::set(TargetOptions& options) {
  if (!is_there()) return;
  TargetHabits& habits = options.habits;
  if (kind_ != Kind::unread) {
    habits.instant = 0;
    habits.slowest = random_.spread(3, 10) * kMillisecond;
    habits.quickest = habits.slowest / 2;
  }
  if (kind_ == Kind::turns) options.have_two_luns();  // somebody whose turn it could be
  for (MediumOptions& medium : options.media) {
    // Each request takes whole blocks of the memory, and no more.
    if (kind_ == Kind::passes) medium.most_blocks = 0;
    if (kind_ == Kind::pieces) medium.most_blocks = kPart / medium.block_size;
  }
}

void Throng::set(GatewaySetup& setup) {
  if (!is_there()) return;
  setup.shards = 1;
  for (GatewaySetup::Target& target : setup.targets) {
    if (kind_ == Kind::passes || kind_ == Kind::turns)
      target.settings.queue_depth = static_cast<std::uint16_t>(random_.between(1, 2));
    // What wakes a session for another reason comes late.
    if (kind_ == Kind::pieces) target.settings.nop_interval = random_.chance(0.5) ? 0 : 60 * kSecond;
    if (kind_ != Kind::turns) continue;
    for (bridge::ExportConfig& exported : target.exports) exported.queue_depth = 64;
  }
}

std::int64_t Throng::clients(std::uint32_t target, std::uint32_t disk, std::int64_t drawn) const noexcept {
  if (kind_ == Kind::passes) return target == 0 ? 1 : disk == 0 ? 3 : 0;
  return kind_ == Kind::pieces ? 1 : drawn;
}

/// It reads only: what others write overlaps nothing of it.
void Throng::make_modest(ClientHabits& habits, std::uint32_t depth, std::uint32_t most) {
  habits.links = 1;
  habits.depth = depth;
  habits.most = most;
  habits.patience = 0;
  habits.spared = true;
  habits.reads = 1;
  habits.writes = 0;
}

void Throng::set(ClientHabits& habits, const Place& place, std::uint64_t floor) {
  switch (kind_) {
    case Kind::none:
    case Kind::unread:
      return;
    case Kind::hoards:
      habits.think = 0;
      habits.spared = place.client == 0;
      if (!habits.spared) return;
      habits.links = habits.depth = 1;
      habits.most = Oracle::kCell;
      habits.patience = 0;
      return;
    case Kind::passes:
      if (place.target == 0) return;
      habits.think = 0;
      habits.structured = false;
      make_modest(habits, place.client == 0 ? 1 : 6, 16 << 10);
      if (place.client > 0) return;
      habits.most = whole_of(floor);
      habits.always_most = true;
      return;
    case Kind::turns:
      habits.think = 0;
      make_modest(habits, 1, 4 << 10);
      if (place.disk == 0) habits.depth = static_cast<std::uint32_t>(random_.between(4, 8));
      return;
    case Kind::pieces:
      habits.think = random_.spread(1, 20) * kMillisecond;
      habits.structured = true;
      make_modest(habits, 1, 2 << 20);
      habits.large = 0.8;
      return;
  }
}

}  // namespace nbdgw::sim
