#include "gateway/attach/nbd_control.hpp"

#include <linux/nbd-netlink.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/netlink.h>

#include <cerrno>

namespace nbdgw::attach {
namespace {

constexpr std::uint64_t kEndsWithUse = 1 << 1;  // NBD_CFLAG_DISCONNECT_ON_CLOSE, linux/nbd.h

struct MessageDeleter {
  void operator()(nl_msg* message) const noexcept { nlmsg_free(message); }
};
using Message = std::unique_ptr<nl_msg, MessageDeleter>;

/// What came of a request.
struct Answer {
  int error = 0;  // errno
  bool over = false;
  std::uint32_t* index = nullptr;
};

int on_answer(nl_msg* message, void* to) {
  auto& answer = *static_cast<Answer*>(to);
  nlattr* attributes[NBD_ATTR_MAX + 1];
  if (genlmsg_parse(nlmsg_hdr(message), 0, attributes, NBD_ATTR_MAX, nullptr) == 0 && answer.index != nullptr &&
      attributes[NBD_ATTR_INDEX] != nullptr)
    *answer.index = nla_get_u32(attributes[NBD_ATTR_INDEX]);
  return NL_OK;
}

int on_end(nl_msg*, void* to) {
  static_cast<Answer*>(to)->over = true;
  return NL_STOP;
}

/// The library has error numbers of its own, fewer than the kernel.
int on_error(sockaddr_nl*, nlmsgerr* error, void* to) {
  auto& answer = *static_cast<Answer*>(to);
  answer.error = -error->error;
  answer.over = true;
  return NL_STOP;
}

struct News {
  std::uint32_t index = 0;
  bool dead = false;
};

int on_news(nl_msg* message, void* to) {
  auto& news = *static_cast<News*>(to);
  nlattr* attributes[NBD_ATTR_MAX + 1];
  const auto* header = static_cast<const genlmsghdr*>(nlmsg_data(nlmsg_hdr(message)));
  if (header->cmd != NBD_CMD_LINK_DEAD) return NL_OK;
  if (genlmsg_parse(nlmsg_hdr(message), 0, attributes, NBD_ATTR_MAX, nullptr) != 0) return NL_OK;
  if (attributes[NBD_ATTR_INDEX] != nullptr && nla_get_u32(attributes[NBD_ATTR_INDEX]) == news.index)
    news.dead = true;
  return NL_OK;
}

void put_socket(nl_msg* message, int socket) {
  nlattr* const all = nla_nest_start(message, NBD_ATTR_SOCKETS);
  nlattr* const one = nla_nest_start(message, NBD_SOCK_ITEM);
  nla_put_u32(message, NBD_SOCK_FD, static_cast<std::uint32_t>(socket));
  nla_nest_end(message, one);
  nla_nest_end(message, all);
}

}  // namespace

void NbdControl::Deleter::operator()(nl_sock* socket) const noexcept {
  nl_socket_free(socket);
}

NbdControl::~NbdControl() = default;

std::string NbdControl::open() {
  requests_.reset(nl_socket_alloc());
  news_.reset(nl_socket_alloc());
  if (!requests_ || !news_ || genl_connect(requests_.get()) < 0 || genl_connect(news_.get()) < 0)
    return "no netlink socket is to be had here: run as root, where the sandbox allows AF_NETLINK";
  family_ = genl_ctrl_resolve(requests_.get(), NBD_GENL_FAMILY_NAME);
  if (family_ < 0)
    return "the kernel's NBD driver cannot be reached: run modprobe nbd; in a container, with the network of the "
           "host";
  const int group = genl_ctrl_resolve_grp(requests_.get(), NBD_GENL_FAMILY_NAME, NBD_GENL_MCAST_GROUP_NAME);
  if (group < 0 || nl_socket_add_membership(news_.get(), group) < 0)
    return "the kernel's NBD driver does not tell of dead connections here: run as root";
  nl_socket_disable_seq_check(news_.get());
  nl_socket_set_nonblocking(news_.get());
  return "";
}

template <typename Fill>
int NbdControl::ask(std::uint8_t command, std::uint32_t* index, Fill fill) {
  const Message message(nlmsg_alloc());
  if (!message ||
      genlmsg_put(message.get(), NL_AUTO_PORT, NL_AUTO_SEQ, family_, 0, 0, command, NBD_GENL_VERSION) == nullptr)
    return ENOMEM;
  fill(message.get());
  Answer answer{.index = index};
  nl_sock* const socket = requests_.get();
  nl_socket_modify_cb(socket, NL_CB_VALID, NL_CB_CUSTOM, on_answer, &answer);
  nl_socket_modify_cb(socket, NL_CB_ACK, NL_CB_CUSTOM, on_end, &answer);
  nl_socket_modify_err_cb(socket, NL_CB_CUSTOM, on_error, &answer);
  if (nl_send_auto(socket, message.get()) < 0) return errno != 0 ? errno : EIO;
  while (!answer.over) {
    if (nl_recvmsgs_default(socket) < 0 && !answer.over) return EIO;
  }
  return answer.error;
}

int NbdControl::connect(const Device& device, std::uint32_t& index) {
  return ask(NBD_CMD_CONNECT, &index, [&device](nl_msg* message) {
    if (device.index) nla_put_u32(message, NBD_ATTR_INDEX, *device.index);
    nla_put_u64(message, NBD_ATTR_SIZE_BYTES, device.size);
    nla_put_u64(message, NBD_ATTR_BLOCK_SIZE_BYTES, device.block);
    nla_put_u64(message, NBD_ATTR_SERVER_FLAGS, device.flags);
    nla_put_u64(message, NBD_ATTR_CLIENT_FLAGS, device.ends_with_use ? kEndsWithUse : 0);
    nla_put_u64(message, NBD_ATTR_TIMEOUT, 0);
    nla_put_u64(message, NBD_ATTR_DEAD_CONN_TIMEOUT, device.hold_s);
    nla_put_string(message, NBD_ATTR_BACKEND_IDENTIFIER, device.identity.c_str());
    put_socket(message, device.socket);
  });
}

int NbdControl::reconfigure(std::uint32_t index, const Change& change) {
  return ask(NBD_CMD_RECONFIGURE, nullptr, [index, &change](nl_msg* message) {
    nla_put_u32(message, NBD_ATTR_INDEX, index);
    nla_put_string(message, NBD_ATTR_BACKEND_IDENTIFIER, change.identity.c_str());
    if (change.size != 0) nla_put_u64(message, NBD_ATTR_SIZE_BYTES, change.size);
    if (change.socket >= 0) put_socket(message, change.socket);
  });
}

int NbdControl::disconnect(std::uint32_t index) {
  return ask(NBD_CMD_DISCONNECT, nullptr, [index](nl_msg* message) { nla_put_u32(message, NBD_ATTR_INDEX, index); });
}

int NbdControl::descriptor() const noexcept {
  return nl_socket_get_fd(news_.get());
}

bool NbdControl::take_news(std::uint32_t index) {
  News news{.index = index};
  nl_socket_modify_cb(news_.get(), NL_CB_VALID, NL_CB_CUSTOM, on_news, &news);
  const int result = nl_recvmsgs_default(news_.get());
  const bool lost = result < 0 && result != -NLE_AGAIN;  // ENOBUFS: the queue was full
  return news.dead || lost;
}

}  // namespace nbdgw::attach
