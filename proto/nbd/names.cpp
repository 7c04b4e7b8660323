#include "proto/nbd/names.hpp"

namespace nbdgw::proto::nbd {

const char* to_string(Command command) noexcept {
  switch (command) {
    case Command::read:
      return "read";
    case Command::write:
      return "write";
    case Command::disc:
      return "disc";
    case Command::flush:
      return "flush";
    case Command::trim:
      return "trim";
    case Command::cache:
      return "cache";
    case Command::write_zeroes:
      return "write_zeroes";
    case Command::block_status:
      return "block_status";
    case Command::resize:
      return "resize";
  }
  return "other";
}

const char* to_string(Error error) noexcept {
  switch (error) {
    case Error::none:
      return "NBD_SUCCESS";
    case Error::eperm:
      return "NBD_EPERM";
    case Error::eio:
      return "NBD_EIO";
    case Error::enomem:
      return "NBD_ENOMEM";
    case Error::einval:
      return "NBD_EINVAL";
    case Error::enospc:
      return "NBD_ENOSPC";
    case Error::eoverflow:
      return "NBD_EOVERFLOW";
    case Error::enotsup:
      return "NBD_ENOTSUP";
    case Error::eshutdown:
      return "NBD_ESHUTDOWN";
  }
  return "other";
}

}  // namespace nbdgw::proto::nbd
