#include "gateway/app/lun_spec.hpp"

#include <doctest/doctest.h>

using nbdgw::app::LunSpec;
using nbdgw::app::parse_lun_spec;

namespace {

LunSpec good(std::string_view text) {
  LunSpec spec;
  CHECK(parse_lun_spec(text, spec) == "");
  return spec;
}

std::string wrong(std::string_view text) {
  LunSpec spec;
  return parse_lun_spec(text, spec);
}

}  // namespace

TEST_CASE("logical units on the command line") {
  using Kind = LunSpec::Kind;
  CHECK(good("memory:size=1GiB") == LunSpec{Kind::memory, "", 1ULL << 30, 512, false, false});
  CHECK(good("memory:block=4096,size=4096,read_only") == LunSpec{Kind::memory, "", 4096, 4096, true, false});
  CHECK(good("memory:size=1MiB,write_through") == LunSpec{Kind::memory, "", 1 << 20, 512, false, true});
  CHECK(good("file:/var/tmp/a:b.img") == LunSpec{Kind::file, "/var/tmp/a:b.img", 0, 512, false, false});
  CHECK(good("file:disk.img,size=1MiB") == LunSpec{Kind::file, "disk.img", 1 << 20, 512, false, false});
}

TEST_CASE("logical units on the command line: what is wrong") {
  CHECK(wrong("") == "expected memory:size=SIZE or file:PATH[,size=SIZE]");
  CHECK(wrong("memory") == "expected memory:size=SIZE or file:PATH[,size=SIZE]");
  CHECK(wrong("disk:size=1GiB") == "expected memory:size=SIZE or file:PATH[,size=SIZE]");
  CHECK(wrong("memory:") == "the size is missing; write for example memory:size=1GiB");
  CHECK(wrong("memory:1GiB") ==
        "\"1GiB\" is unknown; size=SIZE, block=512|4096, read_only and write_through are there");
  CHECK(wrong("memory:size=1GB") == "\"1GB\" is no size; write for example size=1GiB");
  CHECK(wrong("memory:size=0") == "\"0\" is no size; write for example size=1GiB");
  CHECK(wrong("memory:size") == "\"\" is no size; write for example size=1GiB");
  CHECK(wrong("memory:size=2048TiB") == "\"2048TiB\" is no size; write for example size=1GiB");
  CHECK(wrong("memory:size=1000") == "the size is no multiple of the block (512 bytes)");
  CHECK(wrong("memory:size=512,block=4096") == "the size is no multiple of the block (4096 bytes)");
  CHECK(wrong("memory:size=1GiB,block=1024") == "\"1024\": a block has 512 or 4096 bytes");
  CHECK(wrong("memory:size=1GiB,size=2GiB") == "\"size=2GiB\": given twice");
  CHECK(wrong("memory:size=1GiB,,read_only") ==
        "\"\" is unknown; size=SIZE, block=512|4096, read_only and write_through are there");
  CHECK(wrong("memory:size=1GiB,read_only=yes") ==
        "\"read_only=yes\" is unknown; size=SIZE, block=512|4096, read_only and write_through are there");
  CHECK(wrong("file:,size=1GiB") == "the path is missing; write for example file:/var/tmp/disk.img,size=1GiB");
}
