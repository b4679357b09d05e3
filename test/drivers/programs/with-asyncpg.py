"""asyncpg through the proxy: named statements for everything, binary results, portals with a row limit, its own pool.
Arguments: host, port. Prints `ok NAME` for every check; the databases are those of test/support/proxied.ts."""
import asyncio
import sys

import asyncpg

HOST, PORT = sys.argv[1], int(sys.argv[2])


def address(database):
    user = "postgres" if database == "pgbouncer" else "app"
    return {"host": HOST, "port": PORT, "database": database, "user": user, "password": user}


async def raises(kind, work):
    try:
        await work
    except kind as error:
        return error
    raise AssertionError(f"no {kind}")


async def pool():
    """Its pool says RESET ALL, UNLISTEN * and so on when a connection comes back."""
    pids = set()
    async with asyncpg.create_pool(**address("tx"), min_size=10, max_size=10) as connections:

        async def work(n):
            async with connections.acquire() as conn:
                for i in range(10):
                    row = await conn.fetchrow("SELECT $1::int + $2::int AS sum, pg_backend_pid() AS pid", i, n)
                    assert row["sum"] == i + n
                    pids.add(row["pid"])

        await asyncio.gather(*(work(n) for n in range(60)))
    assert len(pids) <= 2, pids


async def interleaved():
    a, b = await asyncpg.connect(**address("one")), await asyncpg.connect(**address("one"))
    # Both call their first statement __asyncpg_stmt_1__ or the like. prepare() ends in Flush, not in Sync, so the
    # server is not free before the statement has been run once.
    of_a = await a.prepare("SELECT $1::int * 2")
    assert await of_a.fetchval(0) == 0
    of_b = await b.prepare("SELECT $1::int * 3")
    assert await of_b.fetchval(0) == 0
    for i in range(30):
        assert await of_a.fetchval(i) == i * 2
        assert await of_b.fetchval(i) == i * 3
    await a.close()
    await b.close()


async def eviction():
    """Its cache of statements overflows: Close messages for the oldest."""
    conn = await asyncpg.connect(**address("one"), statement_cache_size=5)
    for _ in range(3):
        for i in range(20):
            assert await conn.fetchval(f"SELECT $1::int + {i}", 100) == 100 + i
    await conn.close()


async def transactions():
    a, b = await asyncpg.connect(**address("tx")), await asyncpg.connect(**address("tx"))
    await a.execute("DROP TABLE IF EXISTS ap_tx; CREATE TABLE ap_tx (id int PRIMARY KEY)")
    async with a.transaction():
        await a.execute("INSERT INTO ap_tx VALUES ($1)", 1)
        assert await b.fetchval("SELECT count(*) FROM ap_tx") == 0

        async def inner():
            async with a.transaction():  # a savepoint
                await a.execute("INSERT INTO ap_tx VALUES ($1)", 1)

        await raises(asyncpg.UniqueViolationError, inner())
        await a.executemany("INSERT INTO ap_tx VALUES ($1)", [(i,) for i in range(2, 1000)])
    assert await b.fetchval("SELECT count(*) FROM ap_tx") == 999
    await raises(asyncpg.UniqueViolationError, a.executemany("INSERT INTO ap_tx VALUES ($1)", [(2000,), (5,)]))
    assert await b.fetchval("SELECT count(*) FROM ap_tx") == 999
    await a.close()
    await b.close()


async def cursor():
    a, b = await asyncpg.connect(**address("tx")), await asyncpg.connect(**address("tx"))
    seen = []
    async with a.transaction():
        async for row in a.cursor("SELECT generate_series(1, $1::int) AS n", 1050, prefetch=100):
            seen.append(row["n"])
            if row["n"] % 100 == 0:
                assert await b.fetchval("SELECT 1") == 1
    assert seen == list(range(1, 1051))
    await a.close()
    await b.close()


async def copy():
    conn = await asyncpg.connect(**address("tx"))
    await conn.execute("DROP TABLE IF EXISTS ap_copy; CREATE TABLE ap_copy (id int PRIMARY KEY, t text)")
    rows = [(i, f"row {i}") for i in range(20000)]
    assert await conn.copy_records_to_table("ap_copy", records=rows) == "COPY 20000"
    await raises(asyncpg.UniqueViolationError, conn.copy_records_to_table("ap_copy", records=rows))
    assert await conn.fetchval("SELECT count(*) FROM ap_copy") == 20000
    await conn.close()


async def cancel():
    """A timeout of the driver is a cancel request; the other client's query goes on."""
    a, b = await asyncpg.connect(**address("tx")), await asyncpg.connect(**address("tx"))
    other = asyncio.create_task(b.fetchval("SELECT 'bystander' FROM pg_sleep(2)"))
    await raises(asyncio.TimeoutError, a.fetchval("SELECT pg_sleep(60)", timeout=0.5))
    assert await a.fetchval("SELECT 1") == 1
    assert await other == "bystander"
    await a.close()
    await b.close()


async def listen():
    a, b = await asyncpg.connect(**address("sess")), await asyncpg.connect(**address("sess"))
    told = asyncio.get_running_loop().create_future()
    await a.add_listener("ap", lambda _conn, _pid, _channel, payload: told.set_result(payload))
    await b.execute("NOTIFY ap, 'hello'")
    assert await asyncio.wait_for(told, 10) == "hello"
    await a.close()
    await b.close()


async def console():
    conn = await asyncpg.connect(**address("pgbouncer"))
    pools = await conn.fetch("SHOW POOLS")
    assert any(row["database"] == "tx" and row["pool_mode"] == "transaction" for row in pools)
    assert isinstance(pools[0]["cl_active"], int)
    await conn.execute("PAUSE tx")
    await conn.execute("RESUME tx")
    error = await raises(asyncpg.PostgresError, conn.execute("PAUSE nowhere"))
    assert error.sqlstate == "08P01", error
    await conn.close()


async def main():
    for check in (pool, interleaved, eviction, transactions, cursor, copy, cancel, listen, console):
        await check()
        print(f"ok {check.__name__}", flush=True)


asyncio.run(main())
