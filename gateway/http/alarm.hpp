#pragma once

#include <functional>
#include <memory>

#include "gateway/http/server.hpp"
#include "proto/time.hpp"

namespace nbdgw::http {

/// Calls something on the server's thread when it is time. Belongs to that thread, and must live as long as it runs.
class Alarm {
 public:
  Alarm(std::shared_ptr<HttpPostbox> postbox, std::function<void()> ring)
      : postbox_(std::move(postbox)), ring_(std::move(ring)) {}
  Alarm(const Alarm&) = delete;
  Alarm& operator=(const Alarm&) = delete;

  /// Rings at `deadline` of net::steady_now() at the latest, or earlier: whoever is rung looks whether it is time,
  /// and sets it again.
  void set(proto::Micros deadline);

 private:
  void arm();

  const std::shared_ptr<HttpPostbox> postbox_;
  const std::function<void()> ring_;
  proto::Micros deadline_ = proto::kNever;
  proto::Micros armed_for_ = proto::kNever;  // a timer runs until then
  std::uint64_t number_ = 0;                 // of that timer; those before have been replaced
};

}  // namespace nbdgw::http
