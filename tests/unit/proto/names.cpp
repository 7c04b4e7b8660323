#include <doctest/doctest.h>

#include <set>
#include <string>

#include "proto/iscsi/names.hpp"
#include "proto/nbd/names.hpp"
#include "proto/scsi/names.hpp"

namespace iscsi = nbdgw::proto::iscsi;
namespace nbd = nbdgw::proto::nbd;
namespace scsi = nbdgw::proto::scsi;

namespace {

/// How many numbers have a name; no two the same one, and all the others "other".
template <typename Number>
std::size_t named(unsigned count) {
  std::set<std::string> names;
  std::size_t found = 0;
  for (unsigned i = 0; i < count; ++i) {
    const std::string name = to_string(static_cast<Number>(i));
    if (name == "other") continue;
    ++found;
    CHECK_MESSAGE(names.insert(name).second, name);
  }
  return found;
}

}  // namespace

TEST_CASE("names: every number of a protocol has its own") {
  CHECK(named<nbd::Command>(1 << 16) == 9);
  CHECK(named<nbd::Error>(1 << 16) == 9);
  CHECK(named<iscsi::Opcode>(256) == 18);
  CHECK(named<scsi::Opcode>(256) == 20);
  CHECK(named<scsi::Status>(256) == 8);
  CHECK(named<scsi::SenseKey>(16) == 15);
}

TEST_CASE("names: as they are written elsewhere") {
  CHECK(to_string(nbd::Command::write_zeroes) == std::string("write_zeroes"));
  CHECK(to_string(nbd::Error::enospc) == std::string("NBD_ENOSPC"));
  CHECK(to_string(iscsi::Opcode::task_management_request) == std::string("task_management_request"));
  CHECK(to_string(scsi::Opcode::write_16) == std::string("WRITE(16)"));
  CHECK(to_string(scsi::Opcode::synchronize_cache_10) == std::string("SYNCHRONIZE CACHE(10)"));
  CHECK(to_string(scsi::Opcode::pre_fetch_16) == std::string("PRE-FETCH(16)"));
  CHECK(to_string(scsi::Status::task_set_full) == std::string("task_set_full"));
  CHECK(to_string(scsi::SenseKey::unit_attention) == std::string("unit_attention"));
}
