#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "gateway/http/alarm.hpp"
#include "gateway/http/server.hpp"
#include "gateway/shard/view.hpp"

namespace nbdgw::control {
class Gateway;
}

namespace nbdgw::admin {

/// Gets views of the gateway for those who ask. One at a time is being made, whatever the number of requests: all
/// that come meanwhile share the next one, which is made after they have asked. On the server's thread, also where
/// what is asked for is used: a shard has better things to do than to write JSON.
class ViewDesk {
 public:
  using User = std::function<void(const shard::GatewayView& view)>;

  ViewDesk(control::Gateway& gateway, std::shared_ptr<http::HttpPostbox> postbox);
  ViewDesk(const ViewDesk&) = delete;
  ViewDesk& operator=(const ViewDesk&) = delete;

  /// `user` is destroyed without having been called if the gateway has ended, or is stuck.
  void ask(bool clients, User user);

 private:
  void begin();
  void end(const shard::GatewayView* view);
  void give_up();

  control::Gateway& gateway_;
  const std::shared_ptr<http::HttpPostbox> postbox_;
  bool under_way_ = false;
  bool clients_ = false;       // somebody among the waiting ones wants them
  std::vector<User> waiting_;  // for the next one
  std::vector<User> served_;   // by the one under way
  proto::Micros deadline_ = proto::kNever;
  http::Alarm alarm_;
};

}  // namespace nbdgw::admin
