#include "tests/sim/pipe.hpp"

#include <algorithm>
#include <utility>
#include <vector>

namespace nbdgw::sim {
namespace {

/// Rows that are kept for the next ones: they keep their memory.
constexpr std::size_t kSpares = 1024;
constexpr std::size_t kLargestSpare = 1 << 20;
std::vector<Row>& spares() {
  static std::vector<Row> rows;
  return rows;
}

void give_back(Row row) {
  if (spares().size() < kSpares && row.room() <= kLargestSpare) spares().push_back(std::move(row));
}

Row take_spare() {
  if (spares().empty()) return {};
  Row row = std::move(spares().back());
  spares().pop_back();
  return row;
}

}  // namespace

void Pipe::add_chunk(std::size_t kept, std::size_t phase) {
  Chunk& chunk = chunks_.emplace_back(Chunk{.row = take_spare(), .begin = 0, .is_further = open_});
  chunk.row.restart(kept, kept == kCellBytes ? 0 : phase);
}

void Pipe::put(const Piece& piece, std::size_t kept, std::size_t phase) {
  if (piece.empty()) return;
  const auto fits = [&](const Row& row) {
    return row.kept() == kept && (kept == kCellBytes || row.phase() == phase);
  };
  if (!open_ || !fits(chunks_.back().row)) add_chunk(kept, phase);
  open_ = true;
  chunks_.back().row.append(piece);
  held_ += piece.size();
}

std::size_t Pipe::take(const iovec* buffers, std::size_t count) {
  return skip(peek(buffers, count));
}

std::size_t Pipe::skip(std::size_t most) noexcept {
  std::size_t total = 0;
  while (total < most && arrived_ > 0) {
    const std::size_t n = std::min(front().size(), most - total);
    consume(n);
    total += n;
  }
  return total;
}

std::size_t Pipe::peek(const iovec* buffers, std::size_t count) const {
  std::size_t total = 0, chunk = 0, done = 0;  // of which chunk, and how much of it
  for (std::size_t i = 0; i < count; ++i) {
    auto* out = static_cast<std::uint8_t*>(buffers[i].iov_base);
    std::size_t wanted = buffers[i].iov_len;
    while (wanted > 0 && total < arrived_) {
      const Piece rest = chunks_[chunk].row.view().subspan(chunks_[chunk].begin + done);
      const std::size_t n = std::min({wanted, rest.size(), arrived_ - total});
      move({out, 0, n, kCellBytes}, rest.first(n));
      out += n;
      wanted -= n;
      total += n;
      done += n;
      if (n == rest.size()) ++chunk, done = 0;
    }
  }
  return total;
}

Piece Pipe::front() const noexcept {
  if (arrived_ == 0) return {};
  const Chunk& chunk = chunks_.front();
  const Piece rest = chunk.row.view().subspan(chunk.begin);
  return rest.first(std::min(arrived_, rest.size()));
}

bool Pipe::front_goes_on() const noexcept {
  const Chunk& chunk = chunks_.front();
  return arrived_ > chunk.row.size() - chunk.begin && chunks_.size() > 1 && chunks_[1].is_further;
}

void Pipe::consume(std::size_t n) noexcept {
  held_ -= n;
  arrived_ -= n;
  Chunk& chunk = chunks_.front();
  chunk.begin += n;
  if (chunk.begin < chunk.row.size()) return;
  give_back(std::move(chunk.row));
  chunks_.pop_front();
}

void Pipe::cut() noexcept {
  std::size_t keep = arrived_;
  std::size_t whole = 0;
  for (; whole < chunks_.size() && keep > 0; ++whole) {
    Chunk& chunk = chunks_[whole];
    const std::size_t left = chunk.row.size() - chunk.begin;
    if (left > keep) chunk.row.shorten(chunk.begin + keep);
    keep -= std::min(left, keep);
  }
  while (chunks_.size() > whole) chunks_.pop_back();
  held_ = arrived_;
}

void Pipe::clear() noexcept {
  chunks_.clear();
  held_ = arrived_ = 0;
}

}  // namespace nbdgw::sim
