#include "gateway/target_host/file_medium.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>

#include "gateway/net/stream_socket.hpp"
#include "gateway/target_host/server.hpp"

namespace nbdgw::target_host {

using iscsi_target::MediumExtent;
using iscsi_target::MediumResult;

namespace {

constexpr std::size_t kZeroChunk = 64 * 1024;
/// Entries of one preadv(2) or pwritev(2).
constexpr std::size_t kPieces = 64;

[[noreturn]] void fail(const std::string& path, const std::string& what) {
  throw TargetError(path + ": " + what);
}

MediumResult failure(int error) noexcept {
  return error == ENOSPC || error == EDQUOT ? MediumResult::no_space : MediumResult::io_error;
}

/// Moves all of a scatter list with `move` (preadv or pwritev), however it is cut. Negative from `move` is an error,
/// zero the unexpected end of the file.
template <typename Move>
MediumResult move_all(std::span<const iovec> list, std::uint64_t offset, Move move) {
  std::array<iovec, kPieces> piece;
  std::size_t within = 0;  // bytes done of the first entry
  while (!list.empty()) {
    const std::size_t count = std::min(list.size(), piece.size());
    std::copy_n(list.begin(), count, piece.begin());
    piece[0].iov_base = static_cast<std::byte*>(piece[0].iov_base) + within;
    piece[0].iov_len -= within;
    const ssize_t n = move(piece.data(), static_cast<int>(count), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failure(errno);
    if (n == 0) return MediumResult::io_error;
    offset += static_cast<std::uint64_t>(n);
    within += static_cast<std::size_t>(n);
    while (!list.empty() && within >= list.front().iov_len) {
      within -= list.front().iov_len;
      list = list.subspan(1);
    }
  }
  return MediumResult::ok;
}

}  // namespace

TargetFileMedium::TargetFileMedium(const std::string& path, std::uint64_t size, bool read_only) {
  const int create = size > 0 && !read_only ? O_CREAT : 0;
  file_ = net::UniqueFd(::open(path.c_str(), (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | create, 0644));
  if (!file_) {
    const bool missing = errno == ENOENT && create == 0;
    fail(path, net::error_text(errno) + (missing ? "; give a size to have it made" : ""));
  }
  if (::flock(file_.get(), (read_only ? LOCK_SH : LOCK_EX) | LOCK_NB) != 0)
    fail(path, errno == EWOULDBLOCK ? "another program has it locked; it must not be served twice"
                                    : net::error_text(errno));
  struct stat status {};
  if (::fstat(file_.get(), &status) != 0) fail(path, net::error_text(errno));
  if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode)) fail(path, "is neither a file nor a block device");
  const off_t end = ::lseek(file_.get(), 0, SEEK_END);
  if (end < 0) fail(path, net::error_text(errno));
  size_ = static_cast<std::uint64_t>(end);
  if (size > size_) {
    if (!S_ISREG(status.st_mode) || read_only) fail(path, "has only " + std::to_string(size_) + " bytes");
    if (::ftruncate(file_.get(), static_cast<off_t>(size)) != 0)
      fail(path, "cannot be made larger: " + net::error_text(errno));
  }
  if (size > 0) size_ = size;
  if (size_ == 0) fail(path, "is empty; give a size");
  if (status.st_blksize >= 512 && status.st_blksize <= 1024 * 1024)
    granularity_ = static_cast<std::uint32_t>(status.st_blksize);
}

MediumResult TargetFileMedium::read(std::uint64_t offset, std::span<const iovec> to) {
  return move_all(to, offset, [this](iovec* list, int n, off_t at) { return ::preadv(file_.get(), list, n, at); });
}

MediumResult TargetFileMedium::write(std::uint64_t offset, std::span<const iovec> from) {
  return move_all(from, offset, [this](iovec* list, int n, off_t at) { return ::pwritev(file_.get(), list, n, at); });
}

MediumResult TargetFileMedium::flush() {
  return ::fdatasync(file_.get()) == 0 ? MediumResult::ok : failure(errno);
}

MediumResult TargetFileMedium::allocate(int mode, std::uint64_t offset, std::uint64_t length) {
  int result = 0;
  do {
    result =
        ::fallocate(file_.get(), mode | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset), static_cast<off_t>(length));
  } while (result != 0 && errno == EINTR);
  if (result == 0) return MediumResult::ok;
  // The file system, or the device, has no such thing.
  if (errno == EOPNOTSUPP || errno == ENODEV || errno == EINVAL) return write_plain_zeroes(offset, length);
  return failure(errno);
}

MediumResult TargetFileMedium::discard(std::uint64_t offset, std::uint64_t length) {
  return allocate(FALLOC_FL_PUNCH_HOLE, offset, length);
}

MediumResult TargetFileMedium::write_zeroes(std::uint64_t offset, std::uint64_t length) {
  return allocate(FALLOC_FL_ZERO_RANGE, offset, length);
}

MediumResult TargetFileMedium::write_plain_zeroes(std::uint64_t offset, std::uint64_t length) {
  static const std::array<std::byte, kZeroChunk> zeroes{};
  while (length > 0) {
    const std::size_t n = static_cast<std::size_t>(std::min<std::uint64_t>(length, zeroes.size()));
    const iovec piece{const_cast<std::byte*>(zeroes.data()), n};  // only read by pwritev(2)
    if (const auto result = write(offset, {&piece, 1}); result != MediumResult::ok) return result;
    offset += n;
    length -= n;
  }
  return MediumResult::ok;
}

MediumExtent TargetFileMedium::extent(std::uint64_t offset, std::uint64_t length) {
  const auto start = static_cast<off_t>(offset);
  const off_t data = ::lseek(file_.get(), start, SEEK_DATA);
  if (data < 0) return {length, errno != ENXIO};  // ENXIO: nothing but a hole from here on; else: cannot tell
  if (data > start) return {std::min(length, static_cast<std::uint64_t>(data - start)), false};
  const off_t hole = ::lseek(file_.get(), start, SEEK_HOLE);
  if (hole <= start) return {length, true};
  return {std::min(length, static_cast<std::uint64_t>(hole - start)), true};
}

}  // namespace nbdgw::target_host
