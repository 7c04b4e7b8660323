#include "tests/sim/draw.hpp"

#include <algorithm>
#include <utility>

#include "proto/scsi/lun.hpp"

namespace nbdgw::sim {

using proto::kMillisecond;
using proto::kSecond;

namespace {

/// A login of several rounds is over within the shortest timeout that is drawn.
constexpr std::int64_t kMostUneven = 30 * kMillisecond;
/// Of what is drawn by itself, so that worlds without it are as they were before there was such a thing.
constexpr std::uint64_t kDrawnApart = 0x64726177;

}  // namespace

LinkHabits draw_links(Random& random) {
  LinkHabits habits;
  habits.delay = random.spread(5, 500);
  if (random.chance(0.5)) habits.jitter = random.spread(1, 2000);
  if (random.chance(0.5)) habits.uneven = random.spread(1000, kMostUneven);
  if (random.chance(0.5)) habits.piece = static_cast<std::size_t>(random.spread(1000, 200'000));
  if (random.chance(0.4)) {
    habits.pace = random.spread(20, 300);  // 3 to 0.2 GB/s
    habits.piece = std::min<std::size_t>(habits.piece, 16 << 10);
  }
  habits.room = static_cast<std::size_t>(random.spread(16 << 10, 4 << 20));
  Random own(Random(random).next() ^ kDrawnApart);
  habits.unread_stays = own.chance(0.5);
  return habits;
}

GatewaySetup::Target draw_session(Random& random, const Site& site) {
  GatewaySetup::Target target;
  initiator::SessionSettings& session = target.settings;
  session.label = site.iqn().substr(site.iqn().rfind(':') + 1);
  session.initiator_name = "iqn.2026-11.io.nbdgw:sim";
  session.target_name = site.iqn();
  for (const std::string& portal : site.portals()) {
    const auto colon = portal.rfind(':');
    session.portals.push_back(
        {portal.substr(0, colon), static_cast<std::uint16_t>(std::stoi(portal.substr(colon + 1)))});
  }
  session.connections = static_cast<std::uint16_t>(random.between(site.theme() == Theme::ladder ? 2 : 1, 4));
  if (random.chance(0.2)) session.header_digest = initiator::DigestOffer::prefer_crc32c;
  // Rarely: it looks at every byte, so these worlds move all of them (piece.hpp), and take as long as ten others.
  if (random.chance(0.03)) session.data_digest = initiator::DigestOffer::prefer_crc32c;
  session.immediate_data = random.chance(0.8);
  session.initial_r2t = random.chance(0.3);
  session.first_burst_length = static_cast<std::uint32_t>(random.spread(4096, 256 << 10));
  session.max_burst_length = session.first_burst_length + static_cast<std::uint32_t>(random.spread(4096, 1 << 20));
  session.max_recv_data_segment_length = static_cast<std::uint32_t>(random.spread(8192, 256 << 10));
  session.queue_depth = static_cast<std::uint16_t>(random.spread(1, 128));
  session.command_timeout = random.spread(500, 15'000) * kMillisecond;
  session.slow_command_timeout = session.command_timeout * random.between(1, 6);
  session.abort_timeout = random.spread(300, 5'000) * kMillisecond;
  session.lu_reset_timeout = random.spread(300, 5'000) * kMillisecond;
  session.target_reset_timeout = random.spread(300, 10'000) * kMillisecond;
  session.fast_abort = random.chance(0.5);
  session.login_timeout = random.spread(500, 15'000) * kMillisecond;
  session.logout_timeout = random.spread(500, 5'000) * kMillisecond;
  session.nop_interval =
      random.chance(site.theme() == Theme::ladder ? 0.4 : 0.2) ? 0 : random.spread(200, 5'000) * kMillisecond;
  session.nop_timeout = random.spread(200, 5'000) * kMillisecond;
  if (random.chance(0.2)) session.time2wait = initiator::Time2Wait::negotiated;
  // Patience that is over before a controller is back: what has no proof then is answered all the same.
  Random own(Random(random).next() ^ kDrawnApart);
  const bool hasty = site.theme() == Theme::controllers && own.chance(0.5);
  const auto depth = static_cast<std::uint32_t>(random.spread(1, 64));
  for (const Disk& disk : site.disks()) {
    bridge::ExportConfig exported;
    exported.name = disk.exported;
    exported.lun = proto::scsi::encode_lun(disk.number - site.disks().front().number).value();
    exported.queue_depth = depth;
    exported.hold_timeout = random.chance(0.5) ? proto::kNever : random.spread(1, 120) * kSecond;
    exported.retries = static_cast<std::uint8_t>(random.between(0, 5));
    if (hasty) exported.hold_timeout = own.between(1, 4) * kSecond;
    target.exports.push_back(std::move(exported));
  }
  return target;
}

GatewaySetup draw_gateway(Random& random) {
  GatewaySetup setup;
  setup.shard.initiator_name = "iqn.2026-11.io.nbdgw:sim";
  setup.shard.clients = setup.most_clients;
  setup.shard.memory = static_cast<std::uint64_t>(random.spread(8 << 20, 64 << 20));
  setup.shards = random.chance(0.3) ? 2 : 1;
  setup.clients.max_in_flight = static_cast<std::uint32_t>(random.spread(8, 256));
  return setup;
}

ClientHabits draw_client(Random& random, const std::string& exported) {
  ClientHabits habits;
  habits.exported = exported;
  habits.links = random.chance(0.5) ? 1 : static_cast<std::uint32_t>(random.between(2, 4));
  habits.depth = static_cast<std::uint32_t>(random.spread(1, 32));
  habits.structured = random.chance(0.5);
  if (random.chance(0.3)) habits.think = random.spread(10, 5'000);
  if (random.chance(0.3)) habits.patience = random.spread(2, 60) * kSecond;
  return habits;
}

ClientHabits draw_good_client(Random& random, const std::string& exported, bool alone) {
  ClientHabits habits = draw_client(random, exported);
  habits.patience = 0;
  habits.spared = true;
  habits.depth = alone ? 2 : 1;
  habits.most = alone ? 32 << 10 : Oracle::kCell;
  if (!alone) habits.links = 1;
  return habits;
}

}  // namespace nbdgw::sim
