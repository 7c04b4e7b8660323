#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gateway/http/message.hpp"

/// Strict reading of what a request says: what is not known, not of the right type or out of bounds is refused, and
/// nothing is guessed.
namespace nbdgw::http {

/// What is wrong with a request.
struct Refusal {
  unsigned status = 400;
  std::string code;
  std::string detail;
  std::string field{};  // empty: it is about the whole

  Response response() const { return problem(status, code, detail, field); }
};

/// The name of a member that an object of this JSON text has twice: whoever reads it takes one of the two, and not
/// everybody the same one. Nothing if the text is broken, too.
std::optional<std::string> duplicate_member(std::string_view json);

/// Whether a request that wants a change says that its body is JSON. Only then is it looked at: a page in somebody's
/// browser cannot say so without being asked for it first (a form cannot, and a script needs our permission).
bool is_json(const Request& request) noexcept;
Refusal not_json();

/// The body of a POST: an object. Each member is asked for once, the first mistake is kept; see refusal().
class Fields {
 public:
  /// `known`: all members that there may be.
  Fields(const Request& request, std::initializer_list<std::string_view> known);

  bool flag(std::string_view name, bool otherwise);
  /// nullopt: not there, or wrong.
  std::optional<std::uint64_t> number(std::string_view name, std::uint64_t least, std::uint64_t most);
  std::optional<std::string> text(std::string_view name);
  /// The place of the text among `choices`.
  std::optional<std::size_t> choice(std::string_view name, std::initializer_list<std::string_view> choices);
  /// A member that must be there.
  void require(std::string_view name);
  /// Something else is wrong with a member.
  void refuse(std::string_view name, std::string_view text);

  /// What is wrong, if anything is. Once everything has been asked for.
  const std::optional<Refusal>& refusal() const noexcept { return refusal_; }

 private:
  void refuse(std::string_view code, std::string_view name, std::string_view text);
  void wrong(std::string_view name, std::string_view wanted);

  boost::json::object object_;
  std::optional<Refusal> refusal_;
};

/// The query of a GET: name=value pairs, none of them twice.
class Query {
 public:
  Query(const Request& request, std::initializer_list<std::string_view> known);

  std::uint64_t number(std::string_view name, std::uint64_t least, std::uint64_t most, std::uint64_t otherwise);
  /// Seconds, with or without decimals, as microseconds.
  std::int64_t seconds(std::string_view name, std::int64_t most, std::int64_t otherwise);
  /// Whether it is there, by itself or as true or 1.
  bool flag(std::string_view name);

  const std::optional<Refusal>& refusal() const noexcept { return refusal_; }

 private:
  const std::string* find(std::string_view name) const noexcept;
  void wrong(std::string_view name, std::string_view wanted);

  std::vector<std::pair<std::string, std::string>> pairs_;
  std::optional<Refusal> refusal_;
};

/// For what takes no parameters in its query. True: there are some, and that was answered.
bool has_query(const Request& request, Reply& reply);

/// A number in a path. nullopt: that is none, or it does not fit.
std::optional<std::uint64_t> path_number(std::string_view text, std::uint64_t most = ~std::uint64_t{0}) noexcept;

}  // namespace nbdgw::http
