// How the API has something changed: checked, done, written to the log, answered.
#include <boost/json.hpp>

#include "gateway/admin/api.hpp"
#include "gateway/control/gateway.hpp"
#include "gateway/net/clock.hpp"

namespace nbdgw::admin {

struct Api::Pending {
  Change change;
  http::Reply reply;
  Answer answer;
};

namespace {

/// A verdict that is no.
http::Refusal refusal_of(const control::Verdict& verdict) {
  switch (verdict.code) {
    case control::VerdictCode::not_found:
      return {404, "not_found", verdict.text};
    case control::VerdictCode::wrong_state:
      return {409, "wrong_state", verdict.text};
    case control::VerdictCode::busy:
      return {409, "busy", verdict.text};
    case control::VerdictCode::invalid:
    case control::VerdictCode::ok:
      break;
  }
  return {400, "invalid", verdict.text};
}

http::Response preview(const Change& change, const std::string& detail) {
  return http::json_response(
      200, boost::json::object{
               {"dry_run", true}, {"verb", to_string(change.verb)}, {"object", change.object}, {"detail", detail}});
}

}  // namespace

/// True: it was refused, and that was answered.
bool Api::refused(const Change& change, const std::optional<http::Refusal>& refusal, http::Reply& reply) {
  if (!refusal) return false;
  audit_.record(change, ChangeOutcome::refused, refusal->code + ": " + refusal->detail);
  reply.send(refusal->response());
  return true;
}

/// `act` does it, and is given where its verdict goes, from any thread.
void Api::change(Change change, http::Reply reply, const std::function<void(control::OnVerdict)>& act,
                 Answer answer) {
  auto pending = std::make_shared<Pending>(Pending{std::move(change), std::move(reply), std::move(answer)});
  act([this, pending, postbox = postbox_](control::Verdict verdict) {
    postbox->post([this, pending, verdict = std::move(verdict)] { decide(*pending, verdict); });
  });
}

void Api::decide(Pending& pending, const control::Verdict& verdict) {
  const Change& change = pending.change;
  if (verdict.code != control::VerdictCode::ok) {
    refused(change, refusal_of(verdict), pending.reply);
  } else if (change.dry_run) {
    audit_.record(change, ChangeOutcome::dry_run, verdict.text);
    pending.reply.send(preview(change, verdict.text));
  } else {
    audit_.record(change, ChangeOutcome::accepted, verdict.text);
    pending.answer(change, verdict, std::move(pending.reply));
  }
}

/// Answers with an operation, whose end is seen by `end`.
Api::Answer Api::begin_operation(OperationEnd end) {
  return
      [this, end = std::move(end)](const Change& change, const control::Verdict& verdict, http::Reply reply) mutable {
        if (verdict.request_id != 0) end.request = verdict.request_id;
        const Operation& operation =
            operations_.begin(change, verdict.text, std::move(end), {net::steady_now(), net::wall_now()});
        http::Response response = http::json_response(202, to_json(operation));
        response.fields.emplace_back("Location", "/v1/operations/" + std::to_string(operation.id));
        reply.send(std::move(response));
        look_at_the_clock();
      };
}

}  // namespace nbdgw::admin
