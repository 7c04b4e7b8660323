#include "gateway/shard/disk_register.hpp"

#include <doctest/doctest.h>

#include "gateway/bridge/export.hpp"

namespace bridge = nbdgw::bridge;
using nbdgw::proto::DiskIdentity;
using nbdgw::shard::DiskRegister;
using nbdgw::shard::ShardDisks;

namespace {

struct NoTransport final : nbdgw::initiator::CommandTransport {
  void queuecommand(nbdgw::initiator::ScsiCommand&, nbdgw::proto::Micros) override { FAIL("nothing is sent"); }
};

struct Exports {
  bridge::ExportConfig named(const char* name) {
    bridge::ExportConfig config;
    config.name = name;
    config.requests = 1;
    config.max_payload = 65536;
    return config;
  }
  std::vector<std::byte> memory = std::vector<std::byte>(4 << 20);
  nbdgw::proto::BufferPool pool{memory};
  bridge::Shares shares{pool, 0, bridge::memory_for(65536)};
  NoTransport transport;
  bridge::Export a{named("a"), shares, transport}, b{named("b"), shares, transport}, c{named("c"), shares, transport};
};

}  // namespace

TEST_CASE("disk register: one shard shares, two are told") {
  Exports exports;
  DiskRegister all;
  ShardDisks first(all, 0), second(all, 1);
  const DiskIdentity disk{"naa.6001405a", "1"};
  CHECK(first.enter(exports.a, disk).disk == nullptr);
  const auto b = first.enter(exports.b, disk);
  CHECK(b.disk == exports.a.disk());
  CHECK(b.together == "a");
  CHECK(b.apart.empty());
  const auto c = second.enter(exports.c, disk);
  CHECK(c.disk == nullptr);
  CHECK(c.apart == "a, b");
  CHECK(first.enter(exports.b, disk).apart == "c");  // asked again, after another probe
  second.leave(exports.c);
  CHECK(first.enter(exports.b, disk).apart.empty());
  CHECK(first.enter(exports.b, {"naa.6001405b", "1"}).together.empty());  // it has become another one
  CHECK(first.enter(exports.a, disk).together.empty());
}

TEST_CASE("disk register: what different disks may have is never shared") {
  for (const DiskIdentity& disk : {DiskIdentity{"", "0001"}, DiskIdentity{"t10.IET     00010001", "beaf11"},
                                   DiskIdentity{"naa.3000000100000001", "first"}}) {
    Exports exports;
    DiskRegister all;
    ShardDisks shard(all, 0);
    shard.enter(exports.a, disk);
    const auto b = shard.enter(exports.b, disk);
    CHECK(b.disk == nullptr);
    CHECK(b.apart == "a");
  }
}
