#!/bin/sh
# The effect of `retry-after: 121` on a 429 depends on the SDK, and none waits that long. openai
# 3.57.0 for Python gives up if it is above 120 s: one request. openai 7.59.0 for Node ignores
# anything above 60 s and retries after its own half a second: three requests, as without the
# header. So do ai 7.0.173 and @ai-sdk/openai 4.0.118, after two and four seconds. So a rate limit
# that says when it ends is either respected (Python) or hammered (Node).
#
# Output:
#   python   requests: 1
#   node     requests: 3, all within 10 s
#   ai-sdk   requests: 3, all within 10 s
#
# Needs Node and Python 3; installs in a temporary folder; talks to 127.0.0.1 only.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
printf '{"private": true}' > package.json
npm install --silent --ignore-scripts --no-audit --no-fund \
    openai@7.59.0 ai@7.0.173 @ai-sdk/openai@4.0.118
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check openai==3.57.0

cat > ask.py <<'END'
import openai
openai.OpenAI().chat.completions.create(
    model="gpt-4o-mini", messages=[{"role": "user", "content": "hello"}])
END
cat > ask-openai.mjs <<'END'
import OpenAI from "openai";
await new OpenAI().chat.completions.create(
  { model: "gpt-4o-mini", messages: [{ role: "user", content: "hello" }] });
END
cat > ask-ai.mjs <<'END'
import { createOpenAI } from "@ai-sdk/openai";
import { generateText } from "ai";
const openai = createOpenAI({ baseURL: process.env.OPENAI_BASE_URL });
await generateText({ model: openai.chat("gpt-4o-mini"), prompt: "hello" });
END
cat > see.py <<'END'
import http.server, json, os, subprocess, sys, threading, time

class Limiting(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.server.times.append(time.monotonic())
        body = json.dumps({"error": {"message": "no", "type": "requests", "param": None,
                                     "code": "rate_limit_exceeded"}}).encode()
        self.send_response(429)
        for name, value in {"content-type": "application/json", "retry-after": "121",
                            "content-length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass

def see(name, words, expected):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Limiting)
    server.times = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
                   env={"PATH": os.environ["PATH"], "OPENAI_API_KEY": "sk-local",
                        "OPENAI_BASE_URL": f"http://127.0.0.1:{server.server_port}/v1"})
    server.shutdown()
    fast = len(server.times) > 1 and server.times[-1] - server.times[0] < 10
    print(f"{name:7}  requests: {len(server.times)}{', all within 10 s' if fast else ''}")
    return (len(server.times), fast) == expected

right = [
    see("python", ["venv/bin/python", "ask.py"], (1, False)),
    see("node", ["node", "ask-openai.mjs"], (3, True)),
    see("ai-sdk", ["node", "ask-ai.mjs"], (3, True)),
]
sys.exit(0 if all(right) else "an SDK behaves differently now")
END
python3 see.py
