#!/bin/sh
# @openai/codex 0.171.0 with `openai_base_url` opens a WebSocket before its first request. If the
# server has none, the status of its refusal decides. After 404 Codex tries seven times in about six
# seconds, with "Reconnecting... 2/5" and so on, before it uses HTTP. After 400 it ends with an
# error and never tries HTTP. Only after 426 Upgrade Required, which means the opposite, does it use
# HTTP at once.
#
# Output:
#   handshake answered 404   handshakes: 7   Reconnecting: yes   then asks by HTTP: yes
#   handshake answered 400   handshakes: 2   Reconnecting: no    then asks by HTTP: no
#   handshake answered 426   handshakes: 1   Reconnecting: no    then asks by HTTP: yes
#
# Needs Node and Python 3; installs in a temporary folder; talks to 127.0.0.1 only.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
printf '{"private": true}' > package.json
npm install --silent --ignore-scripts --no-audit --no-fund @openai/codex@0.171.0

cat > see.py <<'END'
import http.server, json, os, subprocess, sys, threading

ITEM = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
        "content": [{"type": "output_text", "text": "good morning", "annotations": []}]}
RESPONSE = {"id": "resp_1", "object": "response", "created_at": 1, "status": "completed",
            "model": "gpt-5", "output": [ITEM],
            "usage": {"input_tokens": 1, "input_tokens_details": {"cached_tokens": 0},
                      "output_tokens": 1, "output_tokens_details": {"reasoning_tokens": 0},
                      "total_tokens": 2}}
EVENTS = [{"type": "response.created", "response": {**RESPONSE, "status": "in_progress"}},
          {"type": "response.output_item.done", "output_index": 0, "item": ITEM},
          {"type": "response.completed", "response": RESPONSE}]

class WithoutSocket(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.headers.get("upgrade", "").lower() == "websocket":
            self.server.handshakes += 1
        self.respond(self.server.status, "application/json", b"{}")

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        body = "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in EVENTS)
        self.respond(200, "text/event-stream", body.encode())

    def respond(self, status, kind, body):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass

class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        pass  # Codex resets the connection of a refused handshake

CONFIG = """
model = "gpt-5"
openai_base_url = "http://127.0.0.1:{port}/v1"
check_for_update_on_startup = false
[analytics]
enabled = false
[features]
plugins = false
"""

def see(status, expected):
    server = Server(("127.0.0.1", 0), WithoutSocket)
    server.status, server.handshakes = status, 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    home = os.path.abspath(f"home-{status}")
    os.makedirs(home + "/.codex")
    with open(home + "/.codex/config.toml", "w") as config:
        config.write(CONFIG.format(port=server.server_port))
    done = subprocess.run(
        [os.path.abspath("node_modules/.bin/codex"), "exec", "--skip-git-repo-check", "hello"],
        env={"PATH": os.environ["PATH"], "HOME": home, "CODEX_API_KEY": "sk-local"}, cwd=home,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    server.shutdown()
    seen = (server.handshakes, "Reconnecting" in done.stderr, "good morning" in done.stdout)
    words = ["yes" if fact else "no" for fact in seen[1:]]
    print(f"handshake answered {status}   handshakes: {seen[0]}   Reconnecting: {words[0]:3}   "
          f"then asks by HTTP: {words[1]}")
    return seen == expected

right = [see(404, (7, True, True)), see(400, (2, False, False)), see(426, (1, False, True))]
sys.exit(0 if all(right) else "codex behaves differently now")
END
python3 see.py
