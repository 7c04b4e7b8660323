#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "gateway/iscsi_target/device_server.hpp"
#include "gateway/iscsi_target/fault.hpp"
#include "gateway/iscsi_target/gate.hpp"
#include "proto/time.hpp"

namespace nbdgw::iscsi_target {

class Server;

/// The faults of one target, switched on and off while it runs. All calls come from the target's thread; afterwards
/// the shell asks Server::take_ready(), as after any call into the engine.
///
/// A command is offered to the faults in the order in which they were posted, and the first that hits decides about
/// it. `delay` comes on top of what another fault has made of its answer.
class Faults final : public Gate {
 public:
  /// Faults at a time, those that are used up included, until they are deleted.
  static constexpr std::size_t kMaxFaults = 256;
  /// Commands that are held at a time. Beyond, nothing more hangs, is delayed or is lied about.
  static constexpr std::size_t kMaxHeld = 4096;
  /// Data of writes that outlive their tasks. Beyond, a write ends with its task.
  static constexpr std::size_t kMaxLateBytes = 64 * 1024 * 1024;

  struct Posted {
    std::uint32_t id = 0;
    Fault fault;
    std::uint64_t hits = 0;
    bool active = true;  // not used up
    std::uint32_t skipped = 0;
    std::uint64_t random = 0;  // state of its draws
  };

  /// The server that has this as its gate. Before any other call.
  void bind(Server& server) noexcept { server_ = &server; }

  /// Puts a fault into force; one that acts at once has acted. Null: there are kMaxFaults.
  const Posted* add(const Fault& fault, proto::Micros now);
  /// What the fault holds goes on: hung commands are executed and answered, late answers are sent. False: there is
  /// no such fault.
  bool remove(std::uint32_t id, proto::Micros now);
  void clear(proto::Micros now);
  const std::vector<Posted>& posted() const noexcept { return posted_; }

  /// When the next delay is over.
  proto::Micros next_deadline() const noexcept;
  void on_deadline(proto::Micros now);

  Decision pass(Task& task, Passage passage, proto::Micros now) override;
  void on_gone(Task& task) override;
  bool delays(const Session& session, const Connection& connection,
              const proto::iscsi::TaskManagementRequest& request) override;
  Management manage(Session& session, Connection& connection, const proto::iscsi::TaskManagementRequest& request,
                    proto::iscsi::TaskManagementResult& result, proto::Micros now) override;
  std::optional<LoginAnswer> refuse_login(const proto::iscsi::LoginRequest& request) override;
  Damage damage(const Connection& connection, const Task* task, bool has_header_digest,
                bool is_data_in_with_digest) override;

 private:
  /// A command that a fault has a hand on.
  struct Held {
    std::uint32_t fault = 0;       // by which
    bool before_execution = true;  // where it hangs; else before it is answered
    bool waiting = false;          // it has got there: nothing but us will take it on
    bool mute = false;             // it is never answered
    bool slow = false;             // a write that outlives its task
    proto::Micros due = proto::kNever;
    std::uint64_t turn = 0;  // those that are due together go on in the order in which they came
  };

  /// A write whose task is gone, and which is done all the same.
  struct Late {
    std::uint32_t fault = 0;
    const TargetNode* target = nullptr;
    const LogicalUnit* unit = nullptr;
    std::uint64_t lun = 0;
    Plan plan;
    std::array<std::uint8_t, 16> cdb{};
    std::vector<std::uint8_t> data;
    proto::Micros due = proto::kNever;
  };

  bool matches(const Posted& posted, const Task& task) const noexcept;
  const Fault* find(std::uint32_t id) const noexcept;
  bool fire(Posted& posted);
  Posted* next_hit(const Task& task, bool (*acts)(FaultKind)) noexcept;
  Decision on_begin(Task& task);
  Decision on_execute(Task& task, proto::Micros now);
  Decision on_respond(Task& task, proto::Micros now);
  Decision hang(Task& task, const Posted& posted);
  Held& hold(Task& task, std::uint32_t fault);
  // faults_late.cpp
  void outlive(const Task& task, const Held& held);
  template <typename Which>
  void land(Which which);
  void land_due(proto::Micros now);
  void land_those_of(std::uint32_t fault, proto::Micros now);
  void spare(const std::vector<Task*>& named, std::uint32_t id);
  void go_on(proto::Micros now);
  void let_go(Task& task, proto::Micros now);
  template <typename Which>
  void let_go_all(Which which, proto::Micros now);
  void lie(const Fault& fault, std::uint32_t id, const std::vector<Task*>& named, proto::Micros now);
  void act_at_once(const Fault& fault);
  void drop_connections(const Fault& fault);
  void send_async_event(const Fault& fault);
  void refresh_states();
  void refresh_unit(std::uint32_t lun, bool is_protected);
  const Fault* state_of(FaultKind kind, std::uint32_t lun) const noexcept;

  Server* server_ = nullptr;
  std::vector<Posted> posted_;
  std::uint32_t last_id_ = 0;
  std::unordered_map<Task*, Held> held_;
  std::uint64_t last_turn_ = 0;
  std::vector<Late> late_;  // in the order in which their tasks ended
  std::size_t late_bytes_ = 0;
};

}  // namespace nbdgw::iscsi_target
