#include "gateway/http/router.hpp"

#include <algorithm>
#include <charconv>
#include <optional>

#include "proto/assert.hpp"

namespace nbdgw::http {

namespace {

std::vector<std::string> split(std::string_view path) {
  std::vector<std::string> segments;
  while (!path.empty()) {
    path.remove_prefix(1);  // the slash
    const std::size_t end = std::min(path.find('/'), path.size());
    segments.emplace_back(path.substr(0, end));
    path.remove_prefix(end);
  }
  return segments;
}

bool is_parameter(std::string_view segment) noexcept {
  return segment.size() > 2 && segment.front() == '{' && segment.back() == '}';
}

bool matches(const std::vector<std::string>& pattern, const std::vector<std::string>& path) {
  return std::equal(pattern.begin(), pattern.end(), path.begin(), path.end(),
                    [](const auto& want, const auto& is) { return is_parameter(want) ? !is.empty() : want == is; });
}

}  // namespace

std::optional<std::string> decode_percent(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    unsigned value = 0;
    const char* begin = text.data() + i + 1;
    if (text.size() - i < 3) return std::nullopt;
    const auto [end, error] = std::from_chars(begin, begin + 2, value, 16);
    if (error != std::errc{} || end != begin + 2) return std::nullopt;
    out += static_cast<char>(value);
    i += 2;
  }
  return out;
}

void Router::add(std::string method, std::string_view pattern, Handler handler, Access access) {
  NBDGW_ASSERT(pattern.starts_with('/'), "a route begins at the root");
  routes_.push_back({std::move(method), split(pattern), std::move(handler), access});
}

bool Router::is_open(std::string_view path) const {
  const std::vector<std::string> segments = split(path);
  return std::ranges::any_of(
      routes_, [&](const Route& route) { return route.access == Access::open && route.segments == segments; });
}

void Router::dispatch(Request request, Reply reply) const {
  // Split before it is decoded: an encoded slash is no separator.
  std::vector<std::string> path = split(request.path);
  for (std::string& segment : path) {
    auto decoded = decode_percent(segment);
    if (!decoded) return reply.send(problem(400, "bad_path", "the path has a broken %-encoding"));
    segment = *std::move(decoded);
  }
  std::vector<std::string_view> allowed;
  for (const Route& route : routes_) {
    if (!matches(route.segments, path)) continue;
    if (route.method == request.method || (route.method == "GET" && request.method == "HEAD")) {
      for (std::size_t i = 0; i < path.size(); ++i)
        if (is_parameter(route.segments[i])) request.parameters.push_back(path[i]);
      return route.handler(request, std::move(reply));
    }
    allowed.push_back(route.method);
    if (route.method == "GET") allowed.push_back("HEAD");
  }
  if (allowed.empty()) return reply.send(problem(404, "not_found", "there is nothing at this path"));
  std::string allow;
  for (const std::string_view each : allowed) allow.append(allow.empty() ? "" : ", ").append(each);
  Response response = problem(405, "method_not_allowed", "this path answers " + allow);
  response.fields.emplace_back("Allow", allow);
  reply.send(std::move(response));
}

bool split_target(std::string_view target, std::string& path, std::string& query) {
  if (target.starts_with("http://")) {
    target.remove_prefix(7);
    target.remove_prefix(std::min(target.find_first_of("/?"), target.size()));
    if (target.empty() || target.front() == '?') return false;
  }
  if (!target.starts_with('/') || target.find('#') != std::string_view::npos) return false;
  const std::size_t end = std::min(target.find('?'), target.size());
  path = target.substr(0, end);
  query = target.substr(std::min(end + 1, target.size()));
  return true;
}

}  // namespace nbdgw::http
