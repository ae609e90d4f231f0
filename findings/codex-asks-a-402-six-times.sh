#!/bin/sh
# @openai/codex 0.171.0 treats 402 Payment Required as a transient error: it sends six requests and
# shows "Reconnecting... 1/5" to "5/5" before the error. `x-should-retry: false`, which OpenAI's own
# SDKs obey, does not change that, nor the thirty requests that a 503 costs. On a 429 Codex obeys
# the same header: one request.
#
# Output:
#   402 insufficient_quota, x-should-retry: false    requests: 6    Reconnecting: yes
#   503 out_of_service, x-should-retry: false        requests: 30   Reconnecting: yes
#   429 rate_limit_exceeded, x-should-retry: false   requests: 1    Reconnecting: no
#   429 rate_limit_exceeded, retry-after: 1          requests: 6    Reconnecting: yes
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

class Refusing(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.server.asked += 1
        body = json.dumps({"error": {"message": "no", "type": self.server.code, "param": None,
                                     "code": self.server.code}}).encode()
        self.send_response(self.server.status)
        for name, value in {"content-type": "application/json", "content-length": str(len(body)),
                            **self.server.extra}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass

CONFIG = """
model = "gpt-5"
model_provider = "local"
check_for_update_on_startup = false
[analytics]
enabled = false
[features]
plugins = false
[model_providers.local]
name = "local"
base_url = "http://127.0.0.1:{port}/v1"
env_key = "LOCAL_KEY"
wire_api = "responses"
"""

def see(status, code, name, value, expected):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    server.status, server.code, server.extra, server.asked = status, code, {name: value}, 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    home = os.path.abspath(f"home-{server.server_port}")
    os.makedirs(home + "/.codex")
    with open(home + "/.codex/config.toml", "w") as config:
        config.write(CONFIG.format(port=server.server_port))
    done = subprocess.run(
        [os.path.abspath("node_modules/.bin/codex"), "exec", "--skip-git-repo-check", "hello"],
        env={"PATH": os.environ["PATH"], "HOME": home, "LOCAL_KEY": "sk-local"}, cwd=home,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    server.shutdown()
    seen = (server.asked, "Reconnecting" in done.stdout + done.stderr)
    said = f"{status} {code}, {name}: {value}"
    print(f"{said:47}  requests: {seen[0]:<3}  Reconnecting: {'yes' if seen[1] else 'no'}")
    return seen == expected

right = [
    see(402, "insufficient_quota", "x-should-retry", "false", (6, True)),
    see(503, "out_of_service", "x-should-retry", "false", (30, True)),
    see(429, "rate_limit_exceeded", "x-should-retry", "false", (1, False)),
    see(429, "rate_limit_exceeded", "retry-after", "1", (6, True)),
]
sys.exit(0 if all(right) else "codex behaves differently now")
END
python3 see.py
