"""psycopg2 on a routed database. Arguments: host, port, port of the primary. Prints `ok NAME` for every check."""
import io
import sys
import time

import psycopg2
import psycopg2.errors

HOST, PORT, PRIMARY = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
WHERE = "SELECT inet_server_port()"


def connect(autocommit, database="app"):
    conn = psycopg2.connect(host=HOST, port=PORT, user="postgres", dbname=database)
    conn.autocommit = autocommit
    return conn


def one(conn, sql, values=None):
    with conn.cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchone()[0]


def run(conn, sql, values=None):
    with conn.cursor() as cursor:
        cursor.execute(sql, values)


def until_replica(conn):
    for _ in range(500):
        if one(conn, WHERE) != PRIMARY:
            return
        time.sleep(0.02)
    raise AssertionError("never on a replica")


def reads():
    conn = connect(True)
    until_replica(conn)
    ports = {one(conn, WHERE) for _ in range(20)}
    assert len(ports) == 2 and PRIMARY not in ports, ports
    conn.close()


def own_writes():
    conn = connect(True)
    for i in range(100):
        run(conn, "INSERT INTO items VALUES ('p2', %s)", (i,))
        assert one(conn, "SELECT max(n) FROM items WHERE who = 'p2'") == i
    conn.close()


def transactions():
    conn = connect(False)
    for i in range(20):
        run(conn, "INSERT INTO items VALUES ('p2tx', %s)", (i,))
        conn.rollback() if i % 2 else conn.commit()
        assert one(conn, "SELECT max(n) FROM items WHERE who = 'p2tx'") == i - i % 2
        conn.commit()
    try:
        run(conn, "SELECT 1 / 0")
    except psycopg2.errors.DivisionByZero:
        conn.rollback()
    assert one(conn, "SELECT 1") == 1
    conn.close()


def read_only():
    conn = connect(True)
    until_replica(conn)
    conn.set_session(readonly=True, autocommit=False)
    for _ in range(6):
        assert one(conn, WHERE) != PRIMARY
        conn.commit()
    conn.set_session(readonly=False, isolation_level="SERIALIZABLE")
    assert one(conn, WHERE) == PRIMARY
    conn.rollback()
    conn.close()
    # the alias of replicas: what they cannot begin they refuse, and the session goes on
    conn = connect(False, "app_ro")
    assert one(conn, WHERE) != PRIMARY
    conn.rollback()
    conn.set_session(isolation_level="SERIALIZABLE")
    try:
        one(conn, WHERE)
        raise AssertionError("SERIALIZABLE on a replica")
    except psycopg2.errors.FeatureNotSupported:
        conn.rollback()
    conn.set_session(isolation_level="READ COMMITTED")
    assert one(conn, WHERE) != PRIMARY
    conn.close()


def lies():
    conn = connect(True)
    until_replica(conn)
    before = one(conn, "SELECT count(*) FROM notes")
    for i in range(5):
        assert one(conn, "SELECT noted(%s)", (i,)) is not None
    assert one(conn, "SELECT count(*) FROM notes") == before + 5
    conn.close()


def copy():
    conn = connect(True)
    with conn.cursor() as cursor:
        cursor.copy_expert("COPY items FROM STDIN", io.StringIO("".join(f"p2copy\t{i}\n" for i in range(5000))))
        out = io.StringIO()
        cursor.copy_expert("COPY (SELECT n FROM items WHERE who = 'p2copy' ORDER BY n) TO STDOUT", out)
    assert out.getvalue() == "".join(f"{i}\n" for i in range(5000))
    conn.close()


for check in (reads, own_writes, transactions, read_only, lies, copy):
    check()
    print("ok", check.__name__.replace("_", " "), flush=True)
