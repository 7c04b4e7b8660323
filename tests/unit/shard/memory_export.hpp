#pragma once

#include <array>
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "gateway/nbd/backend.hpp"
#include "gateway/shard/export_slot.hpp"
#include "gateway/shard/shard.hpp"

namespace nbdgw::test {

/// An export in memory, with its station: what a session and the bridge are in production. Requests end at the end of
/// the turn that brought them, or, while `hold` is set, when it is cleared.
class MemoryExport final : public shard::ExportSlot, public shard::Station, public nbd::Backend {
 public:
  MemoryExport(shard::Shard& shard, std::string name, std::size_t size);

  // To be set before the shard starts, or on its thread (on_shard()).
  bool online = true;
  bool hold = false;
  void set_hold(bool on) {
    hold = on;
    bell().ring();
  }

  const std::string& name() const noexcept override { return info_.name; }
  nbd::Backend* backend() noexcept override { return online ? this : nullptr; }
  std::string waiting_reason() const override { return "the test has not put it online"; }
  shard::Station& station() noexcept override { return *this; }

  void deliver(proto::Micros now) override;
  void transmit(proto::Micros) override {}
  bool wants_turn() const noexcept override;
  proto::Micros next_deadline() const noexcept override { return proto::kNever; }
  void on_deadline(proto::Micros) override {}
  void begin_drain(proto::Micros) override {}
  bool idle() const noexcept override { return all_.empty(); }
  std::uint32_t load() const noexcept override { return static_cast<std::uint32_t>(all_.size()); }

  const nbd::ExportInfo& info() const noexcept override { return info_; }
  nbd::Request* admit(const nbd::RequestHeader& header, nbd::Connection& connection, nbd::Stake& stake,
                      proto::Micros now) override;
  bool others_wait(const nbd::Stake&) const noexcept override {
    return shard_.pool().capacity() - shard_.pool().used() < kPart;
  }
  nbd::Segment* next_write_segment(nbd::Request& request) override;
  void segment_received(nbd::Request& request, nbd::Segment& segment, proto::Micros now) override;
  void start(nbd::Request& request, proto::Micros now) override;
  void release(nbd::Request& request, nbd::Segment& segment) override;
  void release(nbd::Request& request) override;
  void abandon(nbd::Request& request) override;

  std::size_t in_flight() const noexcept { return all_.size(); }
  /// Waits until so many requests are in flight; for other threads.
  void await_in_flight(std::size_t count);
  std::vector<std::uint8_t>& disk() noexcept { return disk_; }

 private:
  static constexpr std::uint32_t kPart = 1 << 20;
  struct Part : nbd::Segment {
    std::array<iovec, proto::BufferPool::blocks_for(kPart)> memory;
    std::size_t blocks = 0;  // 0: the memory was given back
  };
  struct Work : nbd::Request {
    std::vector<std::unique_ptr<Part>> parts;
    std::size_t handed_out = 0;
    std::size_t received = 0;
    bool ready = false;
    bool answered = false;
    std::list<std::unique_ptr<Work>>::iterator place;
  };

  void complete(Work& work);
  void free(Work& work);
  void free(Part& part);

  shard::Shard& shard_;
  nbd::ExportInfo info_;
  std::vector<std::uint8_t> disk_;
  std::list<std::unique_ptr<Work>> all_;
};

}  // namespace nbdgw::test
