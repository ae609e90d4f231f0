#!/bin/sh
# tiktoken 0.14.0: `encode` lets other threads run, the constructor of `Encoding` does not. An event
# loop stands still for as long as a vocabulary is built, also where that is done in a thread: 0.1 to
# 0.3 s for one of 200,000 tokens, the size of o200k_base. A gateway that loads vocabularies when
# they are first needed stops all of its streams for that time, once for each.
#
# Output (share of the time of a call in a thread that the loop could not run):
#   encoding a text           most of it runs beside the loop
#   building a vocabulary     the loop stands still for most of it
#
# Needs Python 3; installs in a temporary folder. The vocabulary is made up, so nothing is downloaded.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check tiktoken==0.14.0

cat > see.py <<'END'
import asyncio, random, time
import tiktoken

chance = random.Random(1)
ranks = {bytes([each]): each for each in range(256)}
while len(ranks) < 200_000:
    ranks.setdefault(chance.randbytes(chance.randint(2, 8)), len(ranks))

def build():
    return tiktoken.Encoding("made-up", pat_str=r"\w+|\W+", mergeable_ranks=ranks, special_tokens={})

encoding = build()
text = " ".join(chance.choice(("balance", "ledger", "hold", "meter")) for _ in range(600_000))

async def standstill(work, *args):
    """The longest time the loop could not run, as a share of the time of the work."""
    began, last, longest = time.perf_counter(), time.perf_counter(), 0.0
    task = asyncio.ensure_future(asyncio.to_thread(work, *args))
    while not task.done():
        await asyncio.sleep(0.001)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    return longest / (time.perf_counter() - began)

async def main():
    encode = min([await standstill(encoding.encode_ordinary, text) for _ in range(5)])
    building = min([await standstill(build) for _ in range(5)])
    print("encoding a text          ", "most of it runs beside the loop" if encode < 0.5
          else "the loop stands still for most of it")
    print("building a vocabulary    ", "the loop stands still for most of it" if building > 0.5
          else "most of it runs beside the loop")

asyncio.run(main())
END
venv/bin/python see.py | tee seen
cat > expected <<'END'
encoding a text           most of it runs beside the loop
building a vocabulary     the loop stands still for most of it
END
diff expected seen
