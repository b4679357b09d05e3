"""psycopg 3 on a routed database. Arguments: host, port, port of the primary. Prints `ok NAME` for every check."""
import sys
import time

import psycopg

HOST, PORT, PRIMARY = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
WHERE = "SELECT inet_server_port()"


def connect(**more):
    return psycopg.connect(host=HOST, port=PORT, user="postgres", dbname="app", **more)


def one(conn, sql, values=None, **more):
    row = conn.execute(sql, values, **more).fetchone()
    return row[0]


def until_replica(conn, sql=WHERE, values=None, **more):
    for _ in range(500):
        if one(conn, sql, values, **more) != PRIMARY:
            return
        time.sleep(0.02)
    raise AssertionError(f"never on a replica: {sql}")


def reads():
    with connect(autocommit=True) as conn:
        for more in ({"prepare": False}, {"prepare": True}, {"prepare": True, "binary": True}):
            for sql, values in ((WHERE, None), (WHERE + " WHERE %s = 1", (1,))):
                until_replica(conn, sql, values, **more)
                ports = {one(conn, sql, values, **more) for _ in range(20)}
                assert len(ports) == 2 and PRIMARY not in ports, (ports, more)


def own_writes():
    with connect(autocommit=True, prepare_threshold=1) as conn:
        for i in range(100):
            conn.execute("INSERT INTO items VALUES ('p3', %s)", (i,))
            assert one(conn, "SELECT max(n) FROM items WHERE who = %s", ("p3",)) == i


def transactions():
    with connect(prepare_threshold=1) as conn:
        for i in range(20):
            conn.execute("INSERT INTO items VALUES ('p3tx', %s)", (i,))
            assert one(conn, WHERE) == PRIMARY
            conn.rollback() if i % 2 else conn.commit()
            assert one(conn, "SELECT max(n) FROM items WHERE who = 'p3tx'") == i - i % 2
            conn.commit()
        try:
            conn.execute("SELECT 1 / 0")
        except psycopg.errors.DivisionByZero:
            pass
        conn.rollback()
        with conn.transaction():
            with conn.transaction():
                conn.execute("SELECT 1")


def read_only():
    with connect(autocommit=True) as conn:
        until_replica(conn)
        conn.autocommit = False
        conn.read_only = True
        for _ in range(6):
            assert one(conn, WHERE) != PRIMARY
            assert one(conn, "SELECT count(*) >= 0 FROM items")
            conn.commit()
        conn.read_only = None
        conn.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        assert one(conn, WHERE) == PRIMARY
        conn.rollback()


def pipeline():
    with connect(autocommit=True, prepare_threshold=1) as conn:
        with conn.pipeline() as pipe:
            for i in range(50):
                conn.execute("INSERT INTO items VALUES ('pipe', %s)", (i,))
                seen = conn.execute("SELECT max(n) FROM items WHERE who = 'pipe'")
                if i % 3 == 0:
                    pipe.sync()
                assert seen.fetchone()[0] == i
        until_replica(conn)
        with conn.pipeline() as pipe:
            cursors = []
            for i in range(50):
                cursors.append(conn.execute("SELECT %s::int, inet_server_port()", (i,)))
                pipe.sync()
            rows = [cursor.fetchone() for cursor in cursors]
        assert [row[0] for row in rows] == list(range(50))
        assert PRIMARY not in {row[1] for row in rows[5:]}, rows


def lies():
    with connect(autocommit=True, prepare_threshold=0) as conn:
        until_replica(conn)
        before = one(conn, "SELECT count(*) FROM notes")
        for i in range(5):
            assert one(conn, "SELECT noted(%s)", (i,)) is not None
        assert one(conn, "SELECT count(*) FROM notes") == before + 5


def cursor():
    with connect(autocommit=True) as conn:
        until_replica(conn)
        conn.autocommit = False
        conn.read_only = True
        with conn.cursor("named") as rows:
            rows.itersize = 100
            rows.execute("SELECT generate_series(1, 1000), inet_server_port()")
            seen = list(rows)
        assert [n for n, _ in seen] == list(range(1, 1001))
        assert PRIMARY not in {port for _, port in seen}
        conn.commit()
        with conn.cursor().copy("COPY (SELECT generate_series(1, 10)) TO STDOUT") as copy:
            assert len(list(copy.rows())) == 10
        conn.commit()
        conn.read_only = False
        with conn.cursor().copy("COPY items FROM STDIN") as copy:
            copy.write_row(("copied", 1))
        conn.commit()
        assert one(conn, "SELECT count(*) FROM items WHERE who = 'copied'") == 1
        conn.commit()


for check in (reads, own_writes, transactions, read_only, pipeline, lies, cursor):
    check()
    print("ok", check.__name__.replace("_", " "), flush=True)
