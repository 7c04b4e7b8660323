#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "gateway/initiator/session.hpp"
#include "tests/unit/initiator/wire.hpp"

namespace nbdgw::test {

/// The data of job `number` from `offset` on: different for neighbours, jobs and offsets far apart.
void fill_pattern(std::uint64_t number, std::size_t offset, std::span<std::uint8_t> out);
Bytes pattern_bytes(std::uint64_t number, std::size_t length);

/// A SCSI command with memory of its own, each piece of the scatter list allocated by itself and to the byte.
struct Job final : initiator::ScsiCommand {
  std::uint64_t number = 0;
  std::vector<std::unique_ptr<std::uint8_t[]>> memory;
  std::vector<iovec> list;
  int queued = 0;
  int finished = 0;
  Bytes content;  // of the memory when the command was done

  Bytes bytes() const;
};

/// The sink of the tests' commands. As soon as one is done its memory is given back to the heap, so that whoever
/// still touches it is caught by the address sanitizer.
class Jobs final : public initiator::CommandSink {
 public:
  explicit Jobs(initiator::Session& session) : session_(session) {}

  /// Makes a command; its number is in bytes 2 to 9 of the CDB.
  Job& make(initiator::Direction direction, std::uint32_t length, std::size_t pieces = 1);
  /// Makes and queues it.
  Job& read(std::uint32_t length, std::size_t pieces = 1);
  Job& write(std::uint32_t length, std::size_t pieces = 1);
  Job& simple();
  void queue(Job& job);

  void on_command_done(initiator::ScsiCommand& command, proto::Micros now) override;

  /// Commands that came back as transport_disrupted or aborted are queued again at once.
  bool retry = false;
  std::function<void(const Job&)> on_aborted;
  std::function<void(const Job&)> on_disrupted;
  std::vector<std::unique_ptr<Job>> all;
  std::size_t outstanding = 0;

 private:
  static void give_memory(Job& job, std::size_t pieces);

  initiator::Session& session_;
};

}  // namespace nbdgw::test
