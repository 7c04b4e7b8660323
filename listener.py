import re,sys
R=sys.argv[1]
p=R+'/gateway/net/listener.hpp'; s=open(p).read()
s=s.replace("class EventLog;\n\n","")
s=re.sub(r"namespace nbdgw::shard \{\nclass EventLog;\n\}  // namespace nbdgw::shard\n\n","",s)
s=s.replace("/// What differs between the listeners","""/// Told what becomes of a listener, on the control thread.
class ListenerObserver {
 public:
  enum class News : std::uint8_t {
    open,
    closed,
    failing,  // it cannot accept clients
    back,     // it can again
  };
  /// `lasting`: of `back`, how long it could not.
  virtual void on_listener(News news, const std::string& text, proto::Micros lasting) = 0;
  /// A client was sent away, as there are as many as may be; `lowered`: as the limit of open files allows.
  virtual void on_sent_away(bool lowered, const std::string& peer, proto::Micros now) = 0;

 protected:
  ~ListenerObserver() = default;
};

/// What differs between the listeners""",1)
s=re.sub(r"  (?:shard::)?EventLog\* events =\s+nullptr;.*?\n(?=\};)","  ListenerObserver* observer = nullptr;  // null: the log alone is told\n",s,flags=re.S)
open(p,'w').write(s)
p=R+'/gateway/net/listener.cpp'; s=open(p).read()
s=re.sub(r'#include "gateway/(net|shard)/event_log.hpp"\n','',s)
s=s.replace("settings_.events","settings_.observer")
s=re.sub(r"settings_.observer->add\(\s*\{\}, \{\}, (?:shard::)?StateEvent\{\.kind = (?:shard::)?StateEvent::Kind::listener_(\w+), \.text = (.*?)\}\);",r"settings_.observer->on_listener(ListenerObserver::News::\1, \2, 0);",s,flags=re.S)
s=re.sub(r"settings_.observer->add\(\s*\{\}, \{\},\s*(?:shard::)?StateEvent\{\.kind = (?:shard::)?StateEvent::Kind::listener_back,.*?\.duration = lasting\}\);",'settings_.observer->on_listener(ListenerObserver::News::back, address_ + ": clients are accepted again", lasting);',s,flags=re.S)
s=re.sub(r"  const (?:shard::)?Refusal reason = .*?;\n  if \(settings_.observer != nullptr\) return .*?;\n","  if (settings_.observer != nullptr) return settings_.observer->on_sent_away(limit_.lowered(), peer_text(fd), now);\n",s,flags=re.S)
open(p,'w').write(s)
p=R+'/gateway/control/gateway.cpp'; s=open(p).read()
s=re.sub(r"ListenerSettings\{\.events = &events_\}","ListenerSettings{.observer = &events_}",s)
open(p,'w').write(s)
p=R+'/gateway/shard/event_log.hpp'; s=open(p).read()
s=s.replace("class EventLog {\n","class EventLog final : public net::ListenerObserver {\n").replace('#include "gateway/shard/event_text.hpp"','#include "gateway/net/listener.hpp"\n#include "gateway/shard/event_text.hpp"')
s=s.replace("  /// Those that are left of what came after","  void on_listener(News news, const std::string& text, proto::Micros lasting) override;\n  void on_sent_away(bool lowered, const std::string& peer, proto::Micros now) override;\n\n  /// Those that are left of what came after")
open(p,'w').write(s)
p=R+'/gateway/shard/event_log.cpp'; s=open(p).read()
s=s.replace("std::uint32_t EventLog::request_of","""void EventLog::on_listener(News news, const std::string& text, proto::Micros lasting) {
  StateEvent event{.text = text};
  switch (news) {
    case News::open:
      event.kind = StateEvent::Kind::listener_open;
      break;
    case News::closed:
      event.kind = StateEvent::Kind::listener_closed;
      break;
    case News::failing:
      event.kind = StateEvent::Kind::listener_failing;
      break;
    case News::back:
      event.kind = StateEvent::Kind::listener_back;
      event.text += "; for " + lasted(lasting) + " they were not";
      event.duration = lasting;
      break;
  }
  add({}, {}, event);
}

void EventLog::on_sent_away(bool lowered, const std::string& peer, proto::Micros now) {
  client_refused(lowered ? Refusal::open_files : Refusal::limit, {}, peer, now);
}

std::uint32_t EventLog::request_of""",1)
open(p,'w').write(s)
