#include "config/parse_admin.hpp"

#include <sys/stat.h>

#include <algorithm>

#include "config/address.hpp"
#include "config/keys.hpp"
#include "config/pem.hpp"
#include "config/secret.hpp"

namespace nbdgw::config {

namespace {

constexpr std::size_t kMaxAddresses = 8;
/// A shorter one can be guessed by somebody who may try as often as he likes.
constexpr std::size_t kShortToken = 16;

void parse_token(const Value& value, const std::string& config_file, const FileReader& reader, Admin& admin) {
  auto secret = read_secret_file(value, config_file, reader);
  if (!secret) return;
  std::string& text = secret->text;
  // RFC 6750 section 2.1: what an Authorization field can carry.
  const bool sendable = std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("-._~+/=").find(c) != std::string_view::npos;
  });
  // Written out twice: GCC 12 sees an overflow where the two are put together (-Warray-bounds, GCC bug 105329).
  if (!sendable)
    value.error("a token has only letters, digits and -._~+/=; a good one comes from: openssl rand -hex 32");
  if (text.size() < kShortToken) {
    value.warning("the token has " + std::to_string(text.size()) + " bytes; fewer than " +
                  std::to_string(kShortToken) + " can be guessed; a good one comes from: openssl rand -hex 32");
  }
  admin.token = std::move(text);
  admin.token_file = std::move(secret->path);
}

enum class PemKind { certificates, key };

/// False: it was reported why not.
bool read_pem(const Value& value, PemKind kind, const std::string& config_file, const FileReader& reader,
              PemFile& file) {
  const auto path = value.text();
  if (!path) return false;
  file.path = beside(config_file, *path);
  FileContent content = reader.read(file.path, kMaxPemFile);
  std::string wrong;
  if (!content.error.empty()) {
    wrong = "cannot read " + file.path + ": " + content.error;
  } else if (kind == PemKind::key && (content.mode & (S_IROTH | S_IWOTH)) != 0) {
    wrong = file.path + " is open to every user of this machine; do: chmod o-rwx " + file.path;
  } else {
    wrong = kind == PemKind::key ? check_private_key(content.text) : check_certificates(content.text);
    if (!wrong.empty()) wrong = file.path + " " + wrong;
  }
  file.text = std::move(content.text);
  if (wrong.empty()) return true;
  value.error(std::move(wrong));
  return false;
}

void parse_tls(const Value& value, const std::string& config_file, const FileReader& reader,
               std::optional<AdminTls>& out) {
  const auto section = value.section(keys::kAdminTls);
  if (!section) return;
  AdminTls& tls = out.emplace();
  const Value certificate = section->required("certificate_file", "/etc/nbdgw/admin.crt");
  const Value key = section->required("key_file", "/etc/nbdgw/admin.key");
  const bool has_certificate = read_pem(certificate, PemKind::certificates, config_file, reader, tls.certificate);
  const bool has_key = read_pem(key, PemKind::key, config_file, reader, tls.key);
  if (has_certificate && has_key && !belong_together(tls.certificate.text, tls.key.text)) {
    key.error(tls.key.path + " is not the key of " + tls.certificate.path +
              "; the server's own certificate comes first in that file");
  }
  if (has_certificate) {
    if (const std::string why = out_of_date(tls.certificate.text); !why.empty())
      certificate.warning(tls.certificate.path + " " + why + "; clients will refuse it");
  }
  if (const Value ca = section->get("client_ca_file"); ca.given())
    read_pem(ca, PemKind::certificates, config_file, reader, tls.client_ca.emplace());
}

/// Whoever gets to an address off this machine must have been asked who he is.
void check_access(const Value& value, const AdminEndpoint& address, bool tls, bool token, bool client_ca) {
  if (address.tls && !tls) {
    value.error("https needs a certificate: give admin.tls with certificate_file and key_file");
  } else if (is_local(address.endpoint)) {
    return;
  } else if (!token && !(address.tls && client_ca)) {
    value.error(
        "whoever reaches " + to_string(address) +
        " could stop every export: give admin.token_file, or https and admin.tls.client_ca_file; or listen on "
        "127.0.0.1 or a UNIX socket");
  } else if (!address.tls) {
    value.warning("the token goes over the network in the clear; https and admin.tls keep it secret");
  }
}

}  // namespace

void parse_admin(const Value& addresses, const Value& admin, const std::string& config_file, const FileReader& reader,
                 Config& config) {
  const auto section = admin.section(keys::kAdmin);
  const bool has_token = section && section->get("token_file").given();
  const bool has_tls = section && section->get("tls").given();
  if (section) {
    parse_token(section->get("token_file"), config_file, reader, config.admin);
    parse_tls(section->get("tls"), config_file, reader, config.admin.tls);
  }
  const bool has_client_ca = config.admin.tls && config.admin.tls->client_ca;
  auto& list = config.listen.admin;
  if (const auto values = addresses.one_or_list("addresses such as \"http://127.0.0.1:9810\"")) {
    if (values->size() > kMaxAddresses)
      addresses.error("has more than " + std::to_string(kMaxAddresses) + " addresses");
    for (const Value& value : *values) {
      const auto text = value.text();
      if (!text) continue;
      AdminEndpoint address;
      if (const std::string wrong = parse_admin_listen_address(*text, address); !wrong.empty()) {
        value.error(in_quotes(*text) + ": " + wrong);
      } else if (std::ranges::find(list, address.endpoint, &AdminEndpoint::endpoint) != list.end()) {
        value.error(in_quotes(*text) + " is in the list twice");
      } else {
        check_access(value, address, has_tls, has_token, has_client_ca);
        list.push_back(std::move(address));
      }
    }
  }
  if (has_tls && std::ranges::none_of(list, &AdminEndpoint::tls)) {
    section->get("tls").error(
        "no address in listen.admin begins with https:// or https+systemd:, so nothing would use it");
  }
  const auto asks = [](const AdminEndpoint& each) { return each.endpoint.kind != Endpoint::Kind::unix_socket; };
  if (has_token && std::ranges::none_of(list, asks)) {
    section->get("token_file")
        .warning(
            "has no effect: no address in listen.admin begins with http:// or https://, and a UNIX socket asks "
            "for no token");
  }
}

}  // namespace nbdgw::config
