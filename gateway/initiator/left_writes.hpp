#pragma once

#include <vector>

#include "gateway/initiator/portal_group.hpp"

namespace nbdgw::initiator {

/// Writes to a LUN that were with the target when their session was given up for good: for whoever comes in its
/// place.
struct LeftWrites {
  PortalGroup group;          // that they were sent to
  bool acknowledged = false;  // all of them: the target has told that it received them
};

/// Adds it to a list that has each group once.
void note_left(std::vector<LeftWrites>& list, LeftWrites left);

}  // namespace nbdgw::initiator
