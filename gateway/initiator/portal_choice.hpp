#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "gateway/initiator/settings.hpp"

namespace nbdgw::initiator {

/// Where the next login goes: the configured portals in turn, each for as long as it works, or where the target has
/// sent us (RFC 7143 section 11.13.5, TargetAddress).
class PortalChoice {
 public:
  /// Redirects followed in a row before they are taken to lead nowhere.
  static constexpr std::uint8_t kMaxRedirects = 8;

  /// There is at least one.
  explicit PortalChoice(std::vector<Portal> portals);

  const Portal& next() const noexcept { return redirect_ ? *redirect_ : portals_[index_]; }
  /// To be tried as well, in this order, if next() says nothing for a moment: the other portals, as their turn would
  /// come. Not those where the login fails: a quick one of these would win over a slow one, again and again, which
  /// would then never be waited for. None for a redirect: the target knows where it wants us.
  std::vector<Portal> alternates() const;
  /// Whether it is to be the same address of the portal, where the session was: another one may lead to another
  /// controller.
  bool same_address() const noexcept { return same_address_; }
  /// Why it is this one, for people.
  const std::string& reason() const noexcept { return reason_; }
  /// There is another one to go to.
  bool has_others() const noexcept { return portals_.size() > 1; }
  std::size_t count() const noexcept { return portals_.size(); }

  /// The session of a process before this one was there. Ignored, if it is none of the portals.
  void begin_with(const Portal& portal);
  /// One of the alternates has answered first.
  void led_to(const Portal& portal);
  void on_login() noexcept;
  /// The session was lost.
  void on_loss();
  /// `answered`: the portal is there, and the login has failed.
  void on_login_failed(bool answered, const std::string& why);
  /// The target sends us there. False when too many redirects were followed in a row: then the configured portals are
  /// the way back.
  bool redirect(const Portal& portal, bool permanent);
  /// The session leaves this portal, which works, for the next one.
  void leave(const std::string& why);

 private:
  const std::vector<Portal> portals_;
  std::size_t index_ = 0;
  std::vector<bool> refuses_;       // by portal: it answers to TCP, but its last login has failed
  std::optional<Portal> redirect_;  // where the target sent us
  bool redirect_is_permanent_ = false;
  std::uint8_t redirects_ = 0;  // in a row, without a login between them
  bool same_address_ = false;
  std::string reason_;
};

}  // namespace nbdgw::initiator
