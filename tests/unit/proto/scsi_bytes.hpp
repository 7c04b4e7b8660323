#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include <doctest/doctest.h>

#include "tests/unit/random.hpp"

/// Helpers of the SCSI format tests.
namespace scsi_test {

using Bytes = std::vector<std::uint8_t>;

/// Gives `parse` every beginning of `data`, each in memory of exactly that size, so that the address sanitizer sees
/// the first byte read beyond it.
template <typename Parse>
void every_length(std::span<const std::uint8_t> data, const Parse& parse) {
  for (std::size_t length = 0; length <= data.size(); ++length) {
    const auto exact = std::make_unique<std::uint8_t[]>(length);
    std::copy_n(data.begin(), length, exact.get());
    parse(std::span<const std::uint8_t>(exact.get(), length));
  }
}

/// The same with random bytes; the first ones are often taken from `likely`, so that the parser gets past its checks.
template <typename Parse>
void garbage(std::span<const std::uint8_t> likely, std::size_t longest, const Parse& parse) {
  std::mt19937_64 random = nbdgw::test::seeded_random();
  for (int round = 0; round < 4000; ++round) {
    const std::size_t length = random() % (longest + 1);
    const auto exact = std::make_unique<std::uint8_t[]>(length);
    for (std::size_t i = 0; i < length; ++i) {
      exact[i] = i < likely.size() && random() % 4 != 0 ? likely[i] : static_cast<std::uint8_t>(random());
    }
    parse(std::span<const std::uint8_t>(exact.get(), length));
  }
}

}  // namespace scsi_test
