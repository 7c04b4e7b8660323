// Random bytes, and valid dialogues with bytes changed, left out, put in and cut: the engine must neither crash nor
// keep anything, and always either goes on or wants to be closed.

#include <doctest/doctest.h>

#include "tests/unit/nbd/rig.hpp"
#include "tests/unit/nbd/wire.hpp"
#include "tests/unit/random.hpp"

using namespace nbdgw;
using namespace nbdgw::test;

namespace {

void mutate(std::string& bytes, std::mt19937_64& random) {
  for (auto n = random() % 4 + 1; n > 0 && !bytes.empty(); --n) {
    const std::size_t at = random() % bytes.size();
    switch (random() % 5) {
      case 0:
        bytes[at] = static_cast<char>(random());
        break;
      case 1:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
        break;
      case 2:
        bytes.erase(at, random() % 8);
        break;
      case 3:
        bytes.insert(at, std::string(random() % 40, static_cast<char>(random())));
        break;
      default:
        bytes += bytes.substr(at, random() % 200);
        break;
    }
  }
}

void survive(const std::string& bytes, std::mt19937_64& random) {
  Rig rig;
  const std::size_t piece = random() % 3 == 0 ? Rig::kAll : 1 + random() % 50;
  const std::size_t taken = rig.feed(bytes, piece);
  // It reads on until it closes, or until a mutated length asks for more than the backend's whole memory.
  if (taken < bytes.size() && !rig.connection.stalled()) {
    CHECK(rig.connection.close_reason() != nbd::CloseReason::none);
  }
  if (rig.connection.close_reason() != nbd::CloseReason::none) CHECK(rig.connection.wants_close());
  if (random() % 4 == 0) rig.connection.begin_drain(rig.now);
  rig.serve();
}

}  // namespace

TEST_CASE("garbage: random bytes") {
  std::mt19937_64 random = seeded_random();
  for (int round = 0; round < 2000; ++round) {
    std::string bytes(random() % 600, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    switch (random() % 4) {  // get past the first checks, more often than not
      case 0:
        break;
      case 1:
        bytes = client_flags() + bytes;
        break;
      case 2:
        bytes = client_flags() + option(static_cast<std::uint32_t>(random() % 13), bytes) + bytes;
        break;
      default:
        bytes = attach(random() % 2 == 0) + be32(0x25609513) + bytes;
        break;
    }
    survive(bytes, random);
  }
}

TEST_CASE("garbage: valid dialogues, mutated") {
  std::mt19937_64 random = seeded_random();
  for (int round = 0; round < 4000; ++round) {
    std::string bytes = client_flags(random() % 8 == 0 ? 1 : 3);
    if (random() % 2 == 0) bytes += option(8);
    if (random() % 2 == 0) bytes += option(3) + opt_info("vol0", {0, 1, 2, 3});
    if (random() % 4 == 0) bytes += option(10, be32(4) + "vol0" + be32(1) + be32(15) + "base:allocation");
    bytes += random() % 3 == 0 ? option(1, "vol0") : opt_go("vol0", {3});
    for (auto n = random() % 12; n > 0; --n) {
      const auto command = static_cast<std::uint16_t>(random() % 10);
      const auto length = static_cast<std::uint32_t>(random() % 3000);
      bytes += request(command, random() % 4 == 0 ? kFua : 0, random(), random() % (1 << 20), length);
      if (command == kWrite) bytes += std::string(length, 'w');
    }
    mutate(bytes, random);
    survive(bytes, random);
  }
}
