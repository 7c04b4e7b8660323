#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "gateway/initiator/session.hpp"
#include "proto/random.hpp"
#include "proto/time.hpp"

namespace nbdgw::initiator {

/// One initiator: its name and its sessions (iscsi_host_alloc, _add, _remove). A shard has one.
class Host {
 public:
  Host(std::string initiator_name, proto::RandomSource& random);

  /// Makes a session to a target and begins its login. The ISID is derived from `session_number`, which must be the
  /// same after a restart: the target then takes our login as the reinstatement of the session of before
  /// (RFC 7143 section 4.2.7.3 and 6.3.5). It must be unique among the sessions of the initiator name.
  Session& add(SessionSettings settings, std::uint32_t session_number, proto::Micros now);

  /// Makes a session for an errand of `of` (Session::take_errand()): its twin, with the same ISID, which logs in to
  /// that group and nowhere else.
  Session& add_errand(const Session& of, const PortalGroup& group, proto::Micros now);

  /// Destroys a session that is terminated (iscsi_host_remove for a single one). Nobody may hold it any more.
  void erase(Session& session);

  /// Logs every session out. Done when removed() says so.
  void remove(proto::Micros now);
  bool removed() const noexcept;
  bool removing() const noexcept { return removing_; }

  std::size_t session_count() const noexcept { return sessions_.size(); }
  Session& session(std::size_t index) noexcept { return *sessions_[index]; }
  const std::string& initiator_name() const noexcept { return initiator_name_; }

 private:
  Session& begin(SessionSettings settings, const proto::iscsi::Isid& isid, proto::Micros now);

  const std::string initiator_name_;
  proto::RandomSource& random_;
  std::vector<std::unique_ptr<Session>> sessions_;
  bool removing_ = false;
};

/// ISID of the "EN" form (RFC 7143 section 11.12.5) is ours only with an IANA enterprise number; the "random" form
/// carries 24 bits that we fill from the session number, and a qualifier.
proto::iscsi::Isid make_isid(std::uint32_t session_number) noexcept;

}  // namespace nbdgw::initiator
