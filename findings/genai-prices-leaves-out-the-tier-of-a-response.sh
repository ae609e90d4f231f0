#!/bin/sh
# genai-prices 0.2.3 knows OpenAI's prices by service tier, and reads a usage from a response that
# names its tier, but prices every response as standard. The tier has to be given by hand
# (`price_context`), and one that it has no price for, such as ultrafast, is standard too, without a
# word. Web searches that the response reports in `tool_usage` cost nothing, and a cache write for
# 12 hours costs what one for 30 minutes costs.
#
# Output (dollars for a million tokens of input, all of them written into the cache for 12 hours):
#   default     as extracted 10.0   tier given 10.0
#   priority    as extracted 10.0   tier given 20.0
#   ultrafast   as extracted 10.0   tier given 10.0
#   with seven searches reported: 10.0
#
# Needs Python 3.10 or newer; installs in a temporary folder and is offline after that.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check genai-prices==0.2.3

cat > see.py <<'END'
from genai_prices import extract_usage

MILLION = 1_000_000
WRITES = {"ttl_30m_tokens": 0, "ttl_12h_tokens": MILLION}
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "model": "gpt-5.6-sol",
    "output": [],
    "usage": {
        "input_tokens": MILLION,
        "input_tokens_details": {
            "cached_tokens": 0,
            "cache_write_tokens": MILLION,
            "cache_write_tokens_details": WRITES,
        },
        "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": MILLION,
    },
}


def dollars(response, **given):
    usage = extract_usage(response, provider_id="openai", api_flavor="responses")
    return float(usage.calc_price(**given).total_price)


seen = {}
for tier in ("default", "priority", "ultrafast"):
    response = {**RESPONSE, "service_tier": tier}
    seen[tier] = dollars(response), dollars(response, price_context={"service_tier": tier})
    print(f"{tier:11} as extracted {seen[tier][0]}   tier given {seen[tier][1]}")
searched = dollars({**RESPONSE, "tool_usage": {"web_search": {"num_requests": 7}}})
print(f"with seven searches reported: {searched}")
expected = {"default": (10.0, 10.0), "priority": (10.0, 20.0), "ultrafast": (10.0, 10.0)}
assert seen == expected and searched == 10.0, "the behaviour has changed"
END
venv/bin/python see.py
