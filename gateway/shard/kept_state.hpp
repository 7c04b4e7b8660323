#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "gateway/nbd/kept_connection.hpp"
#include "gateway/net/unique_fd.hpp"
#include "gateway/shard/retirement.hpp"

namespace nbdgw::shard {

/// A client that comes to rest at the end of one process, for the next one to go on with.
struct KeptClient {
  net::UniqueFd fd;
  nbd::KeptConnection connection;
  // Where its export is: the next process must not serve it another disk under the same name.
  std::string iqn;
  std::uint64_t lun = 0;  // as on the wire
};

/// What a gateway that ends leaves for the one that comes in its place: after a restart clients go on where they
/// were, and a FLUSH still knows of the writes before it.
struct KeptState {
  std::vector<KeptClient> clients;
  std::vector<ExportLegacy> exports;
};

}  // namespace nbdgw::shard
