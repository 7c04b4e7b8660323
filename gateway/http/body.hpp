#pragma once

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/optional.hpp>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "gateway/http/message.hpp"

namespace nbdgw::http {

/// The body of a response, as Beast wants it described: sent from where it is.
struct HttpBody {
  struct value_type {
    std::string text;
    SharedText shared;  // behind it
  };

  static std::uint64_t size(const value_type& body) noexcept {
    std::uint64_t size = body.text.size();
    for (const auto& piece : body.shared) size += piece->size();
    return size;
  }

  class writer {
   public:
    using const_buffers_type = std::vector<boost::asio::const_buffer>;

    template <bool kRequest, typename Fields>
    writer(const boost::beast::http::header<kRequest, Fields>&, const value_type& body) : body_(body) {}
    void init(boost::system::error_code& error) noexcept { error = {}; }
    boost::optional<std::pair<const_buffers_type, bool>> get(boost::system::error_code& error) {
      error = {};
      const_buffers_type buffers{boost::asio::buffer(body_.text)};
      for (const auto& piece : body_.shared) buffers.push_back(boost::asio::buffer(*piece));
      return {{std::move(buffers), false}};
    }

   private:
    const value_type& body_;
  };
};

}  // namespace nbdgw::http
