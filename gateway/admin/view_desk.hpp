#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "gateway/http/alarm.hpp"
#include "gateway/http/server.hpp"
#include "gateway/shard/view.hpp"

namespace nbdgw::admin {

/// Where whoever answers with what the gateway is like gets a view of it: metrics, probes and the API. One at a time
/// is being made, whatever the number of requests: all that come meanwhile share the next one, which is made after
/// they have asked. On the server's thread, also where a view is used: a shard has better things to do than to write
/// JSON.
class ViewDesk {
 public:
  /// Makes a view, and hands it over on any thread. One that is destroyed uncalled says that there is none.
  using Source = std::function<void(bool clients, std::function<void(shard::GatewayView)> done)>;
  /// null: the gateway has ended, or not every shard has answered in time.
  using User = std::function<void(const shard::GatewayView* view)>;

  ViewDesk(Source source, std::shared_ptr<http::HttpPostbox> postbox);
  ViewDesk(const ViewDesk&) = delete;
  ViewDesk& operator=(const ViewDesk&) = delete;

  /// `clients`: with all of them. `limit`: how long to wait. The user is called once, not before this returns.
  void ask(bool clients, proto::Micros limit, User user);

 private:
  struct Waiting {
    User user;
    proto::Micros deadline;
  };

  void begin();
  void end(const shard::GatewayView* view);
  void give_up();
  void set_alarm();

  const Source source_;
  const std::shared_ptr<http::HttpPostbox> postbox_;
  bool under_way_ = false;
  bool clients_ = false;          // somebody among the waiting ones wants them
  std::vector<Waiting> waiting_;  // for the next one
  std::vector<Waiting> served_;   // by the one under way
  http::Alarm alarm_;
};

}  // namespace nbdgw::admin
