#include "gateway/iscsi_target/memory_medium.hpp"

#include <algorithm>
#include <cstring>
#include <new>

namespace nbdgw::iscsi_target {

namespace {

constexpr std::uint64_t kPage = MemoryMedium::kPageSize;

/// Cuts [offset, offset + length) at page borders: `visit(page index, offset in it, bytes)` returns false to stop.
template <typename Visit>
bool for_pages(std::uint64_t offset, std::uint64_t length, Visit visit) {
  while (length > 0) {
    const std::uint64_t within = offset % kPage;
    const std::uint64_t n = std::min(length, kPage - within);
    if (!visit(offset / kPage, static_cast<std::size_t>(within), static_cast<std::size_t>(n))) return false;
    offset += n;
    length -= n;
  }
  return true;
}

}  // namespace

MemoryMedium::Page* MemoryMedium::find(std::uint64_t index) noexcept {
  const auto found = pages_.find(index);
  return found == pages_.end() ? nullptr : found->second.get();
}

MemoryMedium::Page* MemoryMedium::find_or_make(std::uint64_t index) noexcept try {
  auto& page = pages_[index];
  if (!page) page = std::make_unique<Page>();  // zeroed
  return page.get();
} catch (const std::bad_alloc&) {
  pages_.erase(index);
  return nullptr;
}

MediumResult MemoryMedium::read(std::uint64_t offset, std::span<const iovec> to) {
  for (const iovec& entry : to) {
    auto* at = static_cast<std::byte*>(entry.iov_base);
    for_pages(offset, entry.iov_len, [&](std::uint64_t index, std::size_t within, std::size_t n) {
      if (const Page* page = find(index))
        std::memcpy(at, page->data() + within, n);
      else
        std::memset(at, 0, n);
      at += n;
      return true;
    });
    offset += entry.iov_len;
  }
  return MediumResult::ok;
}

MediumResult MemoryMedium::write(std::uint64_t offset, std::span<const iovec> from) {
  for (const iovec& entry : from) {
    const auto* at = static_cast<const std::byte*>(entry.iov_base);
    const bool stored = for_pages(offset, entry.iov_len, [&](std::uint64_t index, std::size_t within, std::size_t n) {
      Page* page = find_or_make(index);
      if (page == nullptr) return false;
      std::memcpy(page->data() + within, at, n);
      at += n;
      return true;
    });
    if (!stored) return MediumResult::no_space;
    offset += entry.iov_len;
  }
  return MediumResult::ok;
}

MediumResult MemoryMedium::discard(std::uint64_t offset, std::uint64_t length) {
  for_pages(offset, length, [&](std::uint64_t index, std::size_t within, std::size_t n) {
    if (n == kPage)
      pages_.erase(index);
    else if (Page* page = find(index))
      std::memset(page->data() + within, 0, n);
    return true;
  });
  return MediumResult::ok;
}

MediumResult MemoryMedium::write_zeroes(std::uint64_t offset, std::uint64_t length) {
  const bool stored = for_pages(offset, length, [&](std::uint64_t index, std::size_t within, std::size_t n) {
    Page* page = find_or_make(index);
    if (page == nullptr) return false;
    std::memset(page->data() + within, 0, n);
    return true;
  });
  return stored ? MediumResult::ok : MediumResult::no_space;
}

MediumExtent MemoryMedium::extent(std::uint64_t offset, std::uint64_t length) {
  MediumExtent run{0, find(offset / kPage) != nullptr};
  for_pages(offset, length, [&](std::uint64_t index, std::size_t, std::size_t n) {
    if ((find(index) != nullptr) != run.mapped) return false;
    run.length += n;
    return true;
  });
  return run;
}

}  // namespace nbdgw::iscsi_target
