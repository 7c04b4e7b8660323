#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace nbdgw::control {

enum class VerdictCode : std::uint8_t {
  ok,           // done, or begun; with a dry run: it would be
  not_found,    // no such object
  wrong_state,  // the object cannot be treated like this now
  busy,         // too much of the kind is under way; later perhaps
  invalid,      // makes no sense, whatever the state
};

/// What became of a change that an operator asked for.
struct Verdict {
  VerdictCode code{};
  std::string text;              // for people: what is done, or why not
  std::uint32_t request_id = 0;  // of a rung or rescan that was begun: its event has this number
};

/// Called once, on a thread of the gateway, or destroyed uncalled when the gateway ends before that.
using OnVerdict = std::function<void(Verdict)>;

}  // namespace nbdgw::control
