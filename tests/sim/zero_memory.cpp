#include "tests/sim/zero_memory.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>
#include <utility>

namespace nbdgw::sim {
namespace {

constexpr std::size_t kLeastRoom = 1 << 20;

/// What was used before, by its room, a power of two; full of zeroes.
std::vector<std::uint8_t*>& spare_memory(std::size_t room) {
  static std::vector<std::uint8_t*> all[64];
  return all[std::countr_zero(room)];
}

std::uint8_t* take_memory(std::size_t room) {
  auto& spares = spare_memory(room);
  if (!spares.empty()) {
    std::uint8_t* const memory = spares.back();
    spares.pop_back();
    return memory;
  }
  // The system has zeroes, and gives them away only when they are touched. (This is not the mmap() that the gateway's
  // arena comes from: rubbish.cpp.)
  void* const memory =
      ::mmap64(nullptr, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  ::madvise(memory, room, MADV_HUGEPAGE);
  return static_cast<std::uint8_t*>(memory);
}

}  // namespace

void ZeroMemory::resize(std::size_t size) {
  if (size > room_) {
    const std::size_t room = std::bit_ceil(std::max(size, kLeastRoom));
    std::uint8_t* const memory = take_memory(room);
    std::vector<std::uint8_t> written(room / kPart);
    if (size_ > 0) {
      std::memcpy(memory, memory_, size_);
      std::copy(written_.begin(), written_.end(), written.begin());
      give_back();
    }
    memory_ = memory;
    room_ = room;
    written_ = std::move(written);
  }
  size_ = size;
}

void ZeroMemory::give_back() noexcept {
  if (memory_ == nullptr) return;
  for (std::size_t part = 0; part < written_.size(); ++part) {
    if (written_[part] != 0) std::memset(memory_ + part * kPart, 0, kPart);
  }
  spare_memory(room_).push_back(std::exchange(memory_, nullptr));
  room_ = size_ = 0;
}

}  // namespace nbdgw::sim
