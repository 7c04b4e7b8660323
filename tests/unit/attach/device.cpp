#include <doctest/doctest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "gateway/attach/block_device.hpp"
#include "gateway/attach/keeper.hpp"
#include "gateway/attach/link_watch.hpp"
#include "gateway/attach/record.hpp"

using namespace nbdgw;
using namespace nbdgw::attach;

namespace {

struct Folder {
  std::filesystem::path path;
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "nbdgw-attach-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path = name;
  }
  ~Folder() { std::filesystem::remove_all(path); }

  void put(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories((path / name).parent_path());
    std::ofstream(path / name) << text;
  }
  std::string get(const std::string& name) const {
    std::ifstream file(path / name);
    return {std::istreambuf_iterator<char>(file), {}};
  }
};

}  // namespace

TEST_CASE("attach device: names") {
  CHECK(BlockDevice::parse("nbd0") == 0u);
  CHECK(BlockDevice::parse("/dev/nbd17") == 17u);
  for (const char* wrong :
       {"", "nbd", "/dev/", "/dev/sda", "nbd-1", "nbd0p1", "nbd99999999999999999999", "nbd1048576"})
    CHECK(!BlockDevice::parse(wrong));
}

TEST_CASE("attach device: what sysfs says, and what is said to it") {
  const Folder sys;
  sys.put("block/nbd0/size", "0\n");
  sys.put("block/nbd1/size", "2048\n");
  sys.put("block/nbd1/pid", "17\n");
  sys.put("block/nbd1/backend", "nbdgw:vol0:naa.1\n");
  sys.put("block/nbd1/queue/io_timeout", "30000\n");
  sys.put("block/nbd10/size", "0\n");
  sys.put("block/sda/size", "1\n");
  CHECK(BlockDevice::all(sys.path) == std::vector<std::uint32_t>{0, 1, 10});
  const BlockDevice free(0, sys.path), used(1, sys.path), absent(2, sys.path);
  CHECK(free.exists());
  CHECK(!free.in_use());
  CHECK(used.in_use());
  CHECK(used.size() == 1 << 20);
  CHECK(used.identity() == "nbdgw:vol0:naa.1");
  CHECK(used.set_io_timeout_ms(5000));
  CHECK(sys.get("block/nbd1/queue/io_timeout") == "5000");
  CHECK(!absent.exists());
  CHECK(!absent.in_use());
  CHECK(absent.identity().empty());
  CHECK(!absent.set_io_timeout_ms(1));
}

TEST_CASE("attach device: what the kernel calls it says which export it is") {
  const Record record{.exported = "a:b", .token = "t", .held = {.identity = "naa.1"}};
  CHECK(kernel_identity(record) == "nbdgw:a:b:naa.1");
  CHECK(export_of(kernel_identity(record)) == "a:b");
  CHECK(export_of("") == "");
  CHECK(export_of("somebody else's") == "");
}

TEST_CASE("attach record: kept, locked by one, and nonsense is none") {
  const Folder folder;
  const Record record{.exported = "vol \"0\"",
                      .token = "f00d",
                      .held = {.size = ~std::uint64_t{0}, .flags = 0xffff, .block = 4096, .identity = "naa.1"}};
  RecordFile first(folder.path / "new", "nbd0");
  CHECK(!first.read());
  CHECK(first.keeper() == 0);
  CHECK(first.lock());
  first.write(record);
  RecordFile second(folder.path / "new", "nbd0");
  CHECK(!second.lock());
  CHECK(second.keeper() == ::getpid());
  const auto read = second.read();
  REQUIRE(read);
  CHECK(read->exported == record.exported);
  CHECK(read->token == record.token);
  CHECK(read->held.size == record.held.size);
  CHECK(read->held.flags == record.held.flags);
  CHECK(read->held.block == record.held.block);
  CHECK(read->held.identity == record.held.identity);
  first.clear();
  CHECK(!second.read());
  for (const char* text :
       {"{", "[]", "{\"version\":2}", "{\"version\":1,\"export\":7}",
        "{\"version\":1,\"export\":\"a\",\"token\":\"b\",\"identity\":\"\",\"size\":-1,\"flags\":0,\"block\":1}"}) {
    folder.put("new/nbd0", text);
    CHECK(!RecordFile(folder.path / "new", "nbd0").read());
  }
}

TEST_CASE("attach link watch: data wakes nobody, death does") {
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  net::UniqueFd peer(ends[1]);
  LinkWatch watch{net::UniqueFd(ends[0])};
  const auto readable = [&watch] {
    pollfd entry{.fd = watch.descriptor(), .events = POLLIN, .revents = 0};
    return ::poll(&entry, 1, 0) > 0;
  };
  CHECK(!watch.dead());
  REQUIRE(::write(peer.get(), "x", 1) == 1);
  CHECK(!readable());
  CHECK(!watch.dead());
  SUBCASE("of the peer") {
    peer.reset();
  }
  SUBCASE("by our own hand") {
    watch.shut_down();
  }
  CHECK(readable());
  CHECK(watch.dead());
  CHECK(!LinkWatch().is_there());
}
