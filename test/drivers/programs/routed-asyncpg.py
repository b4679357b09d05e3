"""asyncpg on a routed database. Arguments: host, port, port of the primary. Prints `ok NAME` for every check."""
import asyncio
import sys

import asyncpg

HOST, PORT, PRIMARY = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
WHERE = "SELECT inet_server_port()"


def connect(**more):
    return asyncpg.connect(host=HOST, port=PORT, user="postgres", database="app", **more)


async def until_replica(conn, sql=WHERE, *values):
    """A write is fresh everywhere after a while."""
    for _ in range(500):
        if await conn.fetchval(sql, *values) != PRIMARY:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"never on a replica: {sql}")


async def reads():
    conn = await connect()
    for sql, values in ((WHERE, ()), (WHERE + " WHERE $1::int = 1", (1,))):
        await until_replica(conn, sql, *values)
        ports = {await conn.fetchval(sql, *values) for _ in range(20)}
        assert len(ports) == 2 and PRIMARY not in ports, ports
    # what it prepares goes with a Flush, before what is run is seen: to the primary, and as if it might have written
    of_both = await conn.prepare(WHERE + " WHERE $1::int = 2")
    for _ in range(500):
        if await of_both.fetchval(2) != PRIMARY:
            break
        await asyncio.sleep(0.02)
    ports = {await of_both.fetchval(2) for _ in range(20)}
    assert len(ports) == 2 and PRIMARY not in ports, ports
    await conn.close()


async def uncached():
    """statement_cache_size = 0, as its documentation says for poolers: the unnamed statement, prepared and then run."""
    conn = await connect(statement_cache_size=0)
    for i in range(50):
        assert await conn.fetchval("SELECT $1::int * 2", i) == 2 * i
    await conn.close()


async def own_writes():
    async def one(who):
        conn = await connect()
        for i in range(50):
            await conn.execute("INSERT INTO items VALUES ($1, $2)", who, i)
            assert await conn.fetchval("SELECT max(n) FROM items WHERE who = $1", who) == i
        await conn.close()

    await asyncio.gather(*(one(f"asyncpg {c}") for c in range(4)))


async def transactions():
    conn = await connect()
    for i in range(10):
        try:
            async with conn.transaction():
                assert await conn.fetchval(WHERE) == PRIMARY
                await conn.execute("INSERT INTO items VALUES ('atx', $1)", i)
                async with conn.transaction():
                    await conn.execute("INSERT INTO items VALUES ('atx', $1)", 1000 + i)
                if i % 2:
                    raise KeyError
        except KeyError:
            pass
        assert await conn.fetchval("SELECT max(n) FROM items WHERE who = 'atx'") == 1000 + i - i % 2
    async with conn.transaction(isolation="serializable"):
        assert await conn.fetchval(WHERE) == PRIMARY
    # an error, and the block is over for it
    try:
        async with conn.transaction():
            await conn.fetchval("SELECT 1 / $1::int", 0)
    except asyncpg.DivisionByZeroError:
        pass
    assert await conn.fetchval("SELECT 1") == 1
    await conn.close()


async def read_only():
    conn = await connect()
    await until_replica(conn)
    for _ in range(6):
        async with conn.transaction(readonly=True):
            assert await conn.fetchval(WHERE) != PRIMARY
            rows = [row async for row in conn.cursor("SELECT generate_series(1, $1::int) AS n", 200)]
            assert len(rows) == 200
    await conn.close()


async def lies():
    conn = await connect()
    await until_replica(conn)
    before = await conn.fetchval("SELECT count(*) FROM notes")
    for i in range(5):
        assert await conn.fetchval("SELECT noted($1)", i) is not None
    assert await conn.fetchval("SELECT count(*) FROM notes") == before + 5
    await conn.close()


async def settings():
    conn = await connect()
    await conn.execute("INSERT INTO items VALUES ('set', 1)")
    lsn = await conn.fetchval("SHOW pgconcierge.lsn")
    assert "/" in lsn, lsn
    await conn.fetch(f"SET pgconcierge.wait_lsn = '{lsn}'")
    assert await conn.fetchval("SHOW pgconcierge.wait_lsn") == lsn
    async with conn.transaction():
        assert await conn.fetchval("SHOW pgconcierge.route") == "auto"
    await conn.close()


async def main():
    for check in (reads, uncached, own_writes, transactions, read_only, lies, settings):
        await check()
        print("ok", check.__name__.replace("_", " "), flush=True)


asyncio.run(main())
