#pragma once

#include <string>
#include <vector>

#include "gateway/initiator/discovery.hpp"
#include "gateway/initiator/settings.hpp"
#include "gateway/net/poller.hpp"
#include "gateway/net/portal_socket.hpp"
#include "gateway/net/system_random.hpp"

namespace nbdgw::app {

/// A discovery session (RFC 7143 section 4.3) on a thread of its own choosing: it blocks until the portal has
/// answered.
class PortalInquiry final : private net::PortalSocket::Owner {
 public:
  /// `settings.portals[0]` is asked; the connect and the whole exchange may each take `settings.login_timeout`.
  explicit PortalInquiry(const initiator::SessionSettings& settings);

  /// Returns what went wrong, for people; empty: targets() has the answer.
  std::string run();

  const std::vector<initiator::DiscoveredTarget>& targets() const noexcept { return discovery_.targets(); }

 private:
  void on_portal_socket(net::PortalSocket& socket, proto::Micros now) override;
  void look_up();
  void send(proto::Micros now);

  const initiator::Portal portal_;
  const proto::Micros connect_timeout_;
  net::SystemRandom random_;
  net::Poller poller_;
  net::PortalSocket socket_;
  initiator::Discovery discovery_;
  bool told_connected_ = false;
};

}  // namespace nbdgw::app
