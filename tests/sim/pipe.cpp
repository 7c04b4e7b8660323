#include "tests/sim/pipe.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace nbdgw::sim {
namespace {

/// Buffers that are kept for the next ones: the world moves gigabytes, and the system would have to clear them all.
constexpr std::size_t kSpares = 64;
std::vector<std::vector<std::uint8_t>>& spares() {
  static std::vector<std::vector<std::uint8_t>> buffers;
  return buffers;
}

void give_back(std::vector<std::uint8_t> bytes) {
  if (spares().size() >= kSpares) return;
  bytes.clear();
  spares().push_back(std::move(bytes));
}

}  // namespace

std::vector<std::uint8_t> Pipe::buffer() {
  if (spares().empty()) return {};
  std::vector<std::uint8_t> bytes = std::move(spares().back());
  spares().pop_back();
  return bytes;
}

void Pipe::put(std::vector<std::uint8_t> bytes) {
  if (bytes.empty()) return;
  held_ += bytes.size();
  chunks_.push_back({.bytes = std::move(bytes)});
}

std::size_t Pipe::take(const iovec* buffers, std::size_t count) {
  std::size_t total = 0;
  for (std::size_t i = 0; i < count; ++i) {
    auto* out = static_cast<std::uint8_t*>(buffers[i].iov_base);
    std::size_t wanted = buffers[i].iov_len;
    while (wanted > 0) {
      const auto piece = front();
      if (piece.empty()) return total;
      const std::size_t n = std::min(wanted, piece.size());
      std::memcpy(out, piece.data(), n);
      consume(n);
      out += n;
      wanted -= n;
      total += n;
    }
  }
  return total;
}

std::span<const std::uint8_t> Pipe::front() const noexcept {
  if (arrived_ == 0) return {};
  const Chunk& chunk = chunks_.front();
  return {chunk.bytes.data() + chunk.begin, std::min(arrived_, chunk.bytes.size() - chunk.begin)};
}

void Pipe::consume(std::size_t n) noexcept {
  held_ -= n;
  arrived_ -= n;
  Chunk& chunk = chunks_.front();
  chunk.begin += n;
  if (chunk.begin < chunk.bytes.size()) return;
  give_back(std::move(chunk.bytes));
  chunks_.pop_front();
}

void Pipe::cut() noexcept {
  std::size_t keep = arrived_;
  std::size_t whole = 0;
  for (; whole < chunks_.size() && keep > 0; ++whole) {
    Chunk& chunk = chunks_[whole];
    const std::size_t left = chunk.bytes.size() - chunk.begin;
    if (left > keep) chunk.bytes.resize(chunk.begin + keep);
    keep -= std::min(left, keep);
  }
  chunks_.resize(whole);
  held_ = arrived_;
}

void Pipe::clear() noexcept {
  chunks_.clear();
  held_ = arrived_ = 0;
}

}  // namespace nbdgw::sim
