#include "config/secret.hpp"

#include <sys/stat.h>

namespace nbdgw::config {

std::string take_secret(const std::string& path, FileContent& content) {
  if (!content.error.empty()) return "cannot read " + path + ": " + content.error;
  if ((content.mode & (S_IROTH | S_IWOTH)) != 0) {
    return path + " is open to every user of this machine; do: chmod o-rwx " + path;
  }
  std::string& secret = content.text;
  if (secret.ends_with('\n')) secret.pop_back();
  if (secret.ends_with('\r')) secret.pop_back();
  if (secret.empty()) return path + " is empty; it must hold the secret, in one line";
  if (secret.find('\0') != std::string::npos) return path + " has a NUL byte in it; it must hold the secret as text";
  if (secret.find_first_of("\n\r") != std::string::npos) {
    return path + " has several lines; it must hold the secret alone, in one line";
  }
  if (secret.size() > kLongestSecret) {
    return path + " holds " + std::to_string(secret.size()) + " bytes; a secret has at most " +
           std::to_string(kLongestSecret);
  }
  return {};
}

std::string beside(const std::string& config_file, std::string path) {
  const std::size_t slash = config_file.rfind('/');
  if (!path.starts_with('/') && slash != std::string::npos) path.insert(0, config_file, 0, slash + 1);
  return path;
}

std::optional<Secret> read_secret_file(const Value& value, const std::string& config_file, const FileReader& reader) {
  const auto given = value.text();
  if (!given) return std::nullopt;
  std::string path = beside(config_file, *given);
  // Room for a line break more than the longest secret, and for a message that says how long it really is.
  FileContent content = reader.read(path, 4 * kLongestSecret);
  if (const std::string wrong = take_secret(path, content); !wrong.empty()) {
    value.error(wrong);
    return std::nullopt;
  }
  return Secret{std::move(path), std::move(content.text)};
}

std::optional<Secret> read_secret(const Value& value, const std::string& config_file, const FileReader& reader) {
  auto secret = read_secret_file(value, config_file, reader);
  if (secret && secret->text.size() < kShortSecret) {
    value.warning("the secret has " + std::to_string(secret->text.size()) + " bytes; fewer than " +
                  std::to_string(kShortSecret) + " can be guessed from one login seen on the network");
  }
  return secret;
}

}  // namespace nbdgw::config
