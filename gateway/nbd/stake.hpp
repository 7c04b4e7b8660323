#pragma once

#include <boost/intrusive/list.hpp>

namespace nbdgw::nbd {

/// What a connection has of the room that clients share, and its place among those who wait for more. The protocol
/// engine makes it and hands it to the backend, whose policy alone looks into it (bridge::Share).
struct Stake {
  using Hook = boost::intrusive::list_member_hook<boost::intrusive::link_mode<boost::intrusive::auto_unlink>>;

  bool waits() const noexcept { return place.is_linked(); }
  /// It wants nothing more.
  void leave() noexcept {
    place.unlink();
    memory_place.unlink();
  }

  bool in_pieces = false;         // its READs may be answered piece by piece (structured replies)
  bool reserved_request = false;  // the request that each connection may always have is in use
  bool reserved_memory = false;   // the same of the memory for it
  Hook place;                     // waits for room in its export
  Hook memory_place;              // and for memory that no export has for itself
};

}  // namespace nbdgw::nbd
