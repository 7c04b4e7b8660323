#include "gateway/bridge/lun_record.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "proto/bytes/endian.hpp"
#include "proto/crc32c.hpp"

namespace nbdgw::bridge {
namespace {

/// Over all that comes behind the sum itself. What is not summed up yet, all zeroes, has another one.
template <typename T>
std::uint32_t sum_of(const T& part) noexcept {
  static_assert(offsetof(T, sum) == 0);
  return proto::crc32c(0, reinterpret_cast<const std::uint8_t*>(&part) + sizeof part.sum,
                       sizeof part - sizeof part.sum);
}

/// An empty one, padding included.
template <typename T>
T blank() noexcept {
  T part;
  std::memset(static_cast<void*>(&part), 0, sizeof part);
  return part;
}

template <typename T>
void store(T& to, T& part) noexcept {
  part.sum = sum_of(part);
  std::memcpy(static_cast<void*>(&to), &part, sizeof part);
}

}  // namespace

void LunRecord::Text::put(std::string_view text) noexcept {
  length = static_cast<std::uint8_t>(std::min(text.size(), kText));
  std::copy_n(text.begin(), length, bytes.begin());
}

void LunRecord::put_unit(const proto::DiskIdentity& disk, const PowerOnJudge::Learnt& learnt) noexcept {
  Unit now = blank<Unit>();
  now.designator.put(disk.designator);
  now.serial.put(disk.serial);
  now.login_is_silent = learnt.login_is_silent ? 1 : 0;
  now.reset_is_silent = learnt.reset_is_silent ? 1 : 0;
  store(unit, now);
}

void LunRecord::put_place(std::size_t index, const initiator::PortalGroup& group) noexcept {
  Place now = blank<Place>();
  // Cut, it would be another host.
  if (group.portal.host.size() > kText) return clear_place(index);
  now.host.put(group.portal.host);
  now.address.put(group.address);
  proto::store_be16(now.port.data(), group.portal.port);
  proto::store_be16(now.tag.data(), group.tag.value_or(0));
  now.tagged = group.tag ? 1 : 0;
  now.used = 1;
  store(places[index], now);
}

void LunRecord::put_left(bool writes, std::span<const initiator::LeftWrites> left) noexcept {
  left_before = writes ? 1 : 0;
  if (left.empty()) return;  // nobody knows better than the places that are there
  for (std::size_t i = 0; i < kPlaces; ++i) {
    if (i < left.size()) {
      put_place(i, left[i].group);
    } else {
      clear_place(i);
    }
  }
}

bool LunRecord::unit_is_whole() const noexcept {
  return unit.sum == sum_of(unit);
}

proto::DiskIdentity LunRecord::disk() const {
  if (!unit_is_whole()) return {};
  return {.designator = unit.designator.get(), .serial = unit.serial.get()};
}

PowerOnJudge::Learnt LunRecord::learnt() const noexcept {
  if (!unit_is_whole()) return {};
  return {.login_is_silent = unit.login_is_silent != 0, .reset_is_silent = unit.reset_is_silent != 0};
}

std::optional<initiator::PortalGroup> LunRecord::place(std::size_t index) const {
  const Place& place = places[index];
  if (place.used == 0 || place.sum != sum_of(place)) return std::nullopt;
  initiator::PortalGroup group;
  group.portal = {.host = place.host.get(), .port = proto::load_be16(place.port.data())};
  group.address = place.address.get();
  if (place.tagged != 0) group.tag = proto::load_be16(place.tag.data());
  return group;
}

}  // namespace nbdgw::bridge
