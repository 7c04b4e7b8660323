#include "gateway/nbd/counters.hpp"

namespace nbdgw::nbd {

std::size_t Counters::index_of(proto::nbd::Command command) noexcept {
  const auto number = static_cast<std::size_t>(command);
  return number < kCommands - 1 ? number : kCommands - 1;
}

std::size_t Counters::index_of(proto::nbd::Error error) noexcept {
  using proto::nbd::Error;
  switch (error) {
    case Error::none:
      return 0;
    case Error::eperm:
      return 1;
    case Error::eio:
      return 2;
    case Error::enomem:
      return 3;
    case Error::einval:
      return 4;
    case Error::enospc:
      return 5;
    case Error::eoverflow:
      return 6;
    case Error::enotsup:
      return 7;
    case Error::eshutdown:
      return 8;
  }
  return 2;  // nothing else is ever sent
}

Counters& Counters::operator+=(const Counters& other) noexcept {
  for (std::size_t i = 0; i < kCommands; ++i) requests[i] += other.requests[i];
  for (std::size_t i = 0; i < kErrors; ++i) replies[i] += other.replies[i];
  bytes_received += other.bytes_received;
  bytes_sent += other.bytes_sent;
  bytes_written += other.bytes_written;
  bytes_read += other.bytes_read;
  bytes_discarded += other.bytes_discarded;
  stalls += other.stalls;
  in_flight_stops += other.in_flight_stops;
  options += other.options;
  option_errors += other.option_errors;
  return *this;
}

}  // namespace nbdgw::nbd
