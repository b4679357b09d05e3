"""psycopg 3 through the proxy: the extended protocol, named statements, pipelines. Arguments: host, port. Prints
`ok NAME` for every check; the databases are those of test/support/proxied.ts."""
import datetime
import decimal
import sys
import threading

import psycopg
from psycopg.types.json import Jsonb

HOST, PORT = sys.argv[1], int(sys.argv[2])


def connect(database, **more):
    user = "postgres" if database == "pgbouncer" else "app"
    return psycopg.connect(host=HOST, port=PORT, dbname=database, user=user, password=user, **more)


def one(conn, sql, values=None, **more):
    return conn.execute(sql, values, **more).fetchone()[0]


def raises(kind, work):
    try:
        work()
    except kind as error:
        return error
    raise AssertionError(f"no {kind}")


def interleaved_prepared():
    """The same statement names (_pg3_0, …) of two clients, with other texts, on one server."""
    a, b = connect("one", prepare_threshold=0), connect("one", prepare_threshold=0)
    pids = set()
    for i in range(20):
        for k, conn in ((1, a), (2, b)):
            for n in range(3):
                assert one(conn, f"SELECT %s::int * {k} + {n}", (i,)) == i * k + n
            pids.add(one(conn, "SELECT pg_backend_pid()"))
            conn.commit()
    assert len(pids) == 1, pids
    a.close()
    b.close()


def two_servers():
    """A statement prepared on one server is run on the other."""
    a, b, c = (connect("tx", prepare_threshold=0, autocommit=True) for _ in range(3))
    pids = set()
    for i in range(30):
        holder = (b, c)[i % 2]
        holder.execute("BEGIN")  # takes the server that a had last
        pids.add(one(holder, "SELECT pg_backend_pid()"))
        assert one(a, "SELECT %s::int + 1", (i,)) == i + 1
        pids.add(one(a, "SELECT pg_backend_pid()"))
        holder.execute("COMMIT")
    assert len(pids) == 2, pids
    for conn in (a, b, c):
        conn.close()


def threshold():
    a = connect("one")  # named from the 6th time on
    for i in range(12):
        assert one(a, "SELECT %s::text", (str(i),)) == str(i)
        a.commit()
    a.close()


def types_and_binary():
    a = connect("one")
    values = [1, 2.5, decimal.Decimal("1234567890.12"), True, None, "ü€😀'\"\\ %", b"\x00\xff",
              datetime.datetime(2024, 2, 29, 12, 0, 0, 5), [1, 2, None], Jsonb({"a": ["ü", None]})]
    for binary in (False, True):
        cur = a.cursor(binary=binary)
        cur.execute("SELECT %s::int, %s::float8, %s::numeric, %s, %s::text, %s, %s, %s, %s, %s", values)
        row = list(cur.fetchone())
        assert row[:-1] == values[:-1] and row[-1] == {"a": ["ü", None]}, row
    a.close()


def errors_and_rollback():
    """A failed transaction makes psycopg forget its statements: it says DEALLOCATE ALL."""
    a, b = connect("one", prepare_threshold=0), connect("one", prepare_threshold=0)
    a.execute("DROP TABLE IF EXISTS py3_errors")
    a.execute("CREATE TABLE py3_errors (id int PRIMARY KEY)")
    a.commit()
    insert = "INSERT INTO py3_errors VALUES (%s)"
    for _ in range(3):
        a.execute(insert, (1,))
        raises(psycopg.errors.UniqueViolation, lambda: a.execute(insert, (1,)))
        raises(psycopg.errors.InFailedSqlTransaction, lambda: a.execute("SELECT 1"))
        a.rollback()
        assert one(b, "SELECT count(*) FROM py3_errors") == 0
        b.commit()
        raises(psycopg.errors.UndefinedTable, lambda: b.execute("SELECT * FROM missing WHERE id = %s", (1,)))
        b.rollback()
    with a.transaction():
        a.execute(insert, (5,))
        try:
            with a.transaction():  # a savepoint
                a.execute("SELECT 1 / %s::int", (0,))
        except psycopg.errors.DivisionByZero:
            pass
        a.execute(insert, (6,))
    assert [row[0] for row in b.execute("SELECT id FROM py3_errors ORDER BY id")] == [5, 6]
    a.close()
    b.close()


def pipelines():
    a = connect("tx", autocommit=True, prepare_threshold=0)
    for _ in range(3):
        with a.pipeline() as p:
            cursors = [a.execute("SELECT %s::int + %s::int", (i, 1)) for i in range(50)]
            p.sync()
            more = a.execute("SELECT %s::text", ("x",))
            assert [cur.fetchone()[0] for cur in cursors] == list(range(1, 51))
            assert more.fetchone()[0] == "x"

    def failing():
        with a.pipeline():
            a.execute("SELECT 1 / %s::int", (0,))
            # one it has prepared before: this version believes that a skipped Parse was done, without a proxy too
            a.execute("SELECT %s::int + %s::int", (1, 1))

    raises(psycopg.errors.DivisionByZero, failing)
    assert one(a, "SELECT %s::int + %s::int", (3, 4)) == 7
    assert one(a, "SELECT %s::int", (7,)) == 7
    a.close()


def executemany():
    a = connect("one")
    a.execute("DROP TABLE IF EXISTS py3_many")
    a.execute("CREATE TABLE py3_many (id int, t text)")
    a.cursor().executemany("INSERT INTO py3_many VALUES (%s, %s)", [(i, f"row {i}") for i in range(2000)])
    a.commit()
    assert one(a, "SELECT count(*) FROM py3_many") == 2000
    a.close()


def server_cursor_and_stream():
    a, b = connect("tx"), connect("tx")
    with a.cursor("cur") as cur:
        cur.itersize = 100
        cur.execute("SELECT generate_series(1, %s)", (1050,))
        seen = []
        for (n,) in cur:
            seen.append(n)
            if n % 100 == 0:
                assert one(b, "SELECT 1") == 1
                b.commit()
    assert seen == list(range(1, 1051))
    a.commit()
    assert sum(1 for _ in a.cursor().stream("SELECT generate_series(1, 10000)")) == 10000
    a.close()
    b.close()


def copy():
    a = connect("tx")
    a.execute("DROP TABLE IF EXISTS py3_copy")
    a.execute("CREATE TABLE py3_copy (id int PRIMARY KEY, t text)")
    with a.cursor().copy("COPY py3_copy FROM STDIN") as stream:
        for i in range(20000):
            stream.write_row((i, f"row {i}"))
    a.commit()
    with a.cursor().copy("COPY (SELECT * FROM py3_copy ORDER BY id) TO STDOUT (FORMAT BINARY)") as stream:
        stream.set_types(["int4", "text"])
        assert list(stream.rows()) == [(i, f"row {i}") for i in range(20000)]

    def twice():
        with a.cursor().copy("COPY py3_copy FROM STDIN") as stream:
            for i in range(20000):
                stream.write_row((i, "again"))

    raises(psycopg.errors.UniqueViolation, twice)
    a.rollback()

    def given_up():
        with a.cursor().copy("COPY py3_copy FROM STDIN") as stream:
            stream.write_row((99999, "x"))
            raise KeyError("changed my mind")

    raises((KeyError, psycopg.errors.QueryCanceled), given_up)  # it depends on psycopg's version
    a.rollback()
    assert one(a, "SELECT count(*) FROM py3_copy") == 20000
    a.close()


def cancel():
    a, b, watcher = connect("tx"), connect("tx"), connect("sess", autocommit=True)
    seen = []

    def wait_for(text):
        sql = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE %s AND pid <> pg_backend_pid()"
        while one(watcher, sql, (f"%{text}%",)) == 0:
            pass

    other = threading.Thread(target=lambda: seen.append(one(b, "SELECT 'bystander' FROM pg_sleep(2)")))

    def canceller():
        wait_for("py3 victim")
        other.start()
        wait_for("bystander")
        a.cancel()

    thread = threading.Thread(target=canceller)
    thread.start()
    raises(psycopg.errors.QueryCanceled, lambda: one(a, "SELECT 'py3 victim' FROM pg_sleep(60)"))
    thread.join()
    other.join()
    assert seen == ["bystander"], seen
    a.rollback()
    assert one(a, "SELECT 1") == 1
    for conn in (a, b, watcher):
        conn.close()


def listen():
    a, b = connect("sess", autocommit=True), connect("sess", autocommit=True)
    a.execute("LISTEN py3")
    b.execute("NOTIFY py3, 'hello'")
    told = next(a.notifies())
    assert (told.channel, told.payload) == ("py3", "hello")
    a.close()
    b.close()


def console():
    for autocommit in (True, False):
        conn = connect("pgbouncer", autocommit=autocommit)
        cur = conn.execute("SHOW POOLS")
        names = [column.name for column in cur.description]
        pools = [dict(zip(names, row)) for row in cur]
        assert any(pool["database"] == "tx" and pool["pool_mode"] == "transaction" for pool in pools)
        assert isinstance(pools[0]["cl_active"], int)
        conn.execute("PAUSE tx")
        conn.execute("RESUME tx")
        error = raises(psycopg.Error, lambda: conn.execute("PAUSE nowhere"))
        assert error.sqlstate == "08P01" and "no such database: nowhere" in str(error), error
        if not autocommit:
            conn.rollback()
        assert one(conn, "SHOW VERSION", prepare=True).startswith("PgBouncer ")
        conn.close()


for check in (interleaved_prepared, two_servers, threshold, types_and_binary, errors_and_rollback, pipelines,
              executemany, server_cursor_and_stream, copy, cancel, listen, console):
    check()
    print(f"ok {check.__name__}", flush=True)
