#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <span>

namespace nbdgw::iscsi_target {

/// How an operation on a medium ended.
enum class MediumResult : std::uint8_t {
  ok,
  io_error,
  no_space,  // a thin medium could not allocate
};

/// A run of bytes that are all stored, or all not.
struct MediumExtent {
  std::uint64_t length = 0;  // bytes, > 0
  bool mapped = true;        // false: takes no space, reads as zeroes
};

/// What stores the blocks of a logical unit. Ranges lie inside size(): the device server has checked them. Calls
/// finish what they do before they return.
class Medium {
 public:
  virtual ~Medium() = default;

  virtual std::uint64_t size() const noexcept = 0;                 // bytes, never changes
  virtual std::uint32_t discard_granularity() const noexcept = 0;  // bytes that discard() gives back as one

  virtual MediumResult read(std::uint64_t offset, std::span<const iovec> to) = 0;
  virtual MediumResult write(std::uint64_t offset, std::span<const iovec> from) = 0;
  /// All that was written before is on stable storage after it.
  virtual MediumResult flush() = 0;
  /// That of a range is; perhaps more. For writes with FUA.
  virtual MediumResult flush_range(std::uint64_t /*offset*/, std::uint64_t /*length*/) { return flush(); }
  /// The power fails: what is not on stable storage is as it was before it was written. A medium that does not know
  /// what that would be loses nothing.
  virtual void lose_unflushed() {}
  /// The range reads as zeroes afterwards, and gives its space back where it can.
  virtual MediumResult discard(std::uint64_t offset, std::uint64_t length) = 0;
  /// The range reads as zeroes afterwards, and its space stays (or becomes) allocated where the medium can do that.
  virtual MediumResult write_zeroes(std::uint64_t offset, std::uint64_t length) = 0;
  /// The run that begins at `offset`, at most `length` long.
  virtual MediumExtent extent(std::uint64_t offset, std::uint64_t length) = 0;
};

}  // namespace nbdgw::iscsi_target
