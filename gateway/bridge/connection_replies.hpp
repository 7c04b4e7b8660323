#pragma once

#include "gateway/bridge/export.hpp"
#include "gateway/nbd/connection.hpp"

namespace nbdgw::bridge {

/// Hands outcomes to the NBD connections that asked.
class ConnectionReplies final : public Replies {
 public:
  void segment_done(nbd::Request& request, nbd::Segment& segment) override {
    request.connection->segment_done(request, segment);
  }
  void finish(nbd::Request& request, proto::nbd::Error error, const char* text) override {
    request.connection->finish(request, error, text);
  }
};

}  // namespace nbdgw::bridge
