#include "gateway/initiator/login.hpp"

namespace nbdgw::initiator {

using proto::iscsi::LoginStatus;

const char* describe(LoginStatus status) noexcept {
  switch (status) {
    case LoginStatus::success:
      return "success";
    case LoginStatus::redirect_temporary:
      return "the target has moved temporarily";
    case LoginStatus::redirect_permanent:
      return "the target has moved";
    case LoginStatus::initiator_error:
      return "the target sees an error of ours (0200)";
    case LoginStatus::authentication_failure:
      return "wrong credentials (0201): check the CHAP user and secret";
    case LoginStatus::authorization_failure:
      return "not authorized (0202): let the target accept our initiator name";
    case LoginStatus::not_found:
      return "no such target at this portal (0203): check the IQN";
    case LoginStatus::target_removed:
      return "the target was removed (0204)";
    case LoginStatus::unsupported_version:
      return "unsupported iSCSI version (0205)";
    case LoginStatus::too_many_connections:
      return "too many connections for the session (0206)";
    case LoginStatus::missing_parameter:
      return "the target misses a parameter (0207)";
    case LoginStatus::cannot_include_in_session:
      return "the connection cannot be part of this session (0208)";
    case LoginStatus::session_type_not_supported:
      return "the target does not support this session type (0209)";
    case LoginStatus::session_does_not_exist:
      return "the session does not exist (020a)";
    case LoginStatus::invalid_during_login:
      return "invalid request during login (020b)";
    case LoginStatus::target_error:
      return "error in the target (0300)";
    case LoginStatus::service_unavailable:
      return "the target is not available at the moment (0301)";
    case LoginStatus::out_of_resources:
      return "the target is out of resources (0302)";
  }
  return "the target refused with an unknown status";
}

}  // namespace nbdgw::initiator
