#include "gateway/net/peer_watch.hpp"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>

namespace nbdgw::net {
namespace {

/// The kernel's clock of such things ticks every 10 ms at least.
constexpr proto::Micros kTicks = 20 * proto::kMillisecond;

}  // namespace

bool PeerWatch::look(int fd, proto::Micros now) noexcept {
  look_at_ = proto::kNever;
  tcp_info info{};
  socklen_t length = sizeof info;
  int unacknowledged = 0;
  if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) != 0 || ::ioctl(fd, SIOCOUTQ, &unacknowledged) != 0) {
    is_tcp_ = false;
    return false;
  }
  if (unacknowledged == 0 && info.tcpi_probes == 0) return false;  // it owes nothing until something is sent
  const proto::Micros silent = std::min(info.tcpi_last_ack_recv, info.tcpi_last_data_recv) * proto::kMillisecond;
  if (now - silent > heard_at_ + kTicks) {
    heard_at_ = now - silent;
    sent_again_ = info.tcpi_total_retrans;
  }
  // Of probes the kernel counts those that were not answered, of data all that was sent again.
  const std::uint32_t unanswered = std::max<std::uint32_t>(info.tcpi_total_retrans - sent_again_, info.tcpi_probes);
  if (silent >= silence_ && unanswered >= kEnoughUnanswered) return true;
  look_at_ = now + std::clamp(silence_ - silent, silence_ / kMaxLooks, silence_ / kLooks);
  return false;
}

}  // namespace nbdgw::net
