#include "proto/bytes/iovecs.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include <doctest/doctest.h>

#include "../random.hpp"

using nbdgw::proto::copy_in;
using nbdgw::proto::copy_out;
using nbdgw::proto::slice;
using nbdgw::proto::total_length;

TEST_CASE("scatter lists: slices and copies are those of the flat bytes") {
  auto random = nbdgw::test::seeded_random();
  for (int round = 0; round < 2000; ++round) {
    std::vector<std::uint8_t> flat(1 + random() % 300);
    for (std::uint8_t& byte : flat) byte = static_cast<std::uint8_t>(random());
    std::vector<iovec> list;
    for (std::size_t at = 0; at < flat.size();) {
      const std::size_t n = std::min<std::size_t>(random() % 40, flat.size() - at);  // empty entries, too
      list.push_back({flat.data() + at, n});
      at += n;
    }
    REQUIRE(total_length(list) == flat.size());

    const std::size_t offset = random() % (flat.size() + 1);
    const std::size_t length = random() % (flat.size() - offset + 1);
    std::vector<std::uint8_t> out(length);
    copy_out(list, offset, out.data(), length);
    CHECK(std::equal(out.begin(), out.end(), flat.begin() + static_cast<std::ptrdiff_t>(offset)));

    std::vector<iovec> pieces(1 + random() % 12);
    std::size_t covered = 0;
    const std::size_t n = slice(list, offset, length, pieces, &covered);
    REQUIRE(n <= pieces.size());
    std::size_t sum = 0;
    for (std::size_t i = 0; i < n; ++i) {
      CHECK(pieces[i].iov_base == flat.data() + offset + sum);
      sum += pieces[i].iov_len;
    }
    CHECK(sum == covered);
    CHECK(covered <= length);
    if (covered < length) CHECK(n == pieces.size());  // only for want of entries

    for (std::uint8_t& byte : out) byte = static_cast<std::uint8_t>(random());
    std::vector<std::uint8_t> expected = flat;
    std::copy(out.begin(), out.end(), expected.begin() + static_cast<std::ptrdiff_t>(offset));
    copy_in(list, offset, out.data(), length);
    CHECK(flat == expected);
  }
}
