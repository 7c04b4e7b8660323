#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "gateway/bridge/cache_numbers.hpp"
#include "gateway/bridge/power_on.hpp"
#include "gateway/initiator/left_writes.hpp"
#include "gateway/initiator/portal_group.hpp"
#include "proto/disk_identity.hpp"
#include "proto/nbd/meta_context.hpp"
#include "proto/time.hpp"

namespace nbdgw::bridge {

/// What has to be known of a LUN when the process has died without a word, as it lies in memory that outlives it.
/// Whoever counts counts in there, so that it is true before a reply leaves. A process that dies between two stores
/// leaves what may not fit together: numbers are looked at before they are believed, and texts have a checksum.
struct LunRecord {
  /// Clients that would make another connection, at most; of more it is not known what they are owed.
  static constexpr std::size_t kClients = 128;
  /// Longest identity that VPD page 83h or 80h can tell, longest name of a host and longest address, bytes.
  static constexpr std::size_t kText = 255;
  /// Portal groups where writes may be: of the present session, the first, and others with what is not proven to be
  /// over.
  static constexpr std::size_t kPlaces = 8;

  enum class Standing : std::uint8_t {
    none,  // the place is free
    told,  // of all that was lost, or nothing was
    owed,  // a failing FLUSH
  };
  struct Client {
    std::array<char, proto::nbd::kMaxClientToken> token;
    std::uint8_t token_length;
    Standing standing;
  };
  /// Bytes only, so that all of it can be summed up.
  struct Text {
    std::uint8_t length;
    std::array<char, kText> bytes;

    /// Longer ones are cut.
    void put(std::string_view text) noexcept;
    std::string get() const { return std::string(bytes.data(), length); }
  };
  /// What was learnt of it.
  struct Unit {
    std::uint32_t sum;
    Text designator;
    Text serial;
    std::uint8_t login_is_silent;  // PowerOnJudge::Learnt
    std::uint8_t reset_is_silent;
  };
  /// Where a session was that has written; none: its `used` is 0.
  struct Place {
    std::uint32_t sum;
    Text host;
    Text address;
    std::array<std::uint8_t, 2> port;  // big endian, as is the tag
    std::array<std::uint8_t, 2> tag;
    std::uint8_t tagged;
    std::uint8_t used;
  };

  CacheNumbers cache;
  proto::Micros seen_at;       // when there was a path to it, by the clock since the machine has booted
  std::uint32_t writing;       // commands that write, and may be with the target
  std::uint32_t owed_unnamed;  // connections that are owed a failing FLUSH, and are not among `clients`
  std::uint8_t left_before;    // a process before this one had such, which are not proven to be over
  std::uint8_t unjudged;       // there is a session after an outage, and the LUN has not said yet what it came to
  Unit unit;
  std::array<Place, kPlaces> places;
  std::array<Client, kClients> clients;

  void put_unit(const proto::DiskIdentity& disk, const PowerOnJudge::Learnt& learnt) noexcept;
  void put_place(std::size_t index, const initiator::PortalGroup& group) noexcept;
  void clear_place(std::size_t index) noexcept { places[index].used = 0; }
  /// The end: there are writes that nothing proves to be over, in these places, as far as is known; or there are
  /// none.
  void put_left(bool writes, std::span<const initiator::LeftWrites> left) noexcept;

  /// Empty, where it was not written to its end.
  proto::DiskIdentity disk() const;
  PowerOnJudge::Learnt learnt() const noexcept;
  /// None: it is free, or was not written to its end.
  std::optional<initiator::PortalGroup> place(std::size_t index) const;

 private:
  bool unit_is_whole() const noexcept;
};

static_assert(std::is_trivially_copyable_v<LunRecord>);

}  // namespace nbdgw::bridge
