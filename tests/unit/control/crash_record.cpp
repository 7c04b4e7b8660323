#include "gateway/control/crash_record.hpp"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <string>

#include "tests/unit/random.hpp"

using namespace nbdgw;
using bridge::LunRecord;
using control::CrashRecord;
using proto::kSecond;

namespace {

constexpr const char* kIqn = "iqn.2026-11.io.nbdgw:array";
constexpr proto::Micros kNow = 1000 * kSecond;

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
    record.emplace(folder, kNow);
  }
  std::filesystem::path file() const { return folder / "record"; }
  std::string content() const {
    std::ifstream in(file(), std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void overwrite(const std::string& content) const { std::ofstream(file(), std::ios::binary) << content; }

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
  lun->writing = 1;
  lun->unjudged = 1;
  lun->put_unit({.designator = "naa.6001405", .serial = "4711"}, {.login_is_silent = false, .reset_is_silent = true});
  lun->put_place(0, {.tag = 3, .portal = {.host = "array.example", .port = 3261}, .address = "192.0.2.1"});
  set_client(*lun, 5, "f00d", LunRecord::Standing::owed);
  set_client(*lun, 9, "cafe", LunRecord::Standing::told);

  for (int crashes = 0; crashes < 2; ++crashes) {  // the second one before anybody has taken it
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
    CHECK(cache.unjudged);
    CHECK(cache.power_on.reset_is_silent);
    CHECK_FALSE(cache.power_on.login_is_silent);
    CHECK(cache.disk == proto::DiskIdentity{.designator = "naa.6001405", .serial = "4711"});
    REQUIRE(cache.left.size() == 1);
    CHECK(cache.left[0].group.tag == 3);
    CHECK_FALSE(cache.left[0].acknowledged);
    CHECK(cache.left[0].group.portal == initiator::Portal{"array.example", 3261});
    CHECK(cache.left[0].group.address == "192.0.2.1");
    REQUIRE(cache.absent.size() == 2);
    CHECK(cache.absent[0].token == "f00d");
    CHECK(cache.absent[0].owed);
    CHECK(cache.absent[1].token == "cafe");
    CHECK_FALSE(cache.absent[1].owed);
  }
  place.record->settle();
  place.begin();  // it was taken
  CHECK(place.record->before_died());
  CHECK(place.record->take_left().empty());
}

TEST_CASE("crash record: an export that goes leaves what it knew until another one is there in its place") {
  Place place;
  place.record->take(kIqn, 1, "vol0")->cache.acknowledged = 1;
  place.record->give_back(kIqn, 1, "vol0");
  SUBCASE("not yet") {
    place.begin();
    CHECK(place.record->take_left().size() == 1);
  }
  SUBCASE("it is, and counts for itself") {
    place.record->take(kIqn, 1, "vol0")->cache.acknowledged = 5;
    place.record->settle();
    place.begin();
    const auto left = place.record->take_left();
    REQUIRE(left.size() == 1);
    CHECK(left[0].cache.cache.acknowledged == 5);
  }
  SUBCASE("there is none any more") {
    place.record->settle();
    place.begin();
    CHECK(place.record->take_left().empty());
  }
}

TEST_CASE("crash record: a process that ends in good order has told all, or leaves what is so in the end") {
  Place place;
  LunRecord* const lun = place.record->take(kIqn, 1, "vol0");
  lun->cache.acknowledged = 2;
  lun->writing = 1;
  lun->unjudged = 1;
  lun->put_place(0, {.tag = 1, .portal = {.host = "192.0.2.1", .port = 3260}, .address = ""});
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
    CHECK_FALSE(left[0].cache.unjudged);
  }
  SUBCASE("not told, and not all came to its end") {
    place.record->end({{.name = "vol0", .iqn = kIqn, .lun = 1, .cache = {.cache = {}, .writes_left = true}}}, false);
    place.begin();
    const auto left = place.record->take_left();
    REQUIRE(left.size() == 1);
    CHECK(left[0].cache.writes_left);
    REQUIRE(left[0].cache.left.size() == 1);
    CHECK(left[0].cache.left[0].group.tag == 1);
  }
  SUBCASE("the same, and it is known where") {
    const initiator::LeftWrites elsewhere{
        .group = {.tag = 2, .portal = {.host = "192.0.2.2", .port = 3260}, .address = ""}};
    place.record->end(
        {{.name = "vol0", .iqn = kIqn, .lun = 1, .cache = {.cache = {}, .writes_left = true, .left = {elsewhere}}}},
        false);
    place.begin();
    const auto left = place.record->take_left();
    REQUIRE(left.size() == 1);
    REQUIRE(left[0].cache.left.size() == 1);
    CHECK(left[0].cache.left[0].group.tag == 2);
  }
}

TEST_CASE("crash record: numbers that cannot be are no reason to trust the rest") {
  Place place;
  LunRecord* const lun = place.record->take(kIqn, 1, "vol0");
  lun->cache.flushed = 9;
  lun->seen_at = kNow + 1;
  lun->put_unit({.designator = "naa.6001405", .serial = ""}, {.login_is_silent = true, .reset_is_silent = true});
  lun->unit.designator.bytes[3] = 'x';
  lun->put_place(0, {.tag = 3, .portal = {.host = "192.0.2.1", .port = 3260}, .address = ""});
  lun->places[0].port[0] ^= 1;
  lun->put_place(1, {.tag = {}, .portal = {.host = "192.0.2.2", .port = 3260}, .address = ""});
  set_client(*lun, 0, "f00d", LunRecord::Standing::told);
  lun->clients[0].token_length = 255;
  lun->clients[1].standing = static_cast<LunRecord::Standing>(77);
  place.begin();
  const auto left = place.record->take_left();
  REQUIRE(left.size() == 1);
  const auto& cache = left[0].cache;
  CHECK(cache.cache.possible());
  CHECK(cache.cache.unflushed() == 1);
  CHECK(cache.cache.debts == 1);
  CHECK(cache.seen_at == 0);
  CHECK_FALSE(cache.disk.known());
  CHECK_FALSE(cache.power_on.login_is_silent);
  REQUIRE(cache.left.size() == 1);
  CHECK(cache.left[0].group.portal.host == "192.0.2.2");
  CHECK_FALSE(cache.left[0].group.tag.has_value());
  REQUIRE(cache.absent.size() == 1);
  CHECK(cache.absent[0].token.size() == proto::nbd::kMaxClientToken);
  CHECK(cache.absent[0].owed);
}

TEST_CASE("crash record: who was owed a failing FLUSH and has no name leaves a debt") {
  Place place;
  LunRecord* const lun = place.record->take(kIqn, 1, "vol0");
  lun->cache.acknowledged = 1;
  SUBCASE("three") {
    lun->owed_unnamed = 3;
    place.begin();
    CHECK(place.record->take_left().at(0).cache.cache.debts == 3);
  }
  SUBCASE("more than can be") {
    lun->owed_unnamed = 0xffffffff;
    place.begin();
    CHECK(place.record->take_left().at(0).cache.cache.debts == bridge::kMaxDebtsLeft);
  }
}

TEST_CASE("crash record: whatever bytes are in it, what comes out can be") {
  Place place;
  place.record->take(kIqn, 1, "vol0")->cache.acknowledged = 2;
  set_client(*place.record->take(kIqn, 2, "vol1"), 0, "f00d", LunRecord::Standing::owed);
  const std::string good = place.content();
  std::mt19937_64 random = test::seeded_random();
  for (int round = 0; round < 300; ++round) {
    std::string bad = good;
    for (std::uint64_t i = random() % 2000; i > 0; --i) bad[random() % bad.size()] = static_cast<char>(random());
    if (random() % 4 == 0) bad.resize(random() % bad.size());
    place.record.reset();
    place.overwrite(bad);
    place.begin();
    for (const shard::ExportLegacy& legacy : place.record->take_left()) {
      CHECK(legacy.cache.cache.possible());
      CHECK(legacy.cache.seen_at <= kNow);
      CHECK(legacy.cache.absent.size() <= LunRecord::kClients);
    }
    REQUIRE(place.record->take(kIqn, 3, "vol2") != nullptr);
  }
}

TEST_CASE("crash record: a file that is none is begun anew, and one process has it") {
  Place place;
  CHECK_THROWS_WITH_AS(CrashRecord(place.folder, kNow), doctest::Contains("give each its own state_dir"),
                       std::runtime_error);
  place.record->take(kIqn, 1, "vol0");
  place.record.reset();
  place.overwrite("no record");
  place.begin();
  CHECK_FALSE(place.record->before_died());
  CHECK(place.record->take_left().empty());
}

TEST_CASE("crash record: what others could have written, or written to, is none") {
  Place place;
  place.record.reset();
  const auto refused = [&](const char* why) {
    CHECK_THROWS_WITH_AS(CrashRecord(place.folder, kNow), doctest::Contains(why), std::runtime_error);
  };
  SUBCASE("by its mode") {
    REQUIRE(::chmod(place.file().c_str(), 0660) == 0);
    refused("may be written by other users");
  }
  SUBCASE("a link") {
    std::filesystem::rename(place.file(), place.folder / "other");
    std::filesystem::create_symlink(place.folder / "other", place.file());
    refused("record");
  }
  SUBCASE("a pipe") {
    std::filesystem::remove(place.file());
    REQUIRE(::mkfifo(place.file().c_str(), 0600) == 0);
    refused("is no file");
  }
  SUBCASE("a folder that cannot be") {
    std::filesystem::remove(place.file());
    std::filesystem::create_directory(place.file());
    refused("record");
  }
}

TEST_CASE("crash record: there are places for so many, which take no room before that, and names of some length") {
  Place place;
  const auto empty = std::filesystem::file_size(place.file());
  CHECK(empty < 1024);
  CHECK(place.record->take(kIqn, 1, std::string(4096, 'n')) == nullptr);
  for (std::size_t i = 0; i < CrashRecord::kLuns; ++i) REQUIRE(place.record->take(kIqn, i, "vol") != nullptr);
  CHECK(place.record->take(kIqn, 1, "more") == nullptr);
  place.record->give_back(kIqn, 7, "vol");
  place.record->settle();
  CHECK(place.record->take(kIqn, 1, "more") != nullptr);
}
