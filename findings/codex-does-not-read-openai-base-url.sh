#!/bin/sh
# @openai/codex 0.171.0 does not read OPENAI_BASE_URL, the variable of OpenAI's own SDKs. With only
# the variable set it goes to api.openai.com, without a warning. What moves its built-in provider is
# `openai_base_url` in config.toml (or `-c openai_base_url=...`).
#
# Output (a proxy for all hosts except 127.0.0.1 refuses, and records the host of each request):
#   OPENAI_BASE_URL      requests to it: 0   asks elsewhere for api.openai.com: yes
#   -c openai_base_url   requests to it: 1   asks elsewhere for api.openai.com: no
#
# Needs Node and Python 3; installs in a temporary folder; nothing leaves 127.0.0.1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
printf '{"private": true}' > package.json
npm install --silent --ignore-scripts --no-audit --no-fund @openai/codex@0.171.0

cat > see.py <<'END'
import http.server, os, signal, subprocess, sys, threading, time

class Noting(http.server.BaseHTTPRequestHandler):
    """The base URL and the proxy for everything else, in one."""

    def do_POST(self):
        self.server.noted.append("here")
        self.send_error(400)

    def do_GET(self):
        self.send_error(426)

    def do_CONNECT(self):
        self.server.noted.append(self.path)
        self.send_error(403)

    def log_message(self, *words):
        pass

CONFIG = """
model = "gpt-5"
check_for_update_on_startup = false
[analytics]
enabled = false
[features]
plugins = false
"""

def see(name, words, variables, expected):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Noting)
    server.noted = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    here = f"http://127.0.0.1:{server.server_port}"
    home = os.path.abspath(name.strip("-c "))
    os.makedirs(home + "/.codex")
    with open(home + "/.codex/config.toml", "w") as config:
        config.write(CONFIG)
    child = subprocess.Popen(
        [os.path.abspath("node_modules/.bin/codex"), "exec", "--skip-git-repo-check",
         *(word.format(here=here) for word in words), "hello"],
        env={"PATH": os.environ["PATH"], "HOME": home, "CODEX_API_KEY": "sk-local",
             "HTTPS_PROXY": here, "NO_PROXY": "127.0.0.1",
             **{key: value.format(here=here) for key, value in variables.items()}},
        cwd=home, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True)
    deadline = time.monotonic() + 60
    while child.poll() is None and time.monotonic() < deadline and not server.noted.count(
            "api.openai.com:443"):
        time.sleep(0.1)
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGTERM)
    child.wait(10)
    server.shutdown()
    seen = (server.noted.count("here"), "api.openai.com:443" in server.noted)
    print(f"{name:19}  requests to it: {seen[0]}   "
          f"asks elsewhere for api.openai.com: {'yes' if seen[1] else 'no'}")
    return seen == expected

right = [
    see("OPENAI_BASE_URL", [], {"OPENAI_BASE_URL": "{here}/v1"}, (0, True)),
    see("-c openai_base_url", ["-c", 'openai_base_url="{here}/v1"'], {}, (1, False)),
]
sys.exit(0 if all(right) else "codex behaves differently now")
END
python3 see.py
