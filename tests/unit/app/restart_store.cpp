#include "gateway/app/restart_store.hpp"

#include <doctest/doctest.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <string>
#include <vector>

using namespace nbdgw;
using app::RestartStore;

TEST_CASE("what a process has stored is told from a socket unit's by its name and by what it is") {
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  const net::UniqueFd client(ends[0]), peer(ends[1]);
  const net::UniqueFd state(::memfd_create("state", MFD_CLOEXEC));
  const net::UniqueFd listening(::socket(AF_INET, SOCK_STREAM, 0));
  REQUIRE(::listen(listening.get(), 1) == 0);
  const net::UniqueFd datagrams(::socket(AF_UNIX, SOCK_DGRAM, 0));
  const net::UniqueFd neither(::eventfd(0, 0));

  for (const char* name : {"nbdgw-client-0", "nbdgw-client-65535"}) {
    CHECK(RestartStore::is_stored(name, client.get()));
    for (const net::UniqueFd* other : {&state, &listening, &datagrams, &neither})
      CHECK_FALSE(RestartStore::is_stored(name, other->get()));
  }
  CHECK(RestartStore::is_stored("nbdgw-state", state.get()));
  for (const net::UniqueFd* other : {&client, &listening, &datagrams, &neither})
    CHECK_FALSE(RestartStore::is_stored("nbdgw-state", other->get()));
  for (const char* name :
       {"", "nbd", "nbdgw", "nbdgw-", "nbdgw-nbd.socket", "nbdgw-client", "nbdgw-client-", "nbdgw-client-x",
        "nbdgw-client-01", "nbdgw-client-1.socket", "nbdgw-client--1", "nbdgw-state-2", "xnbdgw-state"}) {
    CAPTURE(name);
    for (const net::UniqueFd* any : {&client, &state, &listening, &datagrams, &neither})
      CHECK_FALSE(RestartStore::is_stored(name, any->get()));
  }
  CHECK_FALSE(RestartStore::is_stored("nbdgw-client-0", -1));
}
