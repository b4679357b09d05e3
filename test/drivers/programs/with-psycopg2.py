"""psycopg2 through the proxy. Arguments: host, port. Prints `ok NAME` for every check; the databases are those of
test/support/proxied.ts: tx (2 servers), one (1 server), sess (session mode), pgbouncer (the console)."""
import io
import select
import sys
import threading

import psycopg2
import psycopg2.errors
import psycopg2.extras

HOST, PORT = sys.argv[1], int(sys.argv[2])


def connect(database, **more):
    user = "postgres" if database == "pgbouncer" else "app"
    return psycopg2.connect(host=HOST, port=PORT, dbname=database, user=user, password=user, **more)


def one(conn, sql, values=None):
    with conn.cursor() as cur:
        cur.execute(sql, values)
        return cur.fetchone()[0]


def raises(kind, work):
    try:
        work()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def interleaved():
    a, b = connect("one", application_name="a"), connect("one", application_name="b")
    pids = set()
    for i in range(30):
        for name, conn in (("a", a), ("b", b)):
            assert one(conn, "SELECT %s || %s", (name, str(i))) == f"{name}{i}"
            assert one(conn, "SHOW application_name") == name
            pids.add(one(conn, "SELECT pg_backend_pid()"))
            conn.commit()
    assert len(pids) == 1, pids
    a.close()
    b.close()


def types():
    with connect("one") as conn:
        import datetime
        import decimal

        values = (1, 2.5, decimal.Decimal("12345678901234567890.12"), True, None, "ü€😀'\"\\ %", b"\x00\xff'\\",
                  datetime.datetime(2024, 2, 29, 12, 0, 0, 5), [1, 2, None])
        with conn.cursor() as cur:
            cur.execute("SELECT %s, %s::float8, %s, %s, %s, %s, %s::bytea, %s, %s", values)
            row = cur.fetchone()
        assert tuple(bytes(v) if isinstance(v, memoryview) else v for v in row) == values, row


def errors():
    a, b = connect("tx"), connect("tx")
    one(a, "DROP TABLE IF EXISTS py_errors; CREATE TABLE py_errors (id int PRIMARY KEY); SELECT 1")
    a.commit()
    with a.cursor() as cur:
        cur.execute("INSERT INTO py_errors VALUES (1)")
        raises(psycopg2.errors.UniqueViolation, lambda: cur.execute("INSERT INTO py_errors VALUES (1)"))
        raises(psycopg2.errors.InFailedSqlTransaction, lambda: cur.execute("SELECT 1"))
        assert one(b, "SELECT count(*) FROM py_errors") == 0
        b.rollback()
        a.rollback()
        cur.execute("SAVEPOINT s")
        raises(psycopg2.errors.DivisionByZero, lambda: cur.execute("SELECT 1/0"))
        cur.execute("ROLLBACK TO s")
        cur.execute("INSERT INTO py_errors VALUES (2)")
    a.commit()
    assert one(b, "SELECT array_agg(id) FROM py_errors") == [2]
    a.close()
    b.close()


def abandoned():
    a, b = connect("one"), connect("one")
    one(a, "CREATE TABLE py_abandoned (id int); SELECT 1")
    a.close()  # in its transaction
    assert one(b, "SELECT to_regclass('py_abandoned') IS NULL") is True
    b.close()


def named_cursor():
    a, b = connect("tx"), connect("tx")
    cur = a.cursor("cur")
    cur.itersize = 100
    cur.execute("SELECT generate_series(1, 1050)")
    seen = []
    for (n,) in cur:
        seen.append(n)
        if n % 100 == 0:
            assert one(b, "SELECT 1") == 1
            b.commit()
    assert seen == list(range(1, 1051))
    a.close()
    b.close()


def copy():
    a = connect("tx")
    text = "".join(f"{i}\trow {i}\n" for i in range(50000))
    with a.cursor() as cur:
        cur.execute("DROP TABLE IF EXISTS py_copy; CREATE TABLE py_copy (id int PRIMARY KEY, t text)")
        cur.copy_expert("COPY py_copy FROM STDIN", io.StringIO(text))
        a.commit()
        out = io.StringIO()
        cur.copy_expert("COPY (SELECT * FROM py_copy ORDER BY id) TO STDOUT", out)
        assert out.getvalue() == text
        raises(psycopg2.errors.UniqueViolation, lambda: cur.copy_expert("COPY py_copy FROM STDIN", io.StringIO(text)))
        a.rollback()
        assert one(a, "SELECT count(*) FROM py_copy") == 50000
    a.close()


def batches():
    a = connect("one")
    with a.cursor() as cur:
        cur.execute("DROP TABLE IF EXISTS py_batch; CREATE TABLE py_batch (id int, t text)")
        rows = [(i, f"row {i}") for i in range(5000)]
        psycopg2.extras.execute_values(cur, "INSERT INTO py_batch VALUES %s", rows, page_size=1000)
        psycopg2.extras.execute_batch(cur, "UPDATE py_batch SET t = %s WHERE id = %s", [("x", i) for i in range(200)])
    a.commit()
    assert one(a, "SELECT count(*) FROM py_batch WHERE t = 'x'") == 200
    a.close()


def cancel():
    a, b = connect("tx"), connect("tx")
    watcher = connect("sess")
    watcher.autocommit = True
    seen = []

    def wait_for(text):
        sql = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE %s AND pid <> pg_backend_pid()"
        while one(watcher, sql, (f"%{text}%",)) == 0:
            pass

    other = threading.Thread(target=lambda: seen.append(one(b, "SELECT 'bystander' FROM pg_sleep(2)")))

    def canceller():
        wait_for("py victim")
        other.start()
        wait_for("bystander")
        a.cancel()

    thread = threading.Thread(target=canceller)
    thread.start()
    raises(psycopg2.errors.QueryCanceled, lambda: one(a, "SELECT 'py victim' FROM pg_sleep(60)"))
    thread.join()
    other.join()
    assert seen == ["bystander"], seen
    a.rollback()
    assert one(a, "SELECT 1") == 1
    for conn in (a, b, watcher):
        conn.close()


def session_settings():
    a, b = connect("one"), connect("one")
    a.set_client_encoding("LATIN1")
    a.set_session(readonly=True, isolation_level="SERIALIZABLE")
    for _ in range(3):
        assert one(a, "SELECT 'ü' || current_setting('transaction_read_only')") == "üon"
        assert one(a, "SHOW client_encoding") == "LATIN1"
        assert one(a, "SHOW transaction_isolation") == "serializable"
        a.commit()
        assert one(b, "SELECT 'ü€'") == "ü€"
        assert one(b, "SHOW client_encoding") == "UTF8"
        assert one(b, "SHOW transaction_read_only") == "off"
        b.commit()
    a.close()
    a = connect("one")
    a.set_session(autocommit=True, readonly=True)  # SET default_transaction_read_only, which is carried
    for _ in range(3):
        assert one(a, "SHOW transaction_read_only") == "on"
        assert one(b, "SHOW transaction_read_only") == "off"
        b.commit()
    a.close()
    b.close()


def sql_prepare():
    """PREPARE and EXECUTE as SQL belong to a server: within a transaction that is enough."""
    a = connect("tx")
    with a.cursor() as cur:
        cur.execute("PREPARE p (int) AS SELECT $1 + 1; EXECUTE p (41)")
        assert cur.fetchone()[0] == 42
        cur.execute("DEALLOCATE p")
    a.close()


def listen():
    a, b = connect("sess"), connect("sess")
    a.autocommit = b.autocommit = True
    a.cursor().execute("LISTEN py")
    b.cursor().execute("NOTIFY py, 'hello'")
    select.select([a], [], [], 10)
    a.poll()
    assert [n.payload for n in a.notifies] == ["hello"]
    a.close()
    b.close()


def console():
    for autocommit in (True, False):
        conn = connect("pgbouncer")
        conn.autocommit = autocommit
        with conn.cursor() as cur:
            cur.execute("SHOW POOLS")
            names = [column.name for column in cur.description]
            pools = [dict(zip(names, row)) for row in cur.fetchall()]
            assert any(pool["database"] == "tx" and pool["pool_mode"] == "transaction" for pool in pools)
            assert isinstance(pools[0]["cl_active"], int)
            cur.execute("PAUSE tx")
            cur.execute("RESUME tx")
            error = raises(psycopg2.Error, lambda: cur.execute("PAUSE nowhere"))
            assert error.pgcode == "08P01" and "no such database: nowhere" in str(error), error
        if not autocommit:
            conn.rollback()
        assert one(conn, "SHOW VERSION").startswith("PgBouncer ")
        conn.close()


for check in (interleaved, types, errors, abandoned, named_cursor, copy, batches, cancel, session_settings,
              sql_prepare, listen, console):
    check()
    print(f"ok {check.__name__}", flush=True)
