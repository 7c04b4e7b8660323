// What the probes find out, from a gateway of which every answer is up to the test.
#include "gateway/admin/probes.hpp"

#include <future>
#include <map>

#include <doctest/doctest.h>

#include "tests/unit/http/http_client.hpp"
#include "tests/unit/http/served.hpp"

using namespace nbdgw;
using namespace nbdgw::admin;
using namespace nbdgw::http;
using nbdgw::test::becomes_true;
using nbdgw::test::HttpClient;
using nbdgw::test::local_address;

namespace {

using Done = std::function<void(shard::GatewayView)>;

/// Two shards and two exports; the second export is not required.
class Asked {
 public:
  Asked() {
    view.addresses = {"tcp://127.0.0.1:1"};
    view.shards.resize(2);
    for (int i = 0; i < 2; ++i) {
      shard::ExportView& exported = view.shards[i].exports.emplace_back();
      exported.name = "vol" + std::to_string(i);
      exported.state = bridge::ExportState::online;
      exported.known = true;
      exported.required = i == 0;
    }
    server_ = std::make_unique<HttpServer>(std::vector{local_address()}, router_, net::ListenerSettings{});
    desk_.emplace([this](bool, Done done) { on_view(std::move(done)); }, server_->postbox());
    probes.emplace(
        ProbeSource{.shards = 2,
                    .listeners = 1,
                    .ping = [this](std::uint32_t shard, std::function<void()> pong) { on_ping(shard, pong); },
                    .has_ended = [this](std::uint32_t shard) { return has_ended[shard].load(); }},
        *desk_, server_->postbox());
    add_probe_routes(router_, *probes);
    server_->start();
    client.emplace(server_->port());
  }

  int get(const std::string& path) { return client->get(path); }
  const std::string& body() const { return client->body; }
  std::uint16_t port() const { return server_->port(); }
  shard::ExportView& exported(int i) { return view.shards[i].exports[0]; }

  std::atomic<bool> is_stuck[2] = {};  // the shard does not answer; what is asked of it waits
  std::atomic<bool> has_ended[2] = {};
  std::atomic<int> pings[2] = {};
  std::atomic<int> views = 0;
  std::atomic<bool> blind = false;  // no view comes
  shard::GatewayView view;          // changed only between two requests
  std::optional<Probes> probes;
  std::optional<HttpClient> client;

  /// The shards go on.
  void unstick() {
    std::vector<std::function<void()>> pongs;
    {
      const std::lock_guard lock(mutex_);
      for (auto& each : is_stuck) each = false;
      pongs.swap(waiting_);
    }
    for (const auto& pong : pongs) pong();
  }

 private:
  void on_ping(std::uint32_t shard, const std::function<void()>& pong) {
    ++pings[shard];
    const std::lock_guard lock(mutex_);
    if (is_stuck[shard])
      waiting_.push_back(pong);
    else if (!has_ended[shard])
      pong();
  }
  void on_view(Done done) {
    ++views;
    if (!blind) return done(view);
    const std::lock_guard lock(mutex_);
    owed_.push_back(std::move(done));
  }

  std::mutex mutex_;
  std::vector<std::function<void()>> waiting_;
  std::vector<Done> owed_;
  Router router_;
  std::unique_ptr<HttpServer> server_;
  std::optional<ViewDesk> desk_;
};

}  // namespace

TEST_CASE("livez: each shard's loop turns") {
  Asked asked;
  CHECK(asked.get("/livez") == 200);
  CHECK(asked.body() == "ok\n");
  CHECK(asked.client->field("Content-Type") == "text/plain; charset=utf-8");
  for (const char* query : {"?verbose", "?verbose=", "?verbose=1", "?verbose=true", "?%76erbose", "?verbose&"}) {
    CHECK(asked.get(std::string("/livez") + query) == 200);
    CHECK(asked.body() == "[+] shard 0\n[+] shard 1\nlivez: passed\n");
  }
  for (const char* query : {"?", "?verbose=0", "?verbose=false"}) {
    CHECK(asked.get(std::string("/livez") + query) == 200);
    CHECK(asked.body() == "ok\n");
  }
  CHECK(asked.views == 0);  // a target, or what hangs on it, has no say in it
  CHECK(asked.client->post("/livez", "{}") == 405);
}

TEST_CASE("probes: what else stands in the query is refused, whatever the answer would be") {
  Asked asked;
  asked.has_ended[0] = asked.has_ended[1] = true;
  for (const std::string path : {"/livez", "/readyz", "/startupz"}) {
    for (const char* query : {"?notverbose", "?a=b&verbose", "?verbose&exclude=vol0", "?Verbose"}) {
      CHECK(asked.get(path + query) == 400);
      CHECK(asked.body().find("\"unknown_parameter\"") != std::string::npos);
    }
    for (const char* query : {"?verbose=yes", "?verbose&verbose", "?verbose=%4"}) {
      CHECK(asked.get(path + query) == 400);
      CHECK(asked.body().find("\"bad_parameter\"") != std::string::npos);
    }
  }
  CHECK(asked.views == 0);
  CHECK(asked.pings[0] == 0);
}

TEST_CASE("livez: a shard that is stuck fails it, is asked once only, and is forgiven") {
  Asked asked;
  asked.is_stuck[1] = true;
  CHECK(asked.get("/livez") == 503);
  CHECK(asked.body() == "[-] shard 1: no answer for 2 s\nlivez: failed\n");
  CHECK(asked.get("/livez?verbose") == 503);
  CHECK(asked.body() == "[+] shard 0\n[-] shard 1: no answer for 2 s\nlivez: failed\n");
  CHECK(asked.pings[0] == 2);
  CHECK(asked.pings[1] == 1);
  // In the middle of a round.
  asked.client->send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
  CHECK(becomes_true([&] { return asked.pings[0] == 3; }));
  asked.unstick();
  REQUIRE(asked.client->receive());
  CHECK(asked.client->status == 200);
  CHECK(asked.get("/livez") == 200);
  CHECK(asked.pings[1] == 2);
}

TEST_CASE("livez: a shard that has ended as it was told to is no failure") {
  Asked asked;
  asked.has_ended[0] = true;
  CHECK(asked.get("/livez?verbose") == 200);
  CHECK(asked.body() == "[+] shard 0: has ended, as it was told to\n[+] shard 1\nlivez: passed\n");
  asked.has_ended[1] = true;
  CHECK(asked.get("/livez") == 200);
}

TEST_CASE("livez: many at a time cost the shards one question") {
  Asked asked;
  asked.is_stuck[0] = true;
  std::vector<HttpClient> clients;
  for (int i = 0; i < 20; ++i) {
    clients.emplace_back(asked.port());
    clients.back().send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
  }
  for (HttpClient& client : clients) {
    REQUIRE(client.receive());
    CHECK(client.status == 503);
  }
  CHECK(asked.pings[0] == 1);
  CHECK(asked.pings[1] == 1);
}

TEST_CASE("readyz: the required exports") {
  Asked asked;
  CHECK(asked.get("/readyz") == 200);
  CHECK(asked.body() == "ok\n");
  CHECK(asked.get("/readyz?verbose") == 200);
  CHECK(asked.body() ==
        "[+] gateway: takes clients\n[+] export vol0: online\n[+] export vol1: online (not required)\nreadyz: "
        "passed\n");
  CHECK(asked.probes->is_ready(asked.view));

  asked.exported(1).state = bridge::ExportState::offline;
  asked.exported(1).reason = "no session";
  CHECK(asked.get("/readyz?verbose") == 200);
  CHECK(asked.body().find("[.] export vol1: offline: no session (not required)\n") != std::string::npos);

  asked.exported(0).state = bridge::ExportState::refused;
  asked.exported(0).reason = "the LUN is a different disk";
  CHECK(asked.get("/readyz") == 503);
  CHECK(asked.body() == "[-] export vol0: refused: the LUN is a different disk\nreadyz: failed\n");
  CHECK_FALSE(asked.probes->is_ready(asked.view));
}

TEST_CASE("readyz: drained by an operator, or about to end") {
  Asked asked;
  for (const auto state : {shard::AdminState::drain, shard::AdminState::maint}) {
    asked.exported(0).admin_state = state;
    CHECK(asked.get("/readyz") == 503);
    CHECK(asked.body() == "[-] export vol0: online, an operator lets no new clients in\nreadyz: failed\n");
  }
  asked.exported(0).admin_state = shard::AdminState::ready;
  asked.view.draining = true;
  CHECK(asked.get("/readyz") == 503);
  CHECK(asked.body() == "[-] gateway: drained by an operator, takes no new clients\nreadyz: failed\n");
  asked.view.draining = false;
  CHECK(asked.get("/readyz") == 200);
  const int before = asked.views;
  asked.probes->begin_end();
  CHECK(asked.get("/readyz") == 503);
  CHECK(asked.body() == "[-] gateway: is ending\nreadyz: failed\n");
  CHECK(asked.views == before);
  CHECK_FALSE(asked.probes->is_ready(asked.view));
  CHECK(asked.get("/livez") == 200);
}

TEST_CASE("readyz: while a reload makes a required export anew, it is not ready") {
  Asked asked;
  const std::string kMissing = "[-] export vol0: is being made, as the configuration has changed\n";
  asked.exported(0).leaving = true;  // online, but nobody attaches to it any more
  asked.view.missing = {{.name = "vol0", .required = true}};
  CHECK(asked.get("/readyz") == 503);
  CHECK(asked.body() == kMissing + "readyz: failed\n");
  CHECK_FALSE(asked.probes->is_ready(asked.view));
  CHECK(asked.get("/startupz") == 503);
  CHECK(asked.body() == kMissing + "startupz: failed\n");

  asked.view.shards[0].exports.clear();  // the old one has gone
  CHECK(asked.get("/readyz?verbose") == 503);
  CHECK(asked.body() ==
        "[+] gateway: takes clients\n[+] export vol1: online (not required)\n" + kMissing + "readyz: failed\n");

  // It has come on another shard; those who ask the control thread have not heard of it yet.
  shard::ExportView& made = asked.view.shards[1].exports.emplace_back();
  made.name = "vol0";
  made.state = bridge::ExportState::probing;
  CHECK(asked.get("/readyz") == 503);
  CHECK(asked.body() == "[-] export vol0: probing\nreadyz: failed\n");
  made.state = bridge::ExportState::online;
  CHECK(asked.get("/readyz") == 200);
  CHECK(asked.probes->is_ready(asked.view));
}

TEST_CASE("readyz: what goes for good has no say, and what is not required neither") {
  Asked asked;
  asked.exported(0).leaving = true;
  asked.exported(0).state = bridge::ExportState::offline;
  asked.view.missing = {{.name = "spare", .required = false}};
  CHECK(asked.get("/readyz?verbose") == 200);
  CHECK(asked.body() ==
        "[+] gateway: takes clients\n[.] export vol0: goes, as the configuration has changed\n"
        "[+] export vol1: online (not required)\n"
        "[.] export spare: is being made, as the configuration has changed (not required)\nreadyz: passed\n");
}

TEST_CASE("readyz: no answer from the shards in time") {
  Asked asked;
  asked.blind = true;
  CHECK(asked.get("/readyz") == 503);
  CHECK(asked.body().starts_with("[-] gateway: no answer from every shard in time"));
  CHECK(asked.get("/startupz") == 503);
  CHECK(asked.views == 1);  // the first is still under way
}

TEST_CASE("startupz: each required export has been online once, and then it stays with that") {
  Asked asked;
  asked.exported(0).state = bridge::ExportState::probing;
  asked.exported(0).known = false;
  asked.exported(1).state = bridge::ExportState::offline;
  asked.exported(1).reason = "no session";
  asked.exported(1).known = false;
  CHECK(asked.get("/startupz?verbose") == 503);
  CHECK(asked.body() ==
        "[+] listeners: 1 of 1\n[-] export vol0: probing\n[.] export vol1: offline: no session (not required)\n"
        "startupz: failed\n");
  asked.view.addresses.clear();
  asked.exported(0).known = true;
  CHECK(asked.get("/startupz") == 503);
  CHECK(asked.body() == "[-] listeners: 0 of 1\nstartupz: failed\n");
  asked.view.addresses = {"tcp://127.0.0.1:1"};
  asked.exported(0).state = bridge::ExportState::offline;  // has been there, and has gone already
  CHECK(asked.get("/startupz?verbose") == 200);
  CHECK(asked.body().find("[+] export vol0: has been online\n") != std::string::npos);
  CHECK(asked.get("/readyz") == 503);
  asked.exported(0).known = false;
  CHECK(asked.get("/startupz") == 200);
}
