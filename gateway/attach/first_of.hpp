#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <cstddef>
#include <exception>
#include <utility>

namespace nbdgw::attach {

inline boost::asio::awaitable<std::exception_ptr> caught(boost::asio::awaitable<void> work) {
  std::exception_ptr failure;
  try {
    co_await std::move(work);
  } catch (...) {
    failure = std::current_exception();
  }
  co_return failure;
}

/// The number of the one that ends first; the other one is cancelled. Throws what that one has thrown. (Asio's ||
/// would go on with the other one then, until it ends well.)
inline boost::asio::awaitable<std::size_t> first_of(boost::asio::awaitable<void> first,
                                                    boost::asio::awaitable<void> second) {
  using namespace boost::asio::experimental::awaitable_operators;
  auto one = caught(std::move(first));
  auto other = caught(std::move(second));
  const auto ended = co_await (std::move(one) || std::move(other));
  const std::exception_ptr failure = ended.index() == 0 ? std::get<0>(ended) : std::get<1>(ended);
  if (failure) std::rethrow_exception(failure);
  co_return ended.index();
}

}  // namespace nbdgw::attach
