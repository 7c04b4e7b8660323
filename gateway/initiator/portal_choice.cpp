#include "gateway/initiator/portal_choice.hpp"

#include <algorithm>
#include <utility>

#include "gateway/initiator/portal_group.hpp"
#include "proto/assert.hpp"
#include "proto/mutant.hpp"

namespace nbdgw::initiator {

PortalChoice::PortalChoice(std::vector<Portal> portals)
    : portals_(std::move(portals)),
      refuses_(portals_.size(), false),
      reason_(portals_.size() == 1 ? "the only one that is configured" : "the first that is configured") {
  NBDGW_ASSERT(!portals_.empty(), "a target has a portal");
}

std::vector<Portal> PortalChoice::alternates() const {
  std::vector<Portal> others;
  for (std::size_t i = 1; !redirect_ && i < portals_.size(); ++i) {
    const std::size_t index = (index_ + i) % portals_.size();
    if (!refuses_[index]) others.push_back(portals_[index]);
  }
  return others;
}

void PortalChoice::begin_with(const Portal& portal) {
  const auto found = std::ranges::find(portals_, portal);
  if (found == portals_.end()) return;
  index_ = static_cast<std::size_t>(found - portals_.begin());
  same_address_ = true;
  reason_ = "where the session was before this process";
}

void PortalChoice::led_to(const Portal& portal) {
  const auto found = std::ranges::find(portals_, portal);
  if (found == portals_.end()) return;
  reason_ = portal_text(next()) + " said nothing for a moment, and this one answered";
  index_ = static_cast<std::size_t>(found - portals_.begin());
}

void PortalChoice::on_login() noexcept {
  redirects_ = 0;
  refuses_.assign(refuses_.size(), false);
  same_address_ = true;
}

void PortalChoice::on_loss() {
  if (!redirect_ || redirect_is_permanent_) return;
  reason_ = "back from " + portal_text(*redirect_) + ", where the target had sent us for a while";
  redirect_.reset();
}

void PortalChoice::on_login_failed(bool answered, const std::string& why) {
  same_address_ = false;
  if (redirect_) {
    redirect_.reset();
  } else {
    refuses_[index_] = answered;
    index_ = (index_ + 1) % portals_.size();
    if (!has_others()) return;  // it stays the only one
  }
  reason_ = "the login before failed: " + why;
}

bool PortalChoice::redirect(const Portal& portal, bool permanent) {
  if (redirects_ == kMaxRedirects && !NBDGW_MUTANT(redirects_without_end)) {
    redirects_ = 0;
    redirect_.reset();
    return false;
  }
  ++redirects_;
  reason_ = portal_text(next()) + " has sent us there " + (permanent ? "for good" : "for a while");
  redirect_ = portal;
  redirect_is_permanent_ = permanent;
  return true;
}

void PortalChoice::leave(const std::string& why) {
  reason_ = portal_text(next()) + " was left: " + why;
  same_address_ = false;
  redirect_.reset();
  index_ = (index_ + 1) % portals_.size();
}

}  // namespace nbdgw::initiator
