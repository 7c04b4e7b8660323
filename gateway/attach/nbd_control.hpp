#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

struct nl_msg;
struct nl_sock;

namespace nbdgw::attach {

/// What the kernel's NBD driver is asked over generic netlink (linux/nbd-netlink.h), and what it tells unasked. One
/// thread at a time.
class NbdControl {
 public:
  /// A new device. No timeout: with one the kernel takes a request that is held for a dead connection.
  struct Device {
    std::optional<std::uint32_t> index;  // none: the next free one
    int socket = -1;
    std::uint64_t size = 0;      // bytes
    std::uint32_t block = 512;   // bytes
    std::uint16_t flags = 0;     // transmission flags
    std::uint64_t hold_s = 0;    // how long requests wait for a connection before they fail
    bool ends_with_use = false;  // detached when the last one closes it
    std::string identity;        // has to be named again for another connection; shown in sysfs
  };
  /// Another connection, another size, or both, for a device that is there.
  struct Change {
    int socket = -1;         // -1: none
    std::uint64_t size = 0;  // bytes; 0: as it is
    std::string identity;
  };

  NbdControl() = default;
  ~NbdControl();
  NbdControl(const NbdControl&) = delete;
  NbdControl& operator=(const NbdControl&) = delete;

  /// Finds the driver, and subscribes to what it tells. Returns what is wrong, for people; empty: nothing is.
  std::string open();

  /// Each returns an errno; 0: done. `index` becomes the device that there is.
  int connect(const Device& device, std::uint32_t& index);
  int reconfigure(std::uint32_t index, const Change& change);
  /// May hang in the kernel while the connection's peer takes nothing.
  int disconnect(std::uint32_t index);

  /// Readable when the driver has told something.
  int descriptor() const noexcept;
  /// Takes what it has told. True: a connection of that device is dead, or may be, as news were lost.
  bool take_news(std::uint32_t index);

 private:
  struct Deleter {
    void operator()(nl_sock* socket) const noexcept;
  };
  using Socket = std::unique_ptr<nl_sock, Deleter>;

  template <typename Fill>
  int ask(std::uint8_t command, std::uint32_t* index, Fill fill);

  Socket requests_;
  Socket news_;
  int family_ = 0;
};

}  // namespace nbdgw::attach
