#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>

#include "tests/sim/oracle.hpp"

namespace nbdgw::sim {

/// Of one target: it is not stormed with logins, whatever it does to them and to the sessions.
///
/// The bounds hold in any ten seconds. They follow from the pauses of gateway/initiator/session_life.cpp: the first
/// login after a loss comes at once, the next after 100 ms, then twice as long each time, up to 5 s, a quarter of it
/// taken off at random; and the pauses begin anew only when a session has lived for half a second. What a redirect
/// costs the target it has asked for itself, so as many more logins are allowed as it has sent elsewhere; but it is
/// not followed for ever: a login that is sent elsewhere again and again has failed. A new
/// process of the gateway does not know of the pauses of the one before. Logins on the side, for commands that are
/// held for another portal group, come a second after each other at the earliest. A further connection that could not
/// join is tried again after 2 s, and each new session brings a first attempt.
///
/// Both are seen sooner from what comes in a row: logins so soon after each other that no session can have lived
/// meanwhile, the pauses between which are to grow; and redirects without a pause between them.
///
/// Where the pause that the target asks for is kept (SessionSettings::time2wait), no login follows the loss of a
/// session earlier. Not judged where others may be meant by that login, or another pause was asked for: with several
/// portal groups, where sessions are made anew, and where the target has said that they end, or how.
///
/// Nor does anybody wait for a portal that does not answer to TCP: where there is another one, that is tried beside
/// it after a second (gateway/shard/portal_socket.hpp). Seen where a first attempt, long after any other, meets
/// silence, and there is no session: what follows must come before the attempt's time is over.
class LoginChecker {
 public:
  /// `connections`: of a session, as configured. `controllers`: of the target.
  LoginChecker(Complaints& complaints, const Timeline& timeline, std::uint32_t connections, Micros login_timeout,
               std::size_t controllers)
      : complaints_(complaints),
        timeline_(timeline),
        connections_(connections),
        login_timeout_(login_timeout),
        controllers_(controllers) {}

  void on_connect(std::uint16_t controller, bool silent, bool in_session);

  void on_login(bool leading);
  /// The gateway knows that its session is gone. `pause`: that the target wants before the next login.
  void on_session_lost(Micros pause) noexcept {
    lost_at_ = timeline_.now();
    pause_ = pause;
  }
  /// The target has asked for another pause, or may have; or sessions are made anew, and the next one knows of none.
  void forgets_pauses() noexcept { other_pause_ = true; }
  void on_redirect();
  /// For the sake of its LUNs, which nobody can use there now: it is no company.
  void on_portal_left() noexcept { left_at_ = timeline_.now(); }
  void on_process_begins() {
    note(processes_);
    begins_anew();
    attempt_ = {};
    lost_at_ = -1;
  }

  /// It is made anew, and knows of no pauses; the one before may try a few times yet.
  void on_session_leaves() {
    on_process_begins();
    judged_from_ = timeline_.now() + kMadeAnew;
  }

  /// Logins that begin a session, in any ten seconds, if none is redirected.
  static std::size_t most_sessions();

 private:
  using Times = std::deque<Micros>;
  struct Attempt {
    Micros at = -1;      // the last one; -1: none
    bool alone = false;  // the first after a while, and it has met silence
  };
  void note(Times& times) const;
  void check_pause();
  void check_row();
  void begins_anew() noexcept {
    last_leading_ = -1;
    in_a_row_ = 0;
  }
  std::size_t recent(const Times& times) const noexcept;
  /// If none is redirected.
  std::size_t sessions_at_most() const noexcept;
  std::size_t most_redirects_in_a_row() const noexcept;
  std::size_t joins_at_most(std::size_t sessions) const noexcept;

  Complaints& complaints_;
  const Timeline& timeline_;
  const std::uint32_t connections_;
  const Micros login_timeout_;
  const std::size_t controllers_;
  // In the last ten seconds.
  Times leading_, joining_, redirects_, processes_;
  Attempt attempt_;
  Micros left_at_ = -proto::kNever / 2;
  Micros lost_at_ = -1;  // the session; -1: there is one, or there was none
  Micros pause_ = 0;
  bool other_pause_ = false;
  static constexpr Micros kMadeAnew = 10 * proto::kSecond;
  Micros judged_from_ = 0;
  Micros last_leading_ = -1;    // a login; -1: what follows is the first
  std::uint32_t in_a_row_ = 0;  // that came so soon that the session before cannot have lived
  Micros last_redirect_ = -1;
  std::size_t redirects_in_a_row_ = 0;  // without a pause between them
};

}  // namespace nbdgw::sim
