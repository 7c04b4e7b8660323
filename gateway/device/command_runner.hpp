#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <span>
#include <vector>

#include "gateway/device/disposition.hpp"
#include "gateway/initiator/scsi_command.hpp"
#include "proto/scsi/cdb.hpp"
#include "proto/time.hpp"

namespace nbdgw::device {

/// Runs one data-in (or no data) command at a time, sending it again for as long as decide() says so. The common half
/// of the step machines of this layer.
class CommandRunner final : private initiator::CommandSink {
 public:
  class Owner {
   public:
    /// Something was learnt about the unit by the way. Must not start a command.
    virtual void on_notes(const Notes& notes, proto::Micros now) = 0;
    /// The command is over: `action` is done, error or hold (the session was lost; nothing was queued again). The
    /// data is what was received, valid during the call. A new command may be started.
    virtual void on_command_over(const Disposition& disposition, std::span<const std::uint8_t> data,
                                 proto::Micros now) = 0;

   protected:
    ~Owner() = default;
  };

  CommandRunner(initiator::CommandTransport& transport, Owner& owner, std::uint64_t lun, std::size_t buffer_bytes);

  CommandRunner(const CommandRunner&) = delete;
  CommandRunner& operator=(const CommandRunner&) = delete;

  /// Sends the command; `data_length` bytes at most are received (not above buffer_bytes). Nothing may be running.
  void start(const proto::scsi::Cdb& cdb, std::uint32_t data_length, proto::Micros now);

  /// Stops waiting for a retry, or hands on the end of the command that is out without a retry (as hold). True if
  /// nothing is running any more: then on_command_over() will not be called.
  bool cut_short() noexcept;

  /// A larger buffer for the next command. Nothing may be running.
  void resize_buffer(std::size_t bytes);

  /// The command is lent to the transport, or waits for its retry.
  bool running() const noexcept { return lent_ || retry_at_ != proto::kNever; }
  /// The command is lent to the transport: this object must not be destroyed.
  bool lent() const noexcept { return lent_; }

  proto::Micros next_deadline() const noexcept { return retry_at_; }
  void on_deadline(proto::Micros now);

  /// The command as it came back last, for explain().
  const initiator::ScsiCommand& command() const noexcept { return command_; }

 private:
  void on_command_done(initiator::ScsiCommand& command, proto::Micros now) override;
  void queue(proto::Micros now);
  std::span<const std::uint8_t> received() const noexcept;

  initiator::CommandTransport& transport_;
  Owner& owner_;
  initiator::ScsiCommand command_;
  std::vector<std::uint8_t> buffer_;
  iovec data_{};
  Attempts attempts_;
  proto::Micros retry_at_ = proto::kNever;
  bool lent_ = false;
  bool cut_short_ = false;
};

}  // namespace nbdgw::device
