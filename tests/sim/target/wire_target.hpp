#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "tests/sim/network.hpp"
#include "tests/sim/target/target_connection.hpp"
#include "tests/sim/target/target_model.hpp"

namespace nbdgw::sim {

/// A controller of the array on the simulated network.
class WireController final : public Acceptor {
 public:
  explicit WireController(Controller& controller) : controller_(controller) {}

  Answer on_connect() override {
    switch (controller_.on_connect()) {
      case Controller::Answer::accept:
        return Answer::accept;
      case Controller::Answer::refuse:
        return Answer::refuse;
      case Controller::Answer::silence:
        break;
    }
    return Answer::silence;
  }
  Peer& on_connected(Wire& wire) override {
    std::erase_if(ends_, [](const auto& end) { return end->over(); });
    ends_.push_back(std::make_unique<WireEnd>(wire));
    ends_.back()->set_port(controller_.connect(*ends_.back()));
    return *ends_.back();
  }

 private:
  /// Stays until the connection is over, and is not used after that.
  class WireEnd final : public Peer, public Line {
   public:
    explicit WireEnd(Wire& wire) : wire_(&wire) {}
    void set_port(ConnectionPort port) noexcept { port_ = port; }
    bool over() const noexcept { return wire_ == nullptr; }

    void on_bytes(Wire&, const Piece& bytes, bool more) override {
      if (!over()) port_.on_bytes(bytes, more);
    }
    void on_end(Wire&, End how) override {
      if (over()) return;
      if (how == End::reset) wire_ = nullptr;
      port_.on_end(how == End::reset);
    }
    void send(std::span<const Piece> pieces) override { wire_->send(pieces); }
    std::size_t backlog() const override { return wire_->backlog(); }
    void read(bool on) override { wire_->read(on); }
    void stall(bool yes) override { wire_->stall(yes); }
    void half_close() override { wire_->half_close(); }
    void close() override {
      if (Wire* const wire = std::exchange(wire_, nullptr)) wire->close();
    }
    void reset() override {
      if (Wire* const wire = std::exchange(wire_, nullptr)) wire->reset();
    }
    void vanish() override {
      if (Wire* const wire = std::exchange(wire_, nullptr)) wire->vanish();
    }

   private:
    Wire* wire_;
    ConnectionPort port_;
  };

  Controller& controller_;
  std::vector<std::unique_ptr<WireEnd>> ends_;
};

}  // namespace nbdgw::sim
