#!/bin/sh
# openai-agents 0.24.0: another base URL, set by OPENAI_BASE_URL or by a custom client, moves its
# requests but not its traces. These still go to api.openai.com, with the key that was meant for the
# other base URL: `set_default_openai_client` passes it on, unless called with
# `use_for_tracing=False`; without a custom client the exporter reads OPENAI_API_KEY.
#
# Output (a proxy for all hosts except 127.0.0.1 refuses, and records the host of each request):
#   by environment        requests here: 1   asks elsewhere for: api.openai.com:443   traces' key: the gateway's
#   by client             requests here: 1   asks elsewhere for: api.openai.com:443   traces' key: the gateway's
#   tracing switched off  requests here: 1   asks elsewhere for: nobody
#
# Needs Python 3; installs in a temporary folder; nothing leaves 127.0.0.1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check openai-agents==0.24.0 openai==3.57.0

cat > ask.py <<'END'
import os, sys
from agents import Agent, Runner, set_default_openai_client
from agents.tracing.processors import default_exporter
from openai import AsyncOpenAI

if sys.argv[1] == "client":
    set_default_openai_client(
        AsyncOpenAI(base_url=os.environ.pop("GATEWAY"), api_key="sk-of-the-gateway"))
print(Runner.run_sync(Agent(name="a", model="gpt-4o-mini"), "hello").final_output)
print("key", default_exporter().api_key)
END
cat > see.py <<'END'
import http.server, json, os, subprocess, sys, threading

RESPONSE = {"id": "resp_1", "object": "response", "created_at": 1, "status": "completed",
          "model": "gpt-4o-mini", "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
          "output": [{"id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
                      "content": [{"type": "output_text", "text": "hi", "annotations": []}]}],
          "usage": {"input_tokens": 1, "input_tokens_details": {"cached_tokens": 0},
                    "output_tokens": 1, "output_tokens_details": {"reasoning_tokens": 0},
                    "total_tokens": 2}}

class Gateway(http.server.BaseHTTPRequestHandler):
    """The base URL and the proxy for everything else, in one."""

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.server.asked += 1
        body = json.dumps(RESPONSE).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_CONNECT(self):
        self.server.elsewhere.add(self.path)
        self.send_error(403)

    def log_message(self, *words):
        pass

def see(name, way, variables, expected):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
    server.asked, server.elsewhere = 0, set()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    here = f"http://127.0.0.1:{server.server_port}"
    done = subprocess.run(
        ["venv/bin/python", "ask.py", way],
        env={"PATH": os.environ["PATH"], "HTTPS_PROXY": here, "NO_PROXY": "127.0.0.1",
             **{key: value.format(here=here) for key, value in variables.items()}},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    server.shutdown()
    key = "the gateway's" if "key sk-of-the-gateway" in done.stdout else "another"
    seen = (server.asked, ", ".join(sorted(server.elsewhere)) or "nobody", key)
    print(f"{name:20}  requests here: {seen[0]}   asks elsewhere for: {seen[1]}"
          + (f"   traces' key: {key}" if server.elsewhere else ""))
    return seen == expected

GATEWAY = {"OPENAI_BASE_URL": "{here}/v1", "OPENAI_API_KEY": "sk-of-the-gateway"}
TRACED = (1, "api.openai.com:443", "the gateway's")
right = [
    see("by environment", "environment", GATEWAY, TRACED),
    see("by client", "client", {"GATEWAY": "{here}/v1"}, TRACED),
    see("tracing switched off", "environment",
        {**GATEWAY, "OPENAI_AGENTS_DISABLE_TRACING": "1"}, (1, "nobody", "the gateway's")),
]
sys.exit(0 if all(right) else "openai-agents behaves differently now")
END
python3 see.py
