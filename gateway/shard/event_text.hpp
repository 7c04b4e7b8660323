#pragma once

#include <string>

#include "gateway/bridge/cache_event.hpp"
#include "gateway/bridge/failures.hpp"
#include "gateway/initiator/recovery_event.hpp"
#include "gateway/shard/state_event.hpp"

/// What events look like in the log.
namespace nbdgw::shard {

/// A rung of the ladder is being climbed. What it comes to is the RecoveryEvent that follows.
struct RungBegun {
  initiator::RecoveryEvent rung;  // without an end: no outcome, duration or tasks
};

/// "READ", as the NBD protocol writes it without its prefix.
const char* request_name(proto::nbd::Command command) noexcept;

/// As people write it; a form that has no such number, or none at all, as it is.
std::string lun_text(std::uint64_t lun);

/// "target=array session=17 cid=0 lun=3 rung=lu_reset cause="..." scope=lun tasks=4 outcome=success duration=12.3ms".
/// Quotes, backslashes and control characters in the cause are escaped with a backslash.
std::string describe(const std::string& target, const initiator::RecoveryEvent& event);

/// "target array is resetting LUN 3: ...".
std::string describe(const std::string& target, const RungBegun& event);

/// In words: what has happened, what it means, and what is to be done.
std::string describe(const std::string& target, const std::string& exported, const bridge::CacheEvent& event);

/// "export vol0 (target array, LUN 1): a READ failed with NBD_EIO, of 4096 bytes at 1048576: READ(16) of 8 block(s)
/// at LBA 2048, sent once: CHECK CONDITION: MEDIUM ERROR, unrecovered read error (3/11/00)".
std::string describe(const std::string& target, const std::string& exported, const bridge::RequestFailure& event);

/// "export vol0: ...", "target array: ...", or the text alone.
std::string describe(const std::string& target, const std::string& exported, const StateEvent& event);

}  // namespace nbdgw::shard
