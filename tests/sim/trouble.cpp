#include "tests/sim/trouble.hpp"

namespace nbdgw::sim {
namespace {

constexpr Micros kRestartLimit = 5 * proto::kSecond;

}  // namespace

TroubleHabits TroubleHabits::draw(Random& random) {
  TroubleHabits habits;
  if (random.chance(0.5)) habits.lost_links = random.spread(5, 2000) * proto::kMillisecond;
  if (random.chance(0.5)) habits.stalled_links = random.spread(5, 2000) * proto::kMillisecond;
  if (random.chance(0.3)) habits.restarts = random.spread(50, 5000) * proto::kMillisecond;
  return habits;
}

Trouble::Trouble(const TroubleHabits& habits, Timeline& timeline, Random random, Gateway& gateway,
                 std::vector<std::unique_ptr<Client>>& clients)
    : habits_(habits), timeline_(timeline), random_(random), gateway_(gateway), clients_(clients) {}

void Trouble::start() {
  plan(habits_.lost_links, &Trouble::lose_a_link);
  plan(habits_.stalled_links, &Trouble::stall_a_link);
  plan(habits_.restarts, &Trouble::restart);
}

void Trouble::plan(Micros mean, void (Trouble::*what)()) {
  if (mean == 0) return;
  timeline_.after(random_.between(1, 2 * mean), [this, mean, what] {
    if (healed_) return;
    (this->*what)();
    plan(mean, what);
  });
}

void Trouble::lose_a_link() {
  using Goodbye = NbdLink::Goodbye;
  const Goodbye how = random_.pick({Goodbye::disconnect, Goodbye::close, Goodbye::reset, Goodbye::vanish});
  const bool in_the_middle = how != Goodbye::disconnect && random_.chance(0.3);
  if (random_.any_of(clients_)->lose_a_link(how, in_the_middle))
    ++seen_[in_the_middle ? "client_cut" : "client_lost"];
}

void Trouble::stall_a_link() {
  const bool unread = random_.chance(0.5);
  const Micros time = random_.spread(1, 20'000) * proto::kMillisecond;
  if (random_.any_of(clients_)->stall_a_link(time, unread))
    ++seen_[unread ? "client_reads_nothing" : "client_stalls"];
}

void Trouble::restart() {
  if (restarting_) return;
  restarting_ = true;
  ++seen_["gateway_restarts"];
  gateway_.end(kRestartLimit, true);
}

void Trouble::advance() {
  if (!restarting_ || !gateway_.ended()) return;
  gateway_.begin_again();
  restarting_ = false;
}

}  // namespace nbdgw::sim
