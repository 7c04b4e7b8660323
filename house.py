#!/usr/bin/python3
"""Moves files, rewrites includes and namespaces. Run in a work tree."""
import re, pathlib, subprocess, sys
ROOT = pathlib.Path(sys.argv[1])
NET = "arena clock connection_limit inherited_sockets listener mailbox peer_watch poller resolver stream_socket system_random tcp_options unique_fd log log_fold log_line log_outlet log_queue log_sink log_strangers log_text".split()
SHARD = "admin_state cache_memory chore disk_register errand event_log event_text export_slot kept_state nbd_client nbd_client_end nbd_client_log portal_socket refusals retirement session_driver session_driver_log session_export session_numbers session_settings session_states shard state_event station view view_parts worker".split()
TARGET_HOST = {"target_client": "client", "target_file_medium": "file_medium", "target_server": "server"}
HTTP = {"http_body": "body", "http_connection": "connection", "http_framing": "framing", "http_message": "message", "http_server": "server", "http_stream": "stream", "router": "router", "token": "token", "tls_context": "tls_context", "json_text": "json_text", "api_request": "request_fields", "alarm": "alarm"}
UNIT_NET = set("clock listener mailbox peer_watch tcp_options swallowing log log_fold log_line log_queue log_text".split())
UNIT_CONTROL = set("config_diff descriptor_budget discover gateway gateway_handover gateway_reload gateway_reload_trouble gateway_rig gateway_sleep gateway_trouble gateway_verbs reload_rig test_gateway".split())
UNIT_TH = {"target_file_medium": "file_medium", "target_server": "server"}
UNIT_HTTP = {"http_access": "access", "http_client": "http_client", "http_framing": "framing", "http_places": "places", "http_server": "server", "http_tls": "tls", "json_text": "json_text", "router": "router", "token": "token", "tls_client": "tls_client", "api_request": "request_fields", "served": "served"}
def files(folder): return sorted(p for p in (ROOT / folder).glob("*") if p.is_file())
moves = {}
def move(p, new): moves[p.relative_to(ROOT).as_posix()] = new
for p in files("gateway/net"):
    s, x = p.stem, p.suffix
    if s in NET: continue
    if s in SHARD: move(p, f"gateway/shard/{s}{x}")
    elif s in TARGET_HOST: move(p, f"gateway/target_host/{TARGET_HOST[s]}{x}")
    else: move(p, f"gateway/control/{s}{x}")
for p in files("gateway/admin"):
    if p.stem in HTTP and p.suffix in (".hpp", ".cpp"): move(p, f"gateway/http/{HTTP[p.stem]}{p.suffix}")
for p in files("gateway/target"): move(p, f"gateway/iscsi_target/{p.name}")
for p in files("tests/unit/target"): move(p, f"tests/unit/iscsi_target/{p.name}")
for p in files("tests/unit/net"):
    s, x = p.stem, p.suffix
    if s in UNIT_NET: continue
    if s in UNIT_TH: move(p, f"tests/unit/target_host/{UNIT_TH[s]}{x}")
    elif s in UNIT_CONTROL: move(p, f"tests/unit/control/{s}{x}")
    else: move(p, f"tests/unit/shard/{s}{x}")
for p in files("tests/unit/admin"):
    if p.stem in UNIT_HTTP: move(p, f"tests/unit/http/{UNIT_HTTP[p.stem]}{p.suffix}")
for old, new in moves.items():
    (ROOT / new).parent.mkdir(parents=True, exist_ok=True)
    subprocess.check_call(["git", "-C", str(ROOT), "mv", old, new])
SPACE = {"gateway/net": "net", "gateway/shard": "shard", "gateway/control": "control", "gateway/target_host": "target_host", "gateway/http": "http", "gateway/admin": "admin", "gateway/iscsi_target": "iscsi_target"}
OLD = {"shard": "net", "control": "net", "target_host": "net", "net": "net", "http": "admin", "admin": "admin", "iscsi_target": "target"}
back = {new: old for old, new in moves.items()}
# symbols
DECL = re.compile(r"^(?:template <[^>]*>\s*)?(?:\[\[nodiscard\]\] )?(?:inline |constexpr |static |extern )*(?:class|struct|enum class|enum|using|namespace)\s+(?:\[\[[^\]]*\]\] )?(\w+)")
CONST = re.compile(r"^(?:inline )?constexpr [\w:<>, ]+? (k\w+)\b")
FUNC = re.compile(r"^(?:template <[^>]*>\s*)?(?:\[\[nodiscard\]\] )?(?:inline |constexpr )*[\w:<>,&\*\s]+?[\s&\*]([a-z_]\w+)\(")
home = {}
for folder, ns in SPACE.items():
    for p in (ROOT / folder).glob("*.hpp"):
        if p.stem == "log" or p.stem.startswith("log_"): continue
        for line in p.read_text().splitlines():
            if line.startswith((" ", "/", "#", "}", "//")): continue
            m = DECL.match(line) or CONST.match(line)
            if m and m.group(1) not in ("nbdgw",) and not line.startswith("namespace") and not re.match(r"^(class|struct) \w+;", line):
                home.setdefault((OLD[ns], m.group(1)), set()).add((ns, "type")); continue
            m = FUNC.match(line)
            if m and not line.startswith(("return", "using", "namespace", "NBDGW")): home.setdefault((OLD[ns], m.group(1)), set()).add((ns, "func"))
amb = {k: v for k, v in home.items() if len({a for a, _ in v}) > 1}
print("ambiguous", {k: v for k, v in amb.items() if k[1] not in ("to_string", "describe")})
AMBSKIP = {"to_string", "describe"}
code_re = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\])\'', re.S)
def subst(text, fn):
    out, at = [], 0
    for m in code_re.finditer(text):
        out.append(fn(text[at:m.start()])); out.append(m.group(0)); at = m.end()
    out.append(fn(text[at:])); return "".join(out)
inc = {old: new for old, new in moves.items()}
def ns_of(path):
    folder = path.rsplit("/", 1)[0]
    return SPACE.get(folder)
for top in ("gateway", "proto", "config", "tests"):
    for p in sorted((ROOT / top).rglob("*.[ch]pp")):
        rel = p.relative_to(ROOT).as_posix()
        text = old_text = p.read_text()
        text = re.sub(r'#include "([^"]+)"', lambda m: f'#include "{inc.get(m.group(1), m.group(1))}"', text)
        ns = ns_of(rel)
        def fn(code):
            # explicit qualification by the old space
            def q(m):
                oldns, sym = m.group(1), m.group(2)
                hs = home.get((oldns, sym))
                if not hs or len({a for a, _ in hs}) > 1:
                    return ("iscsi_target" if oldns == "target" else oldns) + "::" + sym
                return next(iter(hs))[0] + "::" + sym
            code = re.sub(r"(?<![\w])(net|admin|target)::(\w+)", q, code)
            if ns:
                old = OLD[ns]
                if ns != old:
                    code = re.sub(rf"\bnamespace nbdgw::{old}\b", f"namespace nbdgw::{ns}", code)
                    code = re.sub(rf"^namespace {old} \{{", f"namespace {ns} {{", code, flags=re.M)
                for (o, sym), hs in home.items():
                    if o != old or len({a for a, _ in hs}) > 1: continue
                    h, kind = next(iter(hs))
                    if h == ns: continue
                    if sym not in code: continue
                    if kind == "type": code = re.sub(rf"(?<![\w:.~>])(?<!class )(?<!struct ){sym}\b(?!\s*=)", f"{h}::{sym}", code)
                    else: code = re.sub(rf"(?<![\w:.>]){sym}(?=\()", f"{h}::{sym}", code)
            return code
        text = subst(text, fn)
        if ns:
            m = re.search(rf"}}  // namespace nbdgw::{OLD[ns]}\b", text)
            if m: text = text.replace(m.group(0), f"}}  // namespace nbdgw::{ns}")
            # forward declarations of what lives elsewhere now
            def fwd(m):
                sym = m.group(2); hs = home.get((OLD[ns], sym))
                if hs and len({a for a, _ in hs}) == 1 and next(iter(hs))[0] != ns:
                    fw.append((next(iter(hs))[0], m.group(0).strip())); return ""
                return m.group(0)
            fw = []
            text = re.sub(r"^(class|struct) (\w+);\n", fwd, text, flags=re.M)
            if fw:
                block = "".join(f"namespace nbdgw::{h} {{\n{d}\n}}  // namespace nbdgw::{h}\n\n" for h, d in fw)
                i = text.index(f"namespace nbdgw::{ns}")
                text = text[:i] + block + text[i:]
        elif rel.startswith("tests/unit/"):
            text = re.sub(r"^using namespace nbdgw::net;", "using namespace nbdgw::net;\nusing namespace nbdgw::shard;\nusing namespace nbdgw::control;", text, flags=re.M) if rel.startswith(("tests/unit/shard", "tests/unit/control")) else text
            text = re.sub(r"^using namespace nbdgw::net;", "using namespace nbdgw::net;\nusing namespace nbdgw::target_host;", text, flags=re.M) if rel.startswith("tests/unit/target_host") else text
            text = re.sub(r"^using namespace nbdgw::admin;", "using namespace nbdgw::http;", text, flags=re.M) if rel.startswith("tests/unit/http") else text
            text = re.sub(r"^using namespace nbdgw::target;", "using namespace nbdgw::iscsi_target;", text, flags=re.M)
        if text != old_text: p.write_text(text)
