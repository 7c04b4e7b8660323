#include "gateway/admin/fault_routes.hpp"

#include <boost/json.hpp>

#include <doctest/doctest.h>

#include "gateway/http/server.hpp"
#include "gateway/iscsi_target/memory_medium.hpp"
#include "gateway/target_host/server.hpp"
#include "tests/unit/http/http_client.hpp"
#include "tests/unit/http/served.hpp"

using namespace nbdgw;
using test::HttpClient;

namespace {

/// A target with its control, as `nbdgw target --control` has it.
struct Controlled {
  Controlled() {
    target_host::TargetServerOptions options{.port = 0, .target = {}, .faults = true};
    options.target.buffer_bytes = 64 << 20;
    options.target.targets.push_back({.name = "iqn.2026-11.io.nbdgw:controlled", .alias = "", .luns = {}});
    options.target.targets[0].luns.push_back({.number = 1, .medium = &disk, .serial = ""});
    target = std::make_unique<target_host::TargetServer>(std::move(options));
    admin::add_control_routes(router, *target);
    control = std::make_unique<http::HttpServer>(std::vector{test::local_address()}, router, net::ListenerSettings{});
    target->start();
    control->start();
  }
  iscsi_target::MemoryMedium disk{1 << 20};
  std::unique_ptr<target_host::TargetServer> target;
  http::Router router;
  std::unique_ptr<http::HttpServer> control;
};

boost::json::array faults(HttpClient& client) {
  REQUIRE(client.get("/v1/faults") == 200);
  return boost::json::parse(client.body).as_object().at("faults").as_array();
}

}  // namespace

TEST_CASE("fault routes: posted, listed, deleted") {
  Controlled controlled;
  HttpClient client(controlled.control->port());
  CHECK(faults(client).empty());
  CHECK(client.post("/v1/faults", R"({"fault":"busy","lun":1})") == 201);
  CHECK(client.field("Location") == "/v1/faults/1");
  const auto first = boost::json::parse(client.body);
  CHECK(client.post("/v1/faults", R"({"fault":"freeze_window"})", "Application/JSON; charset=utf-8") == 201);
  CHECK(client.post("/v1/faults", R"({"fault":"power_loss"})") == 201);
  auto list = faults(client);
  REQUIRE(list.size() == 3);
  CHECK(list[0] == first);
  CHECK(list[1].as_object().at("active") == true);
  CHECK(list[2].as_object().at("active") == false);
  CHECK(list[2].as_object().at("hits") == 1);
  CHECK(client.remove("/v1/faults/2") == 204);
  CHECK(client.remove("/v1/faults/2") == 404);
  CHECK(client.body.find("no_such_fault") != std::string::npos);
  for (const char* id : {"0", "4", "-1", "x", "1x", "99999999999999999999"})
    CHECK(client.remove(std::string("/v1/faults/") + id) == 404);
  CHECK(faults(client).size() == 2);
  CHECK(client.remove("/v1/faults") == 204);
  CHECK(faults(client).empty());
  CHECK(client.post("/v1/faults", R"({"fault":"busy"})") == 201);
  CHECK(client.field("Location") == "/v1/faults/4");  // numbers are not used again
}

TEST_CASE("fault routes: what is refused") {
  Controlled controlled;
  HttpClient client(controlled.control->port());
  CHECK(client.post("/v1/faults", R"({"fault":"busy","lun":-1})") == 400);
  const auto body = boost::json::parse(client.body).as_object();
  CHECK(body.at("code") == "bad_fault");
  CHECK(body.at("field") == "lun");
  CHECK(body.at("detail") == "lun: expected a whole number from 0 to 16383, found -1");
  CHECK(client.post("/v1/faults", R"({"fault":"busy"})", "text/plain") == 415);
  CHECK(client.post("/v1/faults", R"({"fault":"busy"})", "") == 415);
  CHECK(client.post("/v1/faults/1", R"({"fault":"busy"})") == 405);
  CHECK(faults(client).empty());
  for (std::size_t i = 0; i < iscsi_target::Faults::kMaxFaults; ++i)
    REQUIRE(client.post("/v1/faults", R"({"fault":"busy"})") == 201);
  CHECK(client.post("/v1/faults", R"({"fault":"busy"})") == 409);
  CHECK(client.body.find("too_many_faults") != std::string::npos);
}

TEST_CASE("fault routes: a target that has ended") {
  Controlled controlled;
  HttpClient client(controlled.control->port());
  CHECK(client.get("/v1/sessions") == 200);
  CHECK(boost::json::parse(client.body) == boost::json::parse(R"({"sessions":[]})"));
  controlled.target->stop();
  client.send("GET /v1/sessions HTTP/1.1\r\nHost: x\r\n\r\n");
  controlled.control->stop();
  CHECK(client.is_closed());
}
