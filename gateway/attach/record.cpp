#include "gateway/attach/record.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <system_error>

namespace nbdgw::attach {
namespace {

constexpr std::int64_t kVersion = 1;
constexpr std::size_t kLength = 8 * 1024;  // bytes: the two names have 4096 at most, the rest some hundred

[[noreturn]] void give_up(const std::filesystem::path& path) {
  throw std::runtime_error(fmt::format("{}: {}: it is to keep what has to outlive this process", path.string(),
                                       std::generic_category().message(errno)));
}

std::string content_of(int fd) {
  std::string text(kLength, '\0');
  const ssize_t n = ::pread(fd, text.data(), text.size(), 0);
  text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  return text;
}

/// Throws what Boost.JSON throws where something is missing.
Record parse(const std::string& text) {
  const boost::json::object from = boost::json::parse(text).as_object();
  if (from.at("version").as_int64() != kVersion) throw std::invalid_argument("version");
  Record record;
  record.exported = from.at("export").as_string();
  record.token = from.at("token").as_string();
  record.held.identity = from.at("identity").as_string();
  record.held.size = from.at("size").to_number<std::uint64_t>();
  record.held.flags = from.at("flags").to_number<std::uint16_t>();
  record.held.block = from.at("block").to_number<std::uint32_t>();
  return record;
}

}  // namespace

RecordFile::RecordFile(const std::filesystem::path& folder, const std::string& device) : path_(folder / device) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  file_ = net::UniqueFd(::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file_) give_up(path_);
}

bool RecordFile::lock() {
  return ::flock(file_.get(), LOCK_EX | LOCK_NB) == 0;
}

int RecordFile::keeper() const {
  try {
    return boost::json::parse(content_of(file_.get())).as_object().at("pid").to_number<int>();
  } catch (const std::exception&) {
    return 0;
  }
}

std::optional<Record> RecordFile::read() const {
  try {
    return parse(content_of(file_.get()));
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

void RecordFile::write(const Record& record) {
  std::string text = boost::json::serialize(boost::json::object{{"version", kVersion},
                                                                {"pid", ::getpid()},
                                                                {"export", record.exported},
                                                                {"token", record.token},
                                                                {"identity", record.held.identity},
                                                                {"size", record.held.size},
                                                                {"flags", record.held.flags},
                                                                {"block", record.held.block}});
  // Always as long, and written at once: whoever is killed leaves the old text or the new one.
  text.resize(kLength, ' ');
  text.back() = '\n';
  if (::pwrite(file_.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) give_up(path_);
}

void RecordFile::clear() {
  // The file stays: whoever has opened it meanwhile would have the lock of one that nobody finds any more.
  if (::ftruncate(file_.get(), 0) != 0) give_up(path_);
}

}  // namespace nbdgw::attach
