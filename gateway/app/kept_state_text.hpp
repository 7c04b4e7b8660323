#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "gateway/net/inherited_sockets.hpp"
#include "gateway/shard/kept_state.hpp"

namespace nbdgw::app {

/// What a gateway has left, as JSON, but for the sockets: client N of it is named client_name(N, its connection).
std::string kept_state_text(const shard::KeptState& state);

/// Whose unread bytes are more than the release before can take in has another number: that release leaves it out.
std::string client_name(std::size_t number, const nbd::KeptConnection& connection = {});
/// What all of these begin with; a number follows.
std::string_view client_name_prefix() noexcept;

/// The same back, with the sockets of those names. A client whose socket is not there is left out: it has gone
/// meanwhile. Throws std::runtime_error, with what is wrong, if it is not ours.
shard::KeptState parse_kept_state(std::string_view text, std::vector<net::InheritedSockets::Named> sockets);

}  // namespace nbdgw::app
