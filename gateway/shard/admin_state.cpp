#include "gateway/shard/admin_state.hpp"

namespace nbdgw::shard {

const char* to_string(AdminState state) noexcept {
  switch (state) {
    case AdminState::ready:
      return "ready";
    case AdminState::drain:
      return "drain";
    case AdminState::maint:
      return "maint";
  }
  return "?";
}

}  // namespace nbdgw::shard
