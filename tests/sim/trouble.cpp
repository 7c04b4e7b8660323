#include "tests/sim/trouble.hpp"

#include <algorithm>
#include <utility>

namespace nbdgw::sim {
namespace {

constexpr Micros kRestartLimit = 5 * proto::kSecond;
/// Where restarts come faster than anything gets done between them, the world would go on for ever.
constexpr std::uint64_t kMostRestarts = 100;

constexpr const char* kCut = "client_cut";  // in the middle of a payload
constexpr const char* kLost = "client_lost";
constexpr const char* kStalls = "client_stalls";
constexpr const char* kUnread = "client_reads_nothing";
constexpr const char* kRestarts = "gateway_restarts";
constexpr const char* kRestartsAnew = "gateway_restarts_anew";  // without its clients

}  // namespace

TroubleHabits TroubleHabits::draw(Random& random) {
  TroubleHabits habits;
  if (random.chance(0.5)) habits.lost_links = random.spread(5, 2000) * proto::kMillisecond;
  if (random.chance(0.5)) habits.stalled_links = random.spread(5, 2000) * proto::kMillisecond;
  if (random.chance(0.3)) habits.restarts = random.spread(50, 5000) * proto::kMillisecond;
  return habits;
}

Trouble::Trouble(const TroubleHabits& habits, Timeline& timeline, Random random, Gateway& gateway,
                 std::vector<std::unique_ptr<Client>>& clients, std::vector<std::string> left_out)
    : habits_(habits),
      occasions_(timeline, std::move(left_out)),
      lost_links_(random.fork()),
      stalled_links_(random.fork()),
      restarts_(random.fork()),
      gateway_(gateway),
      clients_(clients) {}

const std::vector<std::string>& Trouble::kinds() {
  static const std::vector<std::string> all{kCut, kLost, kStalls, kUnread, kRestarts, kRestartsAnew};
  return all;
}

void Trouble::start() {
  occasions_.plan(*this, habits_.lost_links, lost_links_, &Trouble::lose_a_link);
  occasions_.plan(*this, habits_.stalled_links, stalled_links_, &Trouble::stall_a_link);
  occasions_.plan(*this, habits_.restarts, restarts_, &Trouble::restart);
}

void Trouble::lose_a_link() {
  using Goodbye = NbdLink::Goodbye;
  Random& random = lost_links_;
  const Goodbye how = random.pick({Goodbye::disconnect, Goodbye::close, Goodbye::reset, Goodbye::vanish});
  const bool in_the_middle = how != Goodbye::disconnect && random.chance(0.3);
  const char* const kind = in_the_middle ? kCut : kLost;
  Client& client = *random.any_of(clients_);
  if (occasions_.happens(kind) && client.lose_a_link(how, in_the_middle)) ++occasions_.seen(kind);
}

void Trouble::stall_a_link() {
  Random& random = stalled_links_;
  const bool unread = random.chance(0.5);
  const Micros time = random.spread(1, kLongestStall / proto::kMillisecond) * proto::kMillisecond;
  const char* const kind = unread ? kUnread : kStalls;
  Client& client = *random.any_of(clients_);
  if (occasions_.happens(kind) && client.stall_a_link(time, unread)) ++occasions_.seen(kind);
}

void Trouble::restart() {
  const bool anew = restarts_.chance(0.3);
  const char* const kind = anew ? kRestartsAnew : kRestarts;
  if (restarting_ || !occasions_.happens(kind) ||
      occasions_.seen(kRestarts) + occasions_.seen(kRestartsAnew) >= kMostRestarts)
    return;
  restarting_ = true;
  ++occasions_.seen(kind);
  gateway_.end(kRestartLimit, anew ? Gateway::End::leaves_nothing : Gateway::End::hands_over);
}

void Trouble::advance() {
  if (!restarting_ || !gateway_.ended()) return;
  gateway_.begin_again();
  restarting_ = false;
}

}  // namespace nbdgw::sim
