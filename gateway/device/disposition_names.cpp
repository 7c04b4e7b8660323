#include "gateway/device/disposition.hpp"

namespace nbdgw::device {

const char* to_string(Error error) noexcept {
  switch (error) {
    case Error::none:
      return "none";
    case Error::io:
      return "io";
    case Error::no_space:
      return "no_space";
    case Error::invalid:
      return "invalid";
    case Error::not_permitted:
      return "not_permitted";
    case Error::unsupported:
      return "unsupported";
  }
  return "unknown";
}

const char* to_string(Action action) noexcept {
  switch (action) {
    case Action::done:
      return "done";
    case Action::retry_now:
      return "retry_now";
    case Action::retry_later:
      return "retry_later";
    case Action::hold:
      return "hold";
    case Action::error:
      return "error";
  }
  return "unknown";
}

}  // namespace nbdgw::device
