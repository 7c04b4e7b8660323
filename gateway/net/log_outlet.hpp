#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "config/model.hpp"
#include "gateway/net/log_line.hpp"
#include "gateway/net/unique_fd.hpp"
#include "proto/time.hpp"

namespace nbdgw::net::log {

/// Where systemd's journal takes what programs have to say.
inline constexpr const char* kJournalSocket = "/run/systemd/journal/socket";

/// What "auto" comes to: the journal's own protocol if descriptor `fd` is what JOURNAL_STREAM (of which this is the
/// value, or null) says the journal reads, else text.
config::LogFormat format_for(config::LogFormat wanted, int fd, const char* journal_stream) noexcept;

/// Writes lines in one of their forms to a descriptor, or to the journal. Of one thread, which may wait for a reader
/// that does not read; the descriptor is not made non-blocking, as others may have it, too.
class Outlet {
 public:
  /// `fd` is not owned. `format` is none of `automatic`. A journal that is not there gets no datagrams: then lines go
  /// to `fd`, each with its priority in front.
  Outlet(int fd, config::LogFormat format, std::string journal_socket = kJournalSocket);

  /// False: nobody reads there, or it is later than `give_up_at` (net::steady_now()), which may come nearer
  /// meanwhile.
  bool put(const Line& line, const std::atomic<proto::Micros>& give_up_at) noexcept;

 private:
  enum class Sent : std::uint8_t { yes, no_journal, given_up };

  Sent send_to_journal(const Line& line, const std::atomic<proto::Micros>& give_up_at);
  bool write_all(std::string_view bytes, const std::atomic<proto::Micros>& give_up_at) noexcept;

  const int fd_;
  const config::LogFormat format_;
  const std::string journal_socket_;
  UniqueFd journal_;
  bool colours_ = false;
  bool is_socket_ = false;
};

}  // namespace nbdgw::net::log
