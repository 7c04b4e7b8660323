#include "gateway/admin/process_figures.hpp"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace nbdgw::admin {

namespace {

/// Fields of /proc/self/stat, numbered as in proc(5).
constexpr std::size_t kThreads = 20;
constexpr std::size_t kStartTime = 22;  // clock ticks since boot
constexpr std::size_t kVirtual = 23;    // bytes
constexpr std::size_t kResident = 24;   // pages

std::string contents(const char* path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return std::move(text).str();
}

std::uint64_t number(std::string_view text) {
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

/// From the third field on: the second is the program's name, which may contain anything.
class Stat {
 public:
  Stat() : text_(contents("/proc/self/stat")) {
    const std::size_t name_end = text_.rfind(')');
    if (name_end == std::string::npos) return;
    for (std::size_t at = name_end + 2; at < text_.size();) {
      const std::size_t end = std::min(text_.find(' ', at), text_.size());
      fields_.push_back(std::string_view(text_).substr(at, end - at));
      at = end + 1;
    }
  }
  std::uint64_t operator[](std::size_t field) const {
    return field - 3 < fields_.size() ? number(fields_[field - 3]) : 0;
  }

 private:
  const std::string text_;
  std::vector<std::string_view> fields_;
};

/// Seconds since the epoch.
double boot_time() {
  const std::string text = contents("/proc/stat");
  constexpr std::string_view kKey = "\nbtime ";
  const std::size_t at = text.find(kKey);
  return at == std::string::npos ? 0 : static_cast<double>(number(std::string_view(text).substr(at + kKey.size())));
}

double http::seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

/// Linux 6.2 and later tell the number as the folder's size; before, they have to be counted.
std::uint64_t open_descriptors() {
  struct stat folder {};
  if (::stat("/proc/self/fd", &folder) == 0 && folder.st_size > 0) return static_cast<std::uint64_t>(folder.st_size);
  std::error_code failed;
  std::uint64_t count = 0;
  for (std::filesystem::directory_iterator each("/proc/self/fd", failed), end; !failed && each != end;
       each.increment(failed)) {
    ++count;
  }
  return count > 0 ? count - 1 : 0;  // without the one that reads the folder
}

}  // namespace

ProcessFigures process_figures() {
  ProcessFigures figures;
  rusage usage{};
  if (::getrusage(RUSAGE_SELF, &usage) == 0)
    figures.cpu_seconds = http::seconds(usage.ru_utime) + http::seconds(usage.ru_stime);
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) figures.max_fds = limit.rlim_cur;
  figures.open_fds = open_descriptors();
  const Stat stat;
  figures.threads = stat[kThreads];
  figures.virtual_bytes = stat[kVirtual];
  figures.resident_bytes = stat[kResident] * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  static const double kBootTime = boot_time();
  figures.started_at =
      kBootTime + static_cast<double>(stat[kStartTime]) / static_cast<double>(::sysconf(_SC_CLK_TCK));
  return figures;
}

}  // namespace nbdgw::admin
