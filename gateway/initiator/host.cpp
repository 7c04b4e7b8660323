#include "gateway/initiator/host.hpp"

#include <algorithm>
#include <utility>

#include "proto/assert.hpp"
#include "proto/bytes/endian.hpp"

namespace nbdgw::initiator {

proto::iscsi::Isid make_isid(std::uint32_t session_number) noexcept {
  proto::iscsi::Isid isid{};
  isid[0] = 0x80;  // type 10b: random
  proto::store_be24(&isid[1], session_number >> 16);
  proto::store_be16(&isid[4], static_cast<std::uint16_t>(session_number));
  return isid;
}

Host::Host(std::string initiator_name, proto::RandomSource& random)
    : initiator_name_(std::move(initiator_name)), random_(random) {}

Session& Host::begin(SessionSettings settings, const proto::iscsi::Isid& isid, proto::Micros now) {
  NBDGW_ASSERT(!removing_, "no session is added to a host that is being removed");
  sessions_.push_back(std::make_unique<Session>(std::move(settings), isid, random_));
  sessions_.back()->setup(now);
  return *sessions_.back();
}

Session& Host::add(SessionSettings settings, std::uint32_t session_number, proto::Micros now) {
  settings.initiator_name = initiator_name_;
  return begin(std::move(settings), make_isid(session_number), now);
}

Session& Host::add_errand(const Session& of, const PortalGroup& group, proto::Micros now) {
  SessionSettings settings = of.settings();
  settings.label += ", errand to " + group_text(group);
  settings.portals = {group.portal};
  settings.connections = 1;
  settings.only_group = group.tag;
  settings.first_portal.reset();
  settings.first_pause = 0;
  return begin(std::move(settings), of.isid(), now);
}

void Host::erase(Session& session) {
  NBDGW_ASSERT(session.state() == SessionState::terminated, "a session is logged out before it goes");
  std::erase_if(sessions_, [&](const auto& owned) { return owned.get() == &session; });
}

void Host::remove(proto::Micros now) {
  removing_ = true;
  for (const auto& session : sessions_) session->teardown(now);
}

bool Host::removed() const noexcept {
  return removing_ && std::all_of(sessions_.begin(), sessions_.end(),
                                  [](const auto& session) { return session->state() == SessionState::terminated; });
}

}  // namespace nbdgw::initiator
