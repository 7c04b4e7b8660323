#include "gateway/control/crash_record.hpp"

#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>
#include <stdexcept>
#include <string>

using nbdgw::bridge::LunRecord;
using nbdgw::control::CrashRecord;

namespace {

constexpr const char* kIqn = "iqn.2026-11.io.nbdgw:array";

/// A folder of its own; `record` is let go of as if the process had died, unless it was ended.
struct Place {
  Place() : folder(std::filesystem::temp_directory_path() / ("nbdgw-record-" + std::to_string(::getpid()))) {
    std::filesystem::remove_all(folder);
    begin();
  }
  ~Place() {
    record.reset();
    std::filesystem::remove_all(folder);
  }
  void begin() {
    record.reset();
    record.emplace(folder);
  }

  const std::filesystem::path folder;
  std::optional<CrashRecord> record;
};

void set_client(LunRecord& lun, std::size_t place, const std::string& token, LunRecord::Standing standing) {
  LunRecord::Client& client = lun.clients.at(place);
  std::ranges::copy(token, client.token.begin());
  client.token_length = static_cast<std::uint8_t>(token.size());
  client.standing = standing;
}

}  // namespace

TEST_CASE("crash record: what was counted in place is there for the next process, if this one has died") {
  Place place;
  CHECK_FALSE(place.record->before_died());
  LunRecord* const lun = place.record->take(kIqn, 1, "vol0");
  REQUIRE(lun != nullptr);
  lun->cache.acknowledged = 7;
  lun->cache.flushed = 3;
  lun->seen_at = 1234;
  lun->wrote = 1;
  lun->reset_is_silent = 1;
  set_client(*lun, 5, "f00d", LunRecord::Standing::owed);
  set_client(*lun, 9, "cafe", LunRecord::Standing::told);
  place.record->take(kIqn, 2, "gone");
  place.record->give_back(kIqn, 2, "gone");

  place.begin();
  CHECK(place.record->before_died());
  const auto left = place.record->take_left();
  REQUIRE(left.size() == 1);
  CHECK(left[0].name == "vol0");
  CHECK(left[0].iqn == kIqn);
  CHECK(left[0].lun == 1);
  const auto& cache = left[0].cache;
  CHECK(cache.cache.unflushed() == 4);
  CHECK(cache.seen_at == 1234);
  CHECK(cache.writes_left);
  CHECK(cache.power_on.reset_is_silent);
  CHECK_FALSE(cache.power_on.login_is_silent);
  REQUIRE(cache.absent.size() == 2);
  CHECK(cache.absent[0].token == "f00d");
  CHECK(cache.absent[0].owed);
  CHECK(cache.absent[1].token == "cafe");
  CHECK_FALSE(cache.absent[1].owed);

  place.begin();  // it was taken
  CHECK(place.record->take_left().empty());
}

TEST_CASE("crash record: a process that ends in good order has told all, or leaves what is so in the end") {
  Place place;
  LunRecord* const lun = place.record->take(kIqn, 1, "vol0");
  lun->cache.acknowledged = 2;
  lun->wrote = 1;
  SUBCASE("told") {
    place.record->end({}, true);
    place.begin();
    CHECK_FALSE(place.record->before_died());
    CHECK(place.record->take_left().empty());
  }
  SUBCASE("not told") {
    place.record->end({{.name = "vol0", .iqn = kIqn, .lun = 1, .cache = {}}}, false);
    place.begin();
    CHECK_FALSE(place.record->before_died());
    const auto left = place.record->take_left();
    REQUIRE(left.size() == 1);
    CHECK(left[0].cache.cache.unflushed() == 2);
    CHECK_FALSE(left[0].cache.writes_left);
  }
}

TEST_CASE("crash record: numbers that cannot be are no reason to trust the rest") {
  Place place;
  LunRecord* const lun = place.record->take(kIqn, 1, "vol0");
  lun->cache.flushed = 9;
  lun->designator.length = 255;
  set_client(*lun, 0, "f00d", LunRecord::Standing::owed);
  lun->clients[0].token_length = 255;
  lun->clients[1].standing = static_cast<LunRecord::Standing>(77);
  place.begin();
  const auto left = place.record->take_left();
  REQUIRE(left.size() == 1);
  CHECK(left[0].cache.cache.unflushed() == 1);
  CHECK(left[0].cache.disk.designator.size() == LunRecord::kIdentity);
  CHECK(left[0].cache.absent.size() == 1);
}

TEST_CASE("crash record: a file that is none is begun anew, and one process has it") {
  Place place;
  CHECK_THROWS_AS(CrashRecord(place.folder), std::runtime_error);
  place.record->take(kIqn, 1, "vol0");
  place.record.reset();
  std::ofstream(place.folder / "record") << "no record";
  place.begin();
  CHECK_FALSE(place.record->before_died());
  CHECK(place.record->take_left().empty());
}

TEST_CASE("crash record: there are places for so many, and names of some length") {
  Place place;
  CHECK(place.record->take(kIqn, 1, std::string(4096, 'n')) == nullptr);
  for (std::size_t i = 0; i < CrashRecord::kLuns; ++i) REQUIRE(place.record->take(kIqn, i, "vol") != nullptr);
  CHECK(place.record->take(kIqn, 1, "more") == nullptr);
}
