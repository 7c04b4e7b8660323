#pragma once

#include <cstdint>
#include <string>

#include "gateway/iscsi_target/medium.hpp"
#include "gateway/net/unique_fd.hpp"

namespace nbdgw::target_host {

/// A logical unit's blocks in a sparse file, or on a block device. What is written is on stable storage after
/// flush().
class TargetFileMedium final : public iscsi_target::Medium {
 public:
  /// Opens the file, locked against a second target. `size` 0: as large as it is. Otherwise a file that is not there
  /// is made, and one that is smaller grows; a larger one stays as it is and is used up to `size`. Throws TargetError
  /// with a text for people.
  TargetFileMedium(const std::string& path, std::uint64_t size, bool read_only);

  std::uint64_t size() const noexcept override { return size_; }
  std::uint32_t discard_granularity() const noexcept override { return granularity_; }
  iscsi_target::MediumResult read(std::uint64_t offset, std::span<const iovec> to) override;
  iscsi_target::MediumResult write(std::uint64_t offset, std::span<const iovec> from) override;
  iscsi_target::MediumResult flush() override;
  iscsi_target::MediumResult discard(std::uint64_t offset, std::uint64_t length) override;
  iscsi_target::MediumResult write_zeroes(std::uint64_t offset, std::uint64_t length) override;
  iscsi_target::MediumExtent extent(std::uint64_t offset, std::uint64_t length) override;

 private:
  iscsi_target::MediumResult allocate(int mode, std::uint64_t offset, std::uint64_t length);
  iscsi_target::MediumResult write_plain_zeroes(std::uint64_t offset, std::uint64_t length);

  net::UniqueFd file_;
  std::uint64_t size_ = 0;
  std::uint32_t granularity_ = 4096;
};

}  // namespace nbdgw::target_host
