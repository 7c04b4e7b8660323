#pragma once

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "config/model.hpp"
#include "gateway/control/crash_record.hpp"
#include "gateway/control/reload.hpp"
#include "gateway/control/verdict.hpp"
#include "gateway/net/clock.hpp"
#include "gateway/net/connection_limit.hpp"
#include "gateway/net/inherited_sockets.hpp"
#include "gateway/net/listener.hpp"
#include "gateway/net/resolver.hpp"
#include "gateway/shard/cache_memory.hpp"
#include "gateway/shard/event_log.hpp"
#include "gateway/shard/gather.hpp"
#include "gateway/shard/kept_state.hpp"
#include "gateway/shard/session_numbers.hpp"
#include "gateway/shard/view.hpp"
#include "gateway/shard/worker.hpp"

namespace nbdgw::control {

struct GatewayOptions {
  /// Shutdown, and the end of an export in a reload: how long clients and requests in flight may take to finish,
  /// before they are cut off.
  proto::Micros drain_limit = 10 * proto::kSecond;
  /// What addresses "systemd:NAME" take. Needed until start() has returned; null: there are none.
  net::InheritedSockets* inherited = nullptr;
  /// What the process before this one has left. Needed until start() has returned; null: nothing.
  shard::KeptState* kept = nullptr;
  /// At the end clients are kept for the next process (take_kept()), not sent away.
  bool keep_clients = false;
  /// Where what outlives a crash is kept (CrashRecord); empty: nowhere.
  std::string state_dir{};
  /// How long the machine has been asleep so far.
  net::SleepWatch::Reader slept = net::slept_so_far;
};

/// A gateway made from a configuration: its shards with their sessions, exports and clients, and the control thread,
/// which accepts clients and looks up names.
class Gateway {
 public:
  explicit Gateway(config::Config config, GatewayOptions options = {});
  /// Ends at once whatever still runs.
  ~Gateway();
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;

  /// Opens the listeners, starts the threads and the logins. Throws ListenError or std::system_error, with a text for
  /// people; nothing runs then. A target that is down is no error: it is tried again and again.
  void start();

  /// From any thread: no new clients; those there are finish what is in flight; sessions log out; then wait()
  /// returns.
  void drain();
  /// Waits for the end.
  void wait();
  /// After that, once: what the next process needs.
  shard::KeptState take_kept();
  /// After that: whether the next process was told of it, or has to read what is left in the record.
  void end_record(const shard::KeptState& kept, bool told) noexcept;

  /// Where it listens, as text, in the order of the configuration; with the ports that the system picked.
  const std::vector<std::string>& addresses() const noexcept { return addresses_; }
  const std::vector<std::unique_ptr<net::Listener>>& listeners() const noexcept { return listeners_; }

  // What operators see and do (gateway_view.cpp, gateway_verbs.cpp): from any thread. `done` is called once, on a
  // thread of the gateway, or destroyed uncalled when the gateway ends before that. What exists and where is the
  // control thread's business, so all of it goes there first; what it then posts to a shard is done in that order.
  // With `dry_run` nothing is changed, and the verdict says what would be.
  void view(shard::ViewOptions options, std::function<void(shard::GatewayView)> done);
  /// The SCSI commands that are with a target; nothing if there is no such target in use.
  void tasks(std::string target, std::function<void(std::optional<std::vector<shard::TaskView>>)> done);

  /// A rung of the ladder by hand; `request.id` is given here (Verdict::request_id). It ends with a EventRecord.
  void recover(std::string target, initiator::RecoveryRequest request, bool dry_run, OnVerdict done);
  /// At ErrorRecoveryLevel 0 this costs the session, which logs in again.
  void drop_connection(std::string target, std::uint16_t cid, bool dry_run, OnVerdict done);
  void set_export_state(std::string name, shard::AdminState state, bool dry_run, OnVerdict done);
  /// Probes its LUN anew (bridge::Export::rescan()). It ends with a EventRecord of Verdict::request_id.
  void rescan(std::string name, bool dry_run, OnVerdict done);
  /// No new clients on any export, or new ones again; those attached go on.
  void drain_clients(bool on, bool dry_run, OnVerdict done);
  void disconnect_client(std::uint64_t id, bool dry_run, OnVerdict done);

  /// Another configuration, which has been checked (config/parse.hpp), from any thread: what it adds, changes and
  /// takes away, without touching the rest (gateway_reload.cpp says how). With `dry_run` it is only found out.
  /// `done` comes on the control thread when all is done; that may take as long as the clients of an export that goes
  /// may take to finish.
  void apply(config::Config next, bool dry_run, OnReload done);
  /// What is in force, from any thread: what was applied last, but for the keys that need a restart.
  std::shared_ptr<const config::Config> config() const;

  /// What has happened, in classes. Lives as long as the gateway; for any thread.
  const shard::EventLog& events() const noexcept { return events_; }
  shard::EventLog& events() noexcept { return events_; }
  std::size_t worker_count() const noexcept { return workers_.size(); }
  /// From any thread: `answer` is called by the thread of a shard when its loop gets to it; never, if it has ended.
  void ping(std::uint32_t shard, std::function<void()> answer);
  /// The same of all, and `done` comes when the last has answered; false: when one has ended instead.
  void ping_all(std::function<void(bool all)> done);
  /// From any thread: the shard's thread has ended in good order.
  bool has_ended(std::uint32_t shard) const noexcept { return workers_[shard]->shard.has_ended(); }
  std::uint32_t client_count() const noexcept { return limit_.taken(); }

 private:
  class Reload;

  /// Where a target in use is; of the control thread.
  struct TargetHome {
    shard::Worker* worker = nullptr;
    shard::SessionDriver* driver = nullptr;
    std::uint32_t number = 0;  // of its session
  };
  struct ExportHome {
    shard::Worker* worker = nullptr;
    shard::SessionExport* slot = nullptr;
  };

  template <typename Call>
  void on_control(Call call) {
    boost::asio::post(control_, std::move(call));
  }
  /// Has every shard do `ask(worker, now)`, whose result, perhaps an optional, is its answer.
  template <typename Answer, typename Ask>
  void ask_shards(const Ask& ask, typename shard::Gather<Answer>::Done done) {
    shard::Gather<Answer> gather(workers_.size(), std::move(done));
    for (const auto& worker : workers_) {
      worker->shard.post([ask, worker = worker.get(), part = gather.part()](proto::Micros now) mutable {
        if (std::optional<Answer> answer = ask(*worker, now)) part.answer(*std::move(answer));
      });
    }
  }
  /// A target in use, with its worker; nulls if there is none of that name.
  std::pair<shard::Worker*, shard::SessionDriver*> find_target(const std::string& name) noexcept;
  std::pair<shard::Worker*, shard::SessionExport*> find_export(const std::string& name) noexcept;
  bool has_export_on(const shard::SessionDriver& driver, std::uint64_t lun) const noexcept;

  std::uint32_t next_request() noexcept { return ++last_request_ != 0 ? last_request_ : ++last_request_; }
  void open_listeners();
  void make_workers();
  shard::Worker& least_loaded_worker() noexcept;
  shard::WorkOrder::NewTarget order_target(const config::Config& config, std::uint32_t index, shard::Worker& worker);
  void note_made(shard::Worker& worker, const shard::WorkDone& made);
  void put_in_force(config::Config config);
  void publish_places();
  struct Resumed {
    shard::KeptClient client;
    net::ConnectionLimit::Ticket ticket;
  };
  std::vector<Resumed> take_over(shard::KeptState& kept);
  void open_record();
  bridge::LunRecord* record_of(const std::string& iqn, std::uint64_t lun, const std::string& name) noexcept;
  net::ConnectionLimit::Ticket take_over(const shard::KeptClient& client);
  void resume(std::vector<Resumed> clients);
  void take_client(net::UniqueFd fd, net::ConnectionLimit::Ticket ticket);
  void tell_refusals_later();
  void tell_drain(bool on);
  void tell_admin_state(shard::SessionExport& slot, shard::AdminState state, proto::Micros now);
  void stop_control();

  mutable std::mutex config_mutex_;               // other threads read it
  std::shared_ptr<const config::Config> config_;  // in force
  const GatewayOptions options_;
  net::ConnectionLimit limit_;
  boost::asio::io_context control_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> control_work_;
  boost::asio::steady_timer refusal_timer_;
  net::Resolver resolver_;
  shard::EventLog events_;
  nbd::ExportDirectoryPtr directory_;
  nbd::ConnectionOptions client_options_;  // of the next client
  shard::DiskRegister disks_;              // before the workers, as is the record
  std::unique_ptr<CrashRecord> record_;    // null: nothing outlives a crash
  std::vector<std::unique_ptr<shard::Worker>> workers_;
  // What there is and where, by name. The objects are the shards', and are destroyed there some time after they have
  // been taken out here; what was posted to the shard before that still finds them.
  std::map<std::string, TargetHome> targets_;
  std::map<std::string, ExportHome> exports_;
  shard::CacheMemory caches_;  // of LUNs whose exports have gone
  shard::SessionNumbers numbers_;
  std::unique_ptr<Reload> reload_;  // while one is being applied
  bool ending_ = false;             // drain() was called
  std::vector<std::unique_ptr<net::Listener>> listeners_;
  std::vector<std::string> addresses_;  // of the listeners; never changes after the start
  std::size_t next_worker_ = 0;         // for the next client
  std::uint64_t last_client_ = 0;
  bool takes_clients_ = true;
  proto::Micros drained_at_ = 0;    // while it takes no clients: since when
  std::uint32_t last_request_ = 0;  // of a rung or rescan by hand
  std::thread control_thread_;
};

}  // namespace nbdgw::control
