#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "gateway/net/log.hpp"
#include "proto/time.hpp"

namespace nbdgw::net::log {

/// A line that is to be written now.
struct Told {
  Level level = Level::info;
  std::string exported;
  std::string target;
  std::string client;
  std::uint32_t session = 0;
  std::string text;
};

/// What happens again and again to one subject is told once, then counted, and told once a minute with the count and
/// the latest text. A kind that has not happened for a minute begins anew. Several kinds that take turns do not tell
/// each other again.
///
/// The subject is its export, target and client, of the last without the port. The table is bounded, whatever peers
/// come and whatever they say: a subject has so many kinds, the table so many entries, and what is beyond that shares
/// one. Not for several threads at once.
class Folder {
 public:
  static constexpr proto::Micros kInterval = 60 * proto::kSecond;
  static constexpr std::size_t kMaxEntries = 256;
  static constexpr std::size_t kMaxKinds = 16;  // of a subject

  /// True: write it now. False: it was counted; the count may have been put into `due`, as it is time.
  bool take(const Kind& kind, const Subject& subject, Level level, std::string_view text, proto::Micros now,
            std::vector<Told>& due);
  /// What is counted of this subject.
  void tell(const Subject& subject, proto::Micros now, std::vector<Told>& out);
  /// What is counted and was not told for a minute. Forgets what has not happened for as long.
  void tell_due(proto::Micros now, std::vector<Told>& due);
  /// All that is counted.
  void tell_all(proto::Micros now, std::vector<Told>& out);

  std::size_t size() const noexcept { return entries_.size(); }

 private:
  struct Entry {
    std::uint64_t subject = 0;  // hashes; 0: of all that the table has no room for
    std::uint64_t kind = 0;
    proto::Micros began = 0;    // of this minute
    std::uint32_t told = 0;     // in it
    std::uint64_t counted = 0;  // and not told
    Told latest;
  };

  Entry& entry_for(std::uint64_t subject, std::uint64_t kind, proto::Micros now);
  void forget(proto::Micros now);
  static void tell(Entry& entry, proto::Micros now, std::vector<Told>& out);

  std::vector<Entry> entries_;
};

}  // namespace nbdgw::net::log
