#include "proto/disk_identity.hpp"

#include <doctest/doctest.h>

using namespace nbdgw::proto;

TEST_CASE("disk identity: what both know agrees, and the strongest is told again") {
  struct Row {
    DiskIdentity before, now;
    SameDisk expected;
  };
  const DiskIdentity both{"naa.1", "S1"};
  const DiskIdentity designator{"naa.1", ""};
  const DiskIdentity serial{"", "S1"};
  const DiskIdentity none;
  for (const Row& row : {
           Row{both, both, SameDisk::yes},
           Row{both, designator, SameDisk::yes},
           Row{both, serial, SameDisk::cannot_tell},
           Row{both, none, SameDisk::cannot_tell},
           Row{designator, both, SameDisk::yes},
           Row{designator, serial, SameDisk::cannot_tell},
           Row{serial, both, SameDisk::yes},
           Row{serial, serial, SameDisk::yes},
           Row{serial, designator, SameDisk::cannot_tell},
           Row{serial, none, SameDisk::cannot_tell},
           Row{none, both, SameDisk::yes},
           Row{none, none, SameDisk::yes},
           Row{both, {"naa.2", "S1"}, SameDisk::no},
           Row{both, {"naa.1", "S2"}, SameDisk::no},
           Row{both, {"", "S2"}, SameDisk::no},
           Row{both, {"naa.2", ""}, SameDisk::no},
           Row{serial, {"naa.2", "S2"}, SameDisk::no},
       }) {
    CAPTURE(row.before.designator);
    CAPTURE(row.now.serial);
    CHECK(same_disk(row.before, row.now) == row.expected);
  }
}
