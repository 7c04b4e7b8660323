#include "gateway/net/resolver.hpp"

#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <cstring>
#include <memory>

#include "gateway/net/stream_socket.hpp"

namespace nbdgw::net {
namespace {

using boost::asio::ip::tcp;

Address to_address(const tcp::endpoint& endpoint) {
  Address address;
  std::memcpy(&address.storage, endpoint.data(), endpoint.size());
  address.length = static_cast<socklen_t>(endpoint.size());
  return address;
}

}  // namespace

std::string Address::text() const {
  return address_text(get(), length);
}

bool parse_literal(const std::string& host, std::uint16_t port, Address& address) {
  boost::system::error_code error;
  const auto literal = boost::asio::ip::make_address(host, error);
  if (error) return false;
  address = to_address(tcp::endpoint(literal, port));
  return true;
}

void Resolver::resolve(const std::string& host, std::uint16_t port, Done done) {
  boost::asio::post(control_, [&control = control_, host, port, done = std::move(done)]() mutable {
    auto resolver = std::make_shared<tcp::resolver>(control);
    resolver->async_resolve(host, std::to_string(port), tcp::resolver::numeric_service,
                            [resolver, done = std::move(done)](const boost::system::error_code& error,
                                                               const tcp::resolver::results_type& results) {
                              std::vector<Address> addresses;
                              for (const auto& entry : results) addresses.push_back(to_address(entry.endpoint()));
                              done(std::move(addresses), error ? error.message() : std::string());
                            });
  });
}

}  // namespace nbdgw::net
