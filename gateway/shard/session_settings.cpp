#include "gateway/shard/session_settings.hpp"

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "gateway/initiator/task_pool.hpp"
#include "proto/scsi/lun.hpp"

namespace nbdgw::shard {
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

std::uint16_t session_tasks(const config::Config& config, std::uint32_t index) noexcept {
  const auto luns = std::ranges::count_if(config.exports, [&](const auto& e) { return e.target == index; });
  const std::uint64_t wanted = std::uint64_t{config.targets[index].queue_depth} * static_cast<std::uint64_t>(luns);
  return static_cast<std::uint16_t>(
      std::clamp<std::uint64_t>(wanted, 1, std::uint64_t{initiator::TaskPool::kMaxScsiTasks}));
}

initiator::SessionSettings session_settings(const config::Config& config, std::uint32_t index) {
  const config::Target& target = config.targets[index];
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
  settings.queue_depth = session_tasks(config, index);
  settings.command_timeout = target.timeouts.command;
  settings.slow_command_timeout = std::max(target.timeouts.slow_command, target.timeouts.command);
  settings.abort_timeout = target.timeouts.abort;
  settings.lu_reset_timeout = target.timeouts.lu_reset;
  settings.target_reset_timeout = target.timeouts.target_reset;
  settings.fast_abort = target.fast_abort;
  settings.after_reinstatement = target.after_reinstatement == config::AfterReinstatement::trust
                                     ? initiator::AfterReinstatement::trust
                                     : initiator::AfterReinstatement::reset;
  settings.other_group =
      target.other_group == config::OtherGroup::trust ? initiator::OtherGroup::trust : initiator::OtherGroup::prove;
  settings.time2wait = target.time2wait == config::Time2Wait::negotiated ? initiator::Time2Wait::negotiated
                                                                         : initiator::Time2Wait::ignore;
  settings.login_timeout = target.timeouts.login;
  settings.logout_timeout = target.timeouts.logout;
  settings.nop_interval = target.timeouts.nop_interval;
  settings.nop_timeout = target.timeouts.nop_timeout;
  return settings;
}

namespace {

bridge::PowerOnPolicy power_on_policy(config::PowerOnAttention meaning) noexcept {
  switch (meaning) {
    case config::PowerOnAttention::fail_flush:
      return bridge::PowerOnPolicy::unexplained;
    case config::PowerOnAttention::ignore:
      return bridge::PowerOnPolicy::ignore;
    case config::PowerOnAttention::always:
      return bridge::PowerOnPolicy::always;
  }
  return bridge::PowerOnPolicy::unexplained;
}

}  // namespace

bridge::ExportConfig export_config(const config::Config& config, const config::Export& exported) {
  const config::Target& target = config.targets[exported.target];
  const bool hold = target.on_path_loss == config::PathLoss::hold;
  bridge::ExportConfig settings;
  settings.name = exported.name;
  settings.description = exported.description;
  settings.read_only = exported.read_only;
  settings.lun = wire_lun(exported);
  settings.queue_depth = target.queue_depth;
  settings.hold_timeout = hold ? proto::kNever : target.timeouts.replacement;
  settings.retries = static_cast<std::uint8_t>(target.retries);
  settings.power_on = power_on_policy(target.power_on_attention);
  if (target.after_silence == config::AfterSilence::trust) settings.silence = proto::kNever;
  const bool refuse = exported.same_disk == config::SameDisk::refuse;
  settings.same_disk = refuse ? bridge::SameDiskPolicy::refuse : bridge::SameDiskPolicy::share;
  return settings;
}

std::uint64_t wire_lun(const config::Export& exported) {
  return proto::scsi::encode_lun(exported.lun).value();
}

}  // namespace nbdgw::shard
