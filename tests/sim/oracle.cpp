#include "tests/sim/oracle.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace nbdgw::sim {
namespace {

// The first word of a cell's content: of which write it is, of which disk, and of which cell. The others count up
// from there, which takes six bits.
constexpr int kCellShift = 6;
constexpr std::uint64_t kCellMask = 0xfffff;
constexpr int kDiskShift = 26;
constexpr std::uint64_t kDiskMask = 0x3f;
constexpr int kWriteShift = 32;

std::uint64_t word_at(const std::uint8_t* data) noexcept {
  std::uint64_t word = 0;
  std::memcpy(&word, data, sizeof word);
  return word;
}

bool is_content(const std::uint8_t* data, std::size_t bytes, std::uint64_t base) noexcept {
  const std::uint64_t step = base == 0 ? 0 : 1;
  std::uint64_t differs = 0;
  for (std::size_t i = 0; i < bytes / 8; ++i) differs |= word_at(data + 8 * i) ^ (base + step * i);
  return differs == 0;
}

std::string at(Micros when) {
  return when == proto::kNever ? "never" : std::to_string(when) + " us";
}

}  // namespace

Oracle::Oracle(const Timeline& timeline, std::uint32_t disk, std::uint64_t cells)
    : timeline_(timeline), disk_(disk), cells_(cells), histories_(1) {
  writes_.push_back({.cell = 0, .cells = 0, .kind = {.zeroes = true, .fua = true}, .begin = 0, .end = 0});
  histories_[0].entries.push_back({.write = kInitial});
  histories_[0].cells = cells;
}

std::uint32_t Oracle::copy_of(std::uint32_t history) {
  if (free_.empty()) {
    free_.push_back(static_cast<std::uint32_t>(histories_.size()));
    histories_.emplace_back();
  }
  const std::uint32_t copy = free_.back();
  free_.pop_back();
  histories_[copy].entries = histories_[history].entries;
  histories_[history].step = step_;
  histories_[history].copy = copy;
  return copy;
}

/// To cells that have had the same one.
void Oracle::give(std::uint64_t from, std::uint64_t to, std::uint32_t history) {
  const std::uint32_t old = cells_[from];
  std::fill(cells_.begin() + static_cast<std::ptrdiff_t>(from), cells_.begin() + static_cast<std::ptrdiff_t>(to),
            history);
  histories_[history].cells += to - from;
  histories_[old].cells -= to - from;
  if (histories_[old].cells == 0) free_.push_back(old);
}

template <typename Action>
void Oracle::change(std::uint64_t cell, std::uint64_t cells, Action action) {
  ++step_;
  const std::uint64_t end = cell + cells;
  for (std::uint64_t from = cell, to = cell; from < end; from = to) {
    const std::uint32_t old = cells_[from];
    while (to < end && cells_[to] == old) ++to;
    std::uint32_t changed = old;
    if (histories_[old].step == step_) {
      changed = histories_[old].copy;
    } else {
      if (histories_[old].cells > to - from) changed = copy_of(old);
      action(histories_[changed].entries);
    }
    // Neighbours that have come to the same share it from now on.
    const std::uint32_t before = from > cell ? cells_[from - 1] : changed;
    if (before != changed && histories_[before].entries == histories_[changed].entries) {
      if (changed != old && histories_[changed].cells == 0) {
        free_.push_back(changed);
        histories_[old].copy = before;
      }
      changed = before;
    }
    if (changed != old) give(from, to, changed);
  }
}

std::uint64_t Oracle::base_of(WriteId write, std::uint64_t cell) const noexcept {
  if (write == kInitial) return 0;
  return (std::uint64_t{write} << kWriteShift) | ((disk_ & kDiskMask) << kDiskShift) |
         ((cell & kCellMask) << kCellShift);
}

Oracle::WriteId Oracle::begin_write(std::uint64_t cell, std::uint32_t cells, Kind kind) {
  const auto id = static_cast<WriteId>(writes_.size());
  writes_.push_back({.cell = cell, .cells = cells, .kind = kind, .begin = timeline_.now()});
  change(cell, cells, [this, id](Entries& entries) {
    prune(entries);
    entries.push_back({.write = id});
  });
  return id;
}

void Oracle::end_write(WriteId id, bool good) {
  Write& write = writes_[id];
  const Micros now = timeline_.now();
  write.answered = now;
  write.settle();
  const bool surely_there = write.begin > lost_power_ || (write.kind.fua && write.begin > unheard_);
  if (!good || write.kind.maybe || !surely_there) return;
  change(write.cell, write.cells, [&](Entries& entries) {
    for (Entry& entry : entries) {
      if (entry.gone_at != proto::kNever || writes_[entry.write].end >= write.begin) continue;
      entry.gone_at = now;
      entry.by = id;
    }
    prune(entries);
  });
}

void Oracle::lose_power(bool lasting) {
  lost_power_ = timeline_.now();
  if (!lasting) unheard_ = lost_power_;
  for (History& history : histories_) {
    for (Entry& entry : history.entries) {
      if (entry.gone_at != proto::kNever && !is_durable(entry.by)) entry.gone_at = proto::kNever;
    }
  }
}

Oracle::Loss Oracle::look_at_loss(std::uint64_t number, const std::uint8_t* data) const {
  if (!forgotten_.empty() && forgotten_[number]) return {};
  const auto found = static_cast<WriteId>(word_at(data) >> kWriteShift);
  const Entry* best = nullptr;
  for (const Entry& entry : histories_[cells_[number]].entries) {
    if (content_of(entry.write) == found && (best == nullptr || entry.gone_at > best->gone_at)) best = &entry;
  }
  const auto what = [&] { return "a power loss has left in " + describe(number, found, timeline_.now()); };
  // What was over it was durable long ago, or it was never there.
  if (best == nullptr) return {.wrong = what()};
  if (best->gone_at == proto::kNever) return {};
  if (is_durable(best->by)) return {.wrong = what() + ", and write " + std::to_string(best->by) + " was durable"};
  return {.begun = writes_[best->by].begin};
}

void Oracle::forget(std::uint64_t cell, std::uint64_t cells) {
  forgotten_.resize(cells_.size());
  const std::uint64_t end = std::min<std::uint64_t>(cell + cells, cells_.size());
  for (std::uint64_t i = cell; i < end; ++i) forgotten_[i] = true;
}

/// What no read can return any more.
void Oracle::prune(Entries& entries) noexcept {
  const Micros oldest = reads_.empty() ? proto::kNever - 1 : reads_.begin()->first;
  std::erase_if(entries,
                [this, oldest](const Entry& entry) { return entry.gone_at <= oldest && is_durable(entry.by); });
}

std::string Oracle::end_read(Micros begun, std::uint64_t cell, std::span<const std::uint8_t> data) {
  std::string wrong = wrong_cells(cell, begun, data);
  const auto found = reads_.find(begun);
  if (--found->second == 0) reads_.erase(found);
  return wrong;
}

std::string Oracle::wrong_cells(std::uint64_t cell, Micros begun, std::span<const std::uint8_t> data) const {
  const std::size_t kept = kept_of_payload();
  const std::uint64_t end = cell + data.size() / kept;
  const std::uint8_t* at = data.data();
  // What a history allows it allows in each cell that has it.
  std::uint32_t history = ~0U;
  WriteId allowed = kInitial;
  for (std::uint64_t number = cell; number < end; ++number, at += kept) {
    const auto found = static_cast<WriteId>(word_at(at) >> kWriteShift);
    if (cells_[number] == history && found == allowed && is_content(at, kept, base_of(found, number))) continue;
    std::string wrong = wrong_cell(number, begun, at);
    if (!wrong.empty()) return wrong;
    if (!forgotten_.empty()) continue;
    history = cells_[number];
    allowed = found;
  }
  return {};
}

std::string Oracle::look_at_zeroes(std::uint64_t cell, std::uint64_t cells) const {
  static constexpr std::array<std::uint8_t, kCell> kZeroes{};
  std::uint32_t history = ~0U;
  for (std::uint64_t number = cell; number < cell + cells; ++number) {
    if (cells_[number] == history) continue;
    std::string wrong = wrong_cell(number, timeline_.now(), kZeroes.data());
    if (!wrong.empty()) return wrong;
    if (forgotten_.empty()) history = cells_[number];
  }
  return {};
}

std::string Oracle::wrong_cell(std::uint64_t number, Micros begun, const std::uint8_t* data) const {
  if (!forgotten_.empty() && forgotten_[number]) return {};
  const std::uint64_t first = word_at(data);
  const auto found = static_cast<WriteId>(first >> kWriteShift);
  if (!is_content(data, kept_of_payload(), base_of(found, number))) {
    return "cell " + std::to_string(number) + " of disk " + std::to_string(disk_) +
           " holds bytes that nobody has written there: the first word is " + std::to_string(first) +
           ", as of write " + std::to_string(found) + " to cell " +
           std::to_string((first >> kCellShift) & kCellMask) + " of disk " +
           std::to_string((first >> kDiskShift) & kDiskMask);
  }
  const bool allowed = std::ranges::any_of(histories_[cells_[number]].entries, [&](const Entry& entry) {
    return content_of(entry.write) == found && entry.gone_at > begun;
  });
  return allowed ? std::string() : describe(number, found, begun);
}

std::string Oracle::describe(std::uint64_t number, WriteId found, Micros begun) const {
  std::string text = "cell " + std::to_string(number) + ", read from " + at(begun) + " to " + at(timeline_.now()) +
                     ", holds write " + std::to_string(found);
  if (found < writes_.size()) {
    text += " (" + at(writes_[found].begin) + " to " + at(writes_[found].end) + ")";
  } else {
    text += ", which nobody has made";
  }
  text += "; it may hold";
  for (const Entry& entry : histories_[cells_[number]].entries) {
    const Write& write = writes_[entry.write];
    text += " " + std::to_string(entry.write) + (write.kind.zeroes ? " (zeroes, " : " (") + at(write.begin) + " to " +
            at(write.end) + (entry.gone_at == proto::kNever ? ")" : ", gone at " + at(entry.gone_at) + ")");
  }
  return text;
}

void Oracle::fill(WriteId write, std::uint64_t cell, std::span<std::uint8_t> out) const {
  const std::size_t kept = kept_of_payload();
  const WriteId content = content_of(write);
  const std::uint64_t step = content == kInitial ? 0 : 1;
  std::uint8_t* at = out.data();
  for (std::size_t left = out.size() / kept; left > 0; --left, ++cell) {
    std::uint64_t word = base_of(content, cell);
    for (std::size_t w = 0; w < kept; w += sizeof word, word += step) std::memcpy(at + w, &word, sizeof word);
    at += kept;
  }
}

}  // namespace nbdgw::sim
