// Worlds in which something in particular goes wrong, again and again: what needs several faults at a time is rare
// where each is drawn for itself.
#include <algorithm>
#include <array>
#include <cstdint>
#include <span>

#include "tests/sim/target/faults.hpp"

namespace nbdgw::sim {
namespace {

struct ThemeRow {
  Theme theme;
  Fault fault;
  double rate;      // the highest, of what needs an occasion
  Micros mean = 0;  // of what needs none: between two of them, at least
};

constexpr Micros operator""_ms(unsigned long long value) {
  return static_cast<Micros>(value) * proto::kMillisecond;
}

// clang-format off
constexpr ThemeRow kThemeRows[] = {
    {Theme::ladder, Fault::hung_command, 0.03},
    {Theme::ladder, Fault::no_r2t, 0.1},
    {Theme::ladder, Fault::function_refused, 0.7},
    {Theme::ladder, Fault::function_late_data, 1},
    {Theme::ladder, Fault::function_slow, 0.3},
    {Theme::ladder, Fault::unit_hangs, 0, 500_ms},
    {Theme::aborts, Fault::hung_command, 0.03},
    {Theme::aborts, Fault::hung_answer, 0.01},
    {Theme::aborts, Fault::no_r2t, 0.2},
    {Theme::aborts, Fault::function_denied, 0.5},
    {Theme::aborts, Fault::function_late_data, 1},
    {Theme::aborts, Fault::function_slow, 0.5},
    {Theme::losses, Fault::hung_command, 0.02},
    {Theme::losses, Fault::slow_command, 0.2},
    {Theme::losses, Fault::function_unanswered, 0.5},
    {Theme::losses, Fault::outlives_session, 1},
    {Theme::losses, Fault::connection_reset, 0, 300_ms},
    {Theme::losses, Fault::connection_stalls, 0, 300_ms},
    {Theme::controllers, Fault::slow_command, 0.1},
    {Theme::controllers, Fault::outlives_session, 1},
    {Theme::controllers, Fault::close_unanswered, 0.5},
    {Theme::controllers, Fault::controller_frozen, 0, 300_ms},
    {Theme::controllers, Fault::controller_down, 0, 1000_ms},
    {Theme::controllers, Fault::failover, 0, 1000_ms},
    {Theme::controllers, Fault::connection_stalls, 0, 1000_ms},
    {Theme::logins, Fault::login_refused, 0.5},
    {Theme::logins, Fault::login_redirected, 1.2},
    {Theme::logins, Fault::login_hangs, 0.2},
    {Theme::logins, Fault::login_drops, 0.5},
    {Theme::logins, Fault::connection_dropped, 0, 300_ms},
    {Theme::logins, Fault::session_drop_announced, 0, 300_ms},
    {Theme::logins, Fault::logout_requested, 0, 300_ms},
    {Theme::caches, Fault::power_loss, 0, 100_ms},
    {Theme::caches, Fault::synchronize_fails, 0.3},
    {Theme::caches, Fault::deferred_error, 0.01},
    {Theme::caches, Fault::connection_reset, 0, 1000_ms},
    {Theme::units, Fault::unit_remapped, 0, 200_ms},
    {Theme::units, Fault::unit_unmapped, 0, 1000_ms},
    {Theme::units, Fault::identity_unreadable, 0, 300_ms},
    {Theme::units, Fault::inquiry_changed, 0, 300_ms},
    {Theme::units, Fault::capacity_grown, 0, 1000_ms},
    {Theme::units, Fault::connection_reset, 0, 1000_ms},
    {Theme::others, Fault::reset_by_others, 0, 100_ms},
    {Theme::others, Fault::hung_command, 0.02},
    {Theme::others, Fault::slow_command, 0.2},
    {Theme::others, Fault::function_refused, 0.3},
};
// clang-format on

}  // namespace

Theme draw_theme(Random& random) {
  // That every proof is true is the first promise.
  if (random.chance(0.3)) return Theme::none;
  return random.pick({Theme::ladder, Theme::ladder, Theme::ladder, Theme::aborts, Theme::aborts, Theme::losses,
                      Theme::losses, Theme::losses, Theme::controllers, Theme::controllers, Theme::logins,
                      Theme::caches, Theme::units, Theme::units, Theme::others});
}

/// What is of it is likely, and much of what is not is absent. Above all what ends sessions, where it is about
/// something else: it would come before all that takes a while.
void TargetFaults::take(Theme theme, Random& random) {
  if (theme == Theme::none) return;
  for (std::size_t i = 0; i < kFirstUndrawnFault; ++i) {
    const double absent = i >= kFirstTimedFault ? 0.9 : 0.5;
    if (random.chance(absent)) rate[i] = 0;
  }
  for (const ThemeRow& row : kThemeRows) {
    const double share = static_cast<double>(random.between(20, 100)) / 100;
    const Micros mean = random.spread(std::max<Micros>(row.mean, 1), 10 * std::max<Micros>(row.mean, 1));
    if (row.theme != theme || random.chance(0.2)) continue;
    (*this)[row.fault] =
        row.mean == 0 ? row.rate * share : std::min(0.5, static_cast<double>(tick) / static_cast<double>(mean));
  }
}

}  // namespace nbdgw::sim
