#include "gateway/net/session_settings.hpp"

#include <cstdint>
#include <utility>
#include <vector>

namespace nbdgw::net {
namespace {

initiator::DigestOffer offer(config::Digest digest) noexcept {
  switch (digest) {
    case config::Digest::none:
      return initiator::DigestOffer::none;
    case config::Digest::prefer_crc32c:
      return initiator::DigestOffer::prefer_crc32c;
    case config::Digest::crc32c:
      return initiator::DigestOffer::require_crc32c;
  }
  return initiator::DigestOffer::none;
}

initiator::ChapSettings chap_settings(const config::Chap& chap) {
  std::vector<proto::iscsi::ChapAlgorithm> algorithms;
  for (const config::ChapAlgorithm algorithm : chap.algorithms) {
    algorithms.push_back(static_cast<proto::iscsi::ChapAlgorithm>(algorithm));
  }
  const config::ChapCredentials none;
  const config::ChapCredentials& mutual = chap.mutual ? *chap.mutual : none;
  return {.user = chap.credentials.user,
          .secret = chap.credentials.secret,
          .mutual_user = mutual.user,
          .mutual_secret = mutual.secret,
          .algorithms = std::move(algorithms)};
}

}  // namespace

initiator::SessionSettings session_settings(const config::Config& config, const config::Target& target) {
  initiator::SessionSettings settings;
  settings.label = target.name;
  settings.initiator_name = config.initiator.name;
  settings.target_name = target.iqn;
  for (const config::Portal& portal : target.portals) settings.portals.push_back({portal.host, portal.port});
  settings.connections = static_cast<std::uint16_t>(target.connections);
  settings.header_digest = offer(target.header_digest);
  settings.data_digest = offer(target.data_digest);
  if (target.chap) settings.chap = chap_settings(*target.chap);
  settings.immediate_data = target.immediate_data;
  settings.initial_r2t = target.initial_r2t;
  settings.first_burst_length = target.first_burst;
  settings.max_burst_length = target.max_burst;
  settings.max_recv_data_segment_length = target.max_recv_data_segment;
  settings.queue_depth = static_cast<std::uint16_t>(target.queue_depth);
  settings.login_timeout = target.timeouts.login;
  settings.logout_timeout = target.timeouts.logout;
  settings.nop_interval = target.timeouts.nop_interval;
  settings.nop_timeout = target.timeouts.nop_timeout;
  return settings;
}

}  // namespace nbdgw::net
