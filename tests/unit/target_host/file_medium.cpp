#include "gateway/target_host/file_medium.hpp"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include <doctest/doctest.h>

#include "gateway/target_host/server.hpp"
#include "tests/unit/random.hpp"

using nbdgw::iscsi_target::MediumResult;
using nbdgw::target_host::TargetError;
using nbdgw::target_host::TargetFileMedium;

namespace {

/// A directory of its own, gone with the test.
struct Folder {
  Folder() { REQUIRE(::mkdtemp(path.data()) != nullptr); }
  ~Folder() {
    ::unlink(file().c_str());
    ::rmdir(path.c_str());
  }
  std::string file() const { return path + "/disk"; }
  std::string path = "/tmp/nbdgw-test-XXXXXX";
};

std::string complaint(const std::string& path, std::uint64_t size, bool read_only = false) {
  try {
    TargetFileMedium medium(path, size, read_only);
  } catch (const TargetError& e) {
    return e.what();
  }
  return "";
}

}  // namespace

TEST_CASE("file medium: made, grown, locked, and what is wrong is said") {
  Folder folder;
  CHECK(complaint(folder.file(), 0).find("give a size") != std::string::npos);
  CHECK(complaint(folder.path, 4096) != "");
  {
    TargetFileMedium medium(folder.file(), 8192, false);
    CHECK(medium.size() == 8192);
    CHECK(complaint(folder.file(), 8192).find("locked") != std::string::npos);
  }
  CHECK(TargetFileMedium(folder.file(), 16384, false).size() == 16384);
  CHECK(TargetFileMedium(folder.file(), 0, true).size() == 16384);
  CHECK(TargetFileMedium(folder.file(), 4096, false).size() == 4096);
  CHECK(complaint(folder.file(), 32768, true).find("only 16384 bytes") != std::string::npos);
}

TEST_CASE("file medium: against a flat copy") {
  auto random = nbdgw::test::seeded_random();
  constexpr std::size_t kSize = 1 << 20;
  Folder folder;
  std::vector<std::uint8_t> copy(kSize);
  {
    TargetFileMedium medium(folder.file(), kSize, false);
    CHECK(medium.discard_granularity() >= 512);
    for (int round = 0; round < 500; ++round) {
      const std::size_t offset = random() % kSize;
      const std::size_t length = 1 + random() % std::min<std::size_t>(kSize - offset, 200'000);
      std::vector<std::uint8_t> bytes(length, static_cast<std::uint8_t>(1 + random() % 255));
      // More pieces than one system call takes.
      std::vector<iovec> pieces;
      for (std::size_t at = 0; at < length; at += 1000)
        pieces.push_back({&bytes[at], std::min<std::size_t>(1000, length - at)});
      const auto fill = [&](std::uint8_t value) {
        std::fill_n(copy.begin() + static_cast<long>(offset), length, value);
      };
      switch (random() % 4) {
        case 0:
          CHECK(medium.write(offset, pieces) == MediumResult::ok);
          fill(bytes[0]);
          break;
        case 1:
          CHECK(medium.discard(offset, length) == MediumResult::ok);
          fill(0);
          break;
        case 2:
          CHECK(medium.write_zeroes(offset, length) == MediumResult::ok);
          fill(0);
          break;
        default:
          CHECK(medium.read(offset, pieces) == MediumResult::ok);
          REQUIRE(std::memcmp(bytes.data(), &copy[offset], length) == 0);
          const auto extent = medium.extent(offset, length);
          REQUIRE(extent.length > 0);
          CHECK(extent.length <= length);
          if (!extent.mapped)
            CHECK(std::count(bytes.begin(), bytes.begin() + static_cast<long>(extent.length), 0) ==
                  static_cast<long>(extent.length));
      }
    }
    CHECK(medium.flush() == MediumResult::ok);
    CHECK(medium.discard(0, kSize) == MediumResult::ok);
    CHECK_FALSE(medium.extent(0, kSize).mapped);
    struct stat status {};
    CHECK(::stat(folder.file().c_str(), &status) == 0);
    CHECK(status.st_blocks == 0);
    CHECK(status.st_size == kSize);
  }
}

TEST_CASE("file medium: a file that was cut behind our back is an error, not zeroes") {
  Folder folder;
  TargetFileMedium medium(folder.file(), 8192, false);
  REQUIRE(::truncate(folder.file().c_str(), 4096) == 0);
  std::vector<std::uint8_t> bytes(8192);
  const iovec piece{bytes.data(), bytes.size()};
  CHECK(medium.read(0, {&piece, 1}) == MediumResult::io_error);
}
