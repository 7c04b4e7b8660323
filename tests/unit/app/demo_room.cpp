#include "gateway/app/demo_room.hpp"

#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>

#include <doctest/doctest.h>

#include "gateway/app/demo_data.hpp"

using namespace nbdgw::app;

namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMiB = 1ULL << 20;
constexpr std::uint64_t kGiB = 1ULL << 30;

DemoRoom room(std::uint64_t disk, std::uint64_t memory) {
  return {.folder = "/var/tmp", .disk = disk, .memory = memory, .memory_of = "on this machine"};
}

bool says(const std::string& text, const std::string& what) {
  return text.find(what) != std::string::npos;
}

/// The kernel's files, as a test wants them.
class Kernel {
 public:
  fs::path root() const { return folder_.file("root"); }
  void write(const std::string& path, const std::string& text) const {
    const fs::path file = root() / path;
    fs::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  void group(const std::string& name, const std::string& max, std::uint64_t current, std::uint64_t files = 0) const {
    const std::string path = "sys/fs/cgroup/" + name;
    write(path + "/memory.max", max + "\n");
    write(path + "/memory.high", "max\n");
    write(path + "/memory.current", std::to_string(current) + "\n");
    write(path + "/memory.stat", "anon 4096\ninactive_anon 8192\nactive_anon 0\ninactive_file " +
                                     std::to_string(files / 2) + "\nactive_file " + std::to_string(files / 2) + "\n");
  }
  DemoRoom look() const { return look_for_room(temporary_place(), root()); }

 private:
  TemporaryFolder folder_;
};

}  // namespace

TEST_CASE("demo room: the files that are copied take twice the size, the target's disk once") {
  const std::uint64_t size = 8 * kGiB;
  CHECK(missing_room(size, room(20 * kGiB, 10 * kGiB)).empty());
  CHECK(missing_room(size, {.folder = "/var/tmp", .disk = {}, .memory = {}, .memory_of = {}})
            .empty());  // nobody can tell
  CHECK(says(missing_room(size, room(16 * kGiB, 10 * kGiB)), "  disk: "));
  CHECK_FALSE(says(missing_room(size, room(16 * kGiB, 10 * kGiB)), "  memory: "));
  CHECK(says(missing_room(size, room(20 * kGiB, 8 * kGiB)), "  memory: "));
  CHECK_FALSE(says(missing_room(size, room(20 * kGiB, 8 * kGiB)), "  disk: "));
  DemoRoom in_memory = room(20 * kGiB, 10 * kGiB);
  in_memory.folder_in_memory = true;
  CHECK(says(missing_room(size, in_memory), "  memory: "));
  in_memory.memory = 30 * kGiB;
  CHECK(missing_room(size, in_memory).empty());
}

TEST_CASE("demo room: the default fits a small machine") {
  CHECK(missing_room(256 * kMiB, room(600 * kMiB, 600 * kMiB)).empty());
}

TEST_CASE("demo room: the largest sizes overflow nothing") {
  for (const std::uint64_t size : {1ULL << 50, 1ULL << 60, 1ULL << 62, 1ULL << 63, ~0ULL - 511}) {
    CAPTURE(size);
    CHECK_FALSE(missing_room(size, room(100 * kGiB, ~0ULL)).empty());
    CHECK_FALSE(missing_room(size, room(~0ULL, 100 * kGiB)).empty());
    DemoRoom in_memory = room(~0ULL, 100 * kGiB);
    in_memory.folder_in_memory = true;
    CHECK_FALSE(missing_room(size, in_memory).empty());
  }
}

TEST_CASE("demo room: what is said names needs, places and what can be done") {
  const std::string both = missing_room(1024 * kGiB, room(80 * kGiB, 20 * kGiB));
  CHECK(both ==
        "--size 1TiB needs more than there is; nothing was started\n"
        "  memory: 1.0 TiB for the target's disk and buffers, but 20.0 GiB available on this machine\n"
        "  disk: 2.1 TiB for what is copied in and out, but 80.0 GiB available in /var/tmp\n"
        "There is room for --size 19611MiB. What is copied can be kept elsewhere: TMPDIR=FOLDER nbdgw demo ...");
  // Another folder does not help where only memory is short.
  CHECK_FALSE(says(missing_room(kGiB, room(80 * kGiB, kGiB)), "TMPDIR"));
  DemoRoom in_memory = room(80 * kGiB, 2 * kGiB);
  in_memory.folder_in_memory = true;
  CHECK(says(missing_room(kGiB, in_memory), "(/var/tmp is in memory)"));
  CHECK(says(missing_room(kGiB, in_memory), "TMPDIR=FOLDER"));
  CHECK(says(missing_room(kMiB, room(kGiB, 10 * kMiB)), "Not even --size 1MiB has room"));
}

TEST_CASE("demo room: the size that is recommended fits, and nothing larger does") {
  for (const bool in_memory : {false, true}) {
    for (const std::uint64_t disk : {100 * kMiB, 5 * kGiB, 300 * kGiB}) {
      for (const std::uint64_t memory : {400 * kMiB, 7 * kGiB, 500 * kGiB}) {
        DemoRoom there = room(disk, memory);
        there.folder_in_memory = in_memory;
        const std::string text = missing_room(1024 * kGiB, there);
        const std::size_t at = text.find("room for --size ");
        REQUIRE(at != std::string::npos);
        const std::uint64_t mib = std::stoull(text.substr(at + 16)) * (says(text.substr(at), "GiB.") ? 1024 : 1);
        CAPTURE(text);
        CHECK(missing_room(mib * kMiB, there).empty());
        CHECK_FALSE(missing_room((mib + 1) * kMiB, there).empty());
      }
    }
  }
}

TEST_CASE("demo room: the memory of the machine, or of the tightest of its groups") {
  const Kernel kernel;
  CHECK_FALSE(kernel.look().memory);
  kernel.write("proc/meminfo", "MemTotal:       24000000 kB\nMemFree:        1000 kB\nMemAvailable:   8388608 kB\n");
  CHECK(kernel.look().memory == 8 * kGiB);
  CHECK(kernel.look().memory_of == "on this machine");

  // Without a limit, and with one that leaves more.
  kernel.write("proc/self/cgroup", "1:name=systemd:/x\n0::/system.slice/demo.service\n");
  kernel.group("system.slice/demo.service", "max", kGiB);
  kernel.group("system.slice", std::to_string(16 * kGiB), kGiB);
  CHECK(kernel.look().memory == 8 * kGiB);

  // A limit of the group, of which pages of files can be had back, and one further up.
  kernel.group("system.slice/demo.service", std::to_string(5 * kGiB), 3 * kGiB, 2 * kGiB);
  CHECK(kernel.look().memory == 4 * kGiB);
  CHECK(kernel.look().memory_of ==
        "within " + (kernel.root() / "sys/fs/cgroup/system.slice/demo.service/memory.max").string());
  kernel.group("system.slice", std::to_string(4 * kGiB), 3 * kGiB);
  CHECK(kernel.look().memory == kGiB);
  kernel.write("sys/fs/cgroup/system.slice/memory.high", std::to_string(2 * kGiB) + "\n");
  CHECK(kernel.look().memory == 0);  // more is in use than shall be
  CHECK(kernel.look().memory_of.ends_with("/system.slice/memory.high"));
}

TEST_CASE("demo room: in a container the group is where the mount begins") {
  const Kernel kernel;
  kernel.write("proc/meminfo", "MemAvailable:   8388608 kB\n");
  kernel.group("", std::to_string(2 * kGiB), kGiB);
  for (const char* group : {"0::/\n", "0::/kubepods/pod1/c1\n", "0::/../elsewhere\n"}) {
    kernel.write("proc/self/cgroup", group);
    CHECK(kernel.look().memory == kGiB);
  }
}

TEST_CASE("demo room: the folder's own disk is what counts") {
  const std::string place = temporary_place();
  const fs::space_info space = fs::space(place);
  const DemoRoom found = look_for_room(place);
  CHECK(found.folder == place);
  REQUIRE(found.disk);
  CHECK(*found.disk > space.available / 2);  // others write meanwhile
  CHECK(*found.disk <= space.capacity);
  CHECK(found.memory);
  CHECK_THROWS_AS(look_for_room("/nowhere/at/all"), std::system_error);
  if (fs::is_directory("/dev/shm")) CHECK(look_for_room("/dev/shm").folder_in_memory);
}
