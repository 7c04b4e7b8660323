#pragma once

#include <cstdint>

namespace nbdgw::shard {

/// What operators want of an export (after HAProxy's ready, drain and maint).
enum class AdminState : std::uint8_t {
  ready,
  drain,  // no new clients; those there go on for as long as they like
  maint,  // no new clients; those there finish what is in flight and are sent away
};

const char* to_string(AdminState state) noexcept;

}  // namespace nbdgw::shard
