// Scrapes, of a gateway of which every answer is up to the test.
#include "gateway/admin/metrics_routes.hpp"

#include <atomic>
#include <mutex>
#include <utility>

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

class Scraped {
 public:
  explicit Scraped(proto::Micros limit = kScrapeLimit) {
    server_ = std::make_unique<HttpServer>(std::vector{local_address()}, router_, net::ListenerSettings{});
    desk_.emplace([this](bool, Done done) { on_view(std::move(done)); }, server_->postbox());
    const auto figures_of = [](const shard::GatewayView& view) {
      AdminFigures figures;
      figures.version = "1.2.3";
      figures.ready = !view.draining;
      return figures;
    };
    metrics_.emplace(*desk_, figures_of, limit);
    add_metrics_routes(router_, *metrics_);
    server_->start();
  }
  ~Scraped() { server_->stop(); }

  HttpClient client() const { return HttpClient(server_->port()); }
  /// The answers that are owed: to be given by this thread, as a shard would.
  std::vector<Done> owed() {
    const std::lock_guard lock(mutex_);
    return std::exchange(waiting_, {});
  }

  std::atomic<bool> slow = false;  // owed() gives the answers
  std::atomic<int> views = 0;

 private:
  void on_view(Done done) {
    if (!slow) {
      ++views;
      return done({});
    }
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(done));
    ++views;
  }

  std::mutex mutex_;
  std::vector<Done> waiting_;
  Router router_;
  std::unique_ptr<HttpServer> server_;
  std::optional<ViewDesk> desk_;
  std::optional<Metrics> metrics_;
};

constexpr const char* kGet = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";

bool has(const HttpClient& client, const std::string& line) {
  return client.body.find("\n" + line + "\n") != std::string::npos;
}

}  // namespace

TEST_CASE("metrics: a scrape") {
  Scraped scraped;
  HttpClient client = scraped.client();
  REQUIRE(client.get("/metrics") == 200);
  CHECK(client.field("Content-Type") == "text/plain; version=0.0.4; charset=utf-8");
  CHECK(client.body.starts_with("# HELP nbdgw_nbd_connections "));
  CHECK(has(client, "nbdgw_ready 1"));
  CHECK(has(client, "nbdgw_build_info{version=\"1.2.3\"} 1"));
  const std::string length = client.field("Content-Length");
  client.send("HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
  REQUIRE(client.receive(false));
  CHECK(client.status == 200);
  CHECK(client.field("Content-Length").size() == length.size());
  CHECK(client.post("/metrics", "{}") == 405);
  CHECK(client.field("Allow") == "GET, HEAD");
  CHECK(client.get("/metrics?name[]=up") == 400);
  CHECK(client.body.find("\"unknown_parameter\"") != std::string::npos);
  CHECK(scraped.views == 2);
}

TEST_CASE("metrics: scrapes that come together share one look at the shards") {
  Scraped scraped;
  scraped.slow = true;
  std::vector<HttpClient> clients;
  for (int i = 0; i < 5; ++i) {
    clients.push_back(scraped.client());
    CHECK(clients.back().get("/nothing") == 404);  // the server has it
  }
  clients[0].send(kGet);
  REQUIRE(becomes_true([&] { return scraped.views == 1; }));
  for (int i = 1; i < 5; ++i) clients[static_cast<std::size_t>(i)].send(kGet);
  // One that the server has surely seen after the others: it is read in the order of readiness at the latest.
  HttpClient last = scraped.client();
  CHECK(last.get("/nothing") == 404);
  auto owed = scraped.owed();
  REQUIRE(owed.size() == 1);
  shard::GatewayView view;
  view.draining = true;
  owed[0](view);
  for (HttpClient& each : clients) {
    REQUIRE(each.receive());
    CHECK(each.status == 200);
    CHECK(has(each, "nbdgw_draining 1"));
    CHECK(each.body == clients[0].body);
  }
  CHECK(scraped.views == 1);
}

TEST_CASE("metrics: no answer in time is said, a late one serves those who wait then") {
  Scraped scraped(50 * proto::kMillisecond);
  scraped.slow = true;
  HttpClient client = scraped.client();
  CHECK(client.get("/metrics") == 503);
  CHECK(client.field("Content-Type") == "application/problem+json");
  CHECK(client.body.find("\"no_answer\"") != std::string::npos);
  CHECK(client.get("/metrics") == 503);
  CHECK(scraped.views == 1);  // the shards still owe the first answer: they are not asked again
  auto owed = scraped.owed();
  REQUIRE(owed.size() == 1);
  owed[0]({});  // nobody waits for it
  scraped.slow = false;
  CHECK(becomes_true([&] { return client.get("/metrics") == 200; }));
  CHECK(scraped.views == 2);
}
