#include "tests/sim/target/controller.hpp"

#include <algorithm>
#include <utility>

#include "tests/sim/target/array.hpp"

namespace nbdgw::sim {

Controller::Controller(Array& array, ControllerOptions options, std::uint16_t index)
    : array_(array), options_(std::move(options)), index_(index) {}

Controller::Answer Controller::answer() const noexcept {
  if (frozen_ || (down_ && silent_)) return Answer::silence;
  return down_ ? Answer::refuse : Answer::accept;
}

Controller::Answer Controller::on_connect() {
  const Answer result = answer();
  const bool in_session = std::ranges::any_of(array_.sessions, [](const auto& session) { return !session->ended(); });
  TargetObserver* const observer = array_.options.observer;
  if (observer != nullptr) observer->on_connect(index_, result == Answer::silence, in_session);
  return result;
}

ConnectionPort Controller::connect(Line& line) {
  return {array_, array_.add_connection(*this, line)};
}

void ConnectionPort::on_bytes(const Piece& bytes, bool more) {
  connection_->on_bytes(bytes);
  if (!more || connection_->dead()) array_->settle();
}

void ConnectionPort::on_end(bool reset) {
  connection_->on_end(reset);
  array_->settle();
}

void Controller::go_down(bool silent) {
  down_ = true;
  silent_ = silent;
  for (const auto& connection : array_.connections) {
    if (&connection->controller() == this) connection->drop(silent ? Cut::vanish : Cut::reset);
  }
}

void Controller::freeze(bool yes) {
  frozen_ = yes;
  for (const auto& connection : array_.connections) {
    if (&connection->controller() != this || connection->dead()) continue;
    if (array_.habits().frozen_paths) {
      connection->stall(yes);
    } else {
      connection->read(!yes);
    }
    if (!yes) connection->flush();
  }
}

}  // namespace nbdgw::sim
