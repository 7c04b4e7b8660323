#include "gateway/net/admin_state.hpp"

namespace nbdgw::net {

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

}  // namespace nbdgw::net
