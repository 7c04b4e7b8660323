#include "tests/sim/checkers/login_checker.hpp"

#include <algorithm>
#include <string>
#include <utility>

namespace nbdgw::sim {
namespace {

constexpr Micros kLoginWindow = 10 * proto::kSecond;

// As session_life.cpp and held_commands.hpp have them.
constexpr Micros kFirstLoginPause = 100 * proto::kMillisecond;
constexpr Micros kLongestLoginPause = 5 * proto::kSecond;
constexpr Micros kSessionLived = 500 * proto::kMillisecond;
constexpr Micros kJoinPause = 2 * proto::kSecond;
constexpr Micros kLeastErrandPause = proto::kSecond;
/// As portal_choice.hpp has it.
constexpr std::size_t kMostRedirects = 8;
/// As portal_socket.hpp has it.
constexpr Micros kAttemptDelay = proto::kSecond;
constexpr Micros kConnectSlack = 200 * proto::kMillisecond;

/// From a session that was lost to the login that is the `number`th after that, at the earliest.
constexpr Micros least_pause(int number) {
  Micros total = 0;
  Micros pause = kFirstLoginPause;
  for (int i = 1; i < number; ++i) {
    total += pause - pause / 4;
    pause = std::min(2 * pause, kLongestLoginPause);
  }
  return total;
}

/// A target that wants many logins lets each `number`th one live just long enough for the pauses to begin anew. One
/// of these rounds may be cut at either end of the window.
constexpr std::size_t most_of_a_session() {
  std::size_t most = 0;
  for (int number = 1; number <= 8; ++number) {
    const auto rounds = static_cast<std::size_t>(kLoginWindow / (kSessionLived + least_pause(number)));
    most = std::max(most, (rounds + 2) * static_cast<std::size_t>(number));
  }
  return most;
}

/// A process that has never had a session.
constexpr std::size_t most_at_first() {
  int number = 1;
  while (least_pause(number) < kLoginWindow) ++number;
  return static_cast<std::size_t>(number);
}

/// At once, and after 0, 75, 150 and 300 ms; the next pause is longer than kSessionLived.
constexpr std::uint32_t kMostInARow = 4;
/// Less than the shortest pause, by what is uneven on the way.
constexpr Micros kBetweenRedirects = 40 * proto::kMillisecond;

}  // namespace

std::size_t LoginChecker::most_sessions() {
  return most_of_a_session();
}

void LoginChecker::note(Times& times) const {
  const Micros now = timeline_.now();
  while (!times.empty() && times.front() < now - kLoginWindow) times.pop_front();
  times.push_back(now);
}

std::size_t LoginChecker::recent(const Times& times) const noexcept {
  const Micros from = timeline_.now() - 2 * kLoginWindow;
  return static_cast<std::size_t>(std::ranges::count_if(times, [from](Micros each) { return each >= from; }));
}

std::size_t LoginChecker::sessions_at_most() const noexcept {
  const std::size_t errands = controllers_ > 1 ? kLoginWindow / kLeastErrandPause + 1 : 0;
  return most_of_a_session() + recent(processes_) * most_at_first() + errands;
}

/// What leads nowhere after all that are followed has failed, and is tried anew, at once the first time. Each further
/// connection may meet one of its own, and so may an errand meet all.
std::size_t LoginChecker::most_redirects_in_a_row() const noexcept {
  return 2 * (kMostRedirects + 1) + 2 * std::size_t{connections_} + (controllers_ > 1 ? kMostRedirects + 1 : 0);
}

std::size_t LoginChecker::joins_at_most(std::size_t sessions) const noexcept {
  return (sessions + 1 + kLoginWindow / kJoinPause + recent(processes_)) * (connections_ - 1);
}

void LoginChecker::check_pause() {
  const Micros lost_at = std::exchange(lost_at_, -1);
  if (lost_at < 0 || controllers_ > 1 || other_pause_ || timeline_.now() >= lost_at + pause_) return;
  complaints_.complain("logins", "a login came " + std::to_string((timeline_.now() - lost_at) / proto::kMillisecond) +
                                     " ms after the session was lost, and the target wants a pause of " +
                                     std::to_string(pause_ / proto::kMillisecond) + " ms");
}

/// Not where others may be meant by it, as in check_pause().
void LoginChecker::check_row() {
  const Micros now = timeline_.now();
  const Micros last = std::exchange(last_leading_, now);
  in_a_row_ = last >= 0 && now - last < kSessionLived ? in_a_row_ + 1 : 0;
  if (controllers_ > 1 || in_a_row_ <= kMostInARow || now < judged_from_) return;
  complaints_.complain("logins", std::to_string(in_a_row_ + 1) + " logins in a row, each less than " +
                                     std::to_string(kSessionLived / proto::kMillisecond) +
                                     " ms after the one before: the pauses do not grow");
}

void LoginChecker::on_login(bool leading) {
  if (leading) check_pause();
  if (leading) check_row();
  note(leading ? leading_ : joining_);
  const Times& times = leading ? leading_ : joining_;
  const std::size_t most = leading ? sessions_at_most() + recent(redirects_) : joins_at_most(leading_.size());
  if (times.size() <= most) return;
  complaints_.complain("logins", std::to_string(times.size()) + " logins in 10 s" +
                                     (leading ? "" : " of further connections") + ", and there should be " +
                                     std::to_string(most) + " at most");
}

void LoginChecker::on_connect(std::uint16_t controller, bool silent, bool in_session) {
  const Micros now = timeline_.now();
  const Attempt last = std::exchange(attempt_, {.at = now});
  const Micros gap = now - last.at;
  if (last.at >= 0 && last.alone && !in_session && gap > kAttemptDelay + kConnectSlack &&
      gap < login_timeout_ + kConnectSlack) {
    complaints_.complain("logins", "a portal has not answered for " + std::to_string(gap / proto::kMillisecond) +
                                       " ms before controller " + std::to_string(controller) + " was tried");
  }
  // Whom a redirect leads to, or an errand, gets no company; and the next one that comes may be that of an earlier
  // one, or of the session that comes in the place of this one.
  const bool first = last.at < 0 || gap > login_timeout_ + kLongestLoginPause;
  const bool left = now - left_at_ < kLoginWindow;
  attempt_.alone = first && silent && !in_session && !left && controllers_ > 1 && redirects_.empty() &&
                   now >= judged_from_ && login_timeout_ > kAttemptDelay + 2 * kConnectSlack;
}

void LoginChecker::on_redirect() {
  note(redirects_);
  begins_anew();
  const Micros now = timeline_.now();
  const Micros last = std::exchange(last_redirect_, now);
  const bool anew = !processes_.empty() && processes_.back() >= last;
  redirects_in_a_row_ = last >= 0 && now - last < kBetweenRedirects && !anew ? redirects_in_a_row_ + 1 : 1;
  if (redirects_in_a_row_ > most_redirects_in_a_row() && now >= judged_from_) {
    complaints_.complain("logins",
                         std::to_string(redirects_in_a_row_) + " redirects were followed in a row, without a pause");
  }
  const std::size_t sessions = sessions_at_most();
  const std::size_t most = (kMostRedirects + 1) * (sessions + joins_at_most(sessions));
  if (redirects_.size() <= most) return;
  complaints_.complain("logins", std::to_string(redirects_.size()) +
                                     " redirects were followed in 10 s, and there should be " + std::to_string(most) +
                                     " at most");
}

}  // namespace nbdgw::sim
