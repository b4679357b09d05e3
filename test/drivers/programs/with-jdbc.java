// PgJDBC through the proxy. Arguments: mode (a preferQueryMode), host, port. Prints `ok NAME` for every check; the
// databases are those of test/support/proxied.ts. prepareThreshold=1: named statements from the first run on.
import java.io.StringReader;
import java.io.StringWriter;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.sql.Timestamp;
import java.util.HashSet;
import java.util.Objects;
import java.util.Set;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;

class WithJdbc {
  interface Check {
    void run() throws Exception;
  }

  static String mode;
  static String host;
  static String port;

  static Connection connect(String database, String more) throws SQLException {
    String user = database.equals("pgbouncer") ? "postgres" : "app";
    return DriverManager.getConnection(
        "jdbc:postgresql://" + host + ":" + port + "/" + database + "?user=" + user + "&password=" + user
            + "&prepareThreshold=1&preferQueryMode=" + mode + more);
  }

  static Connection connect(String database) throws SQLException {
    return connect(database, "");
  }

  static void same(Object actual, Object expected) {
    if (!Objects.equals(actual, expected)) throw new AssertionError("is " + actual + ", should be " + expected);
  }

  static String one(Connection conn, String sql, Object... values) throws SQLException {
    try (PreparedStatement statement = conn.prepareStatement(sql)) {
      for (int i = 0; i < values.length; i++) statement.setObject(i + 1, values[i]);
      try (ResultSet rows = statement.executeQuery()) {
        rows.next();
        return rows.getString(1);
      }
    }
  }

  static void run(Connection conn, String... all) throws SQLException {
    for (String sql : all) {
      try (Statement statement = conn.createStatement()) {
        statement.execute(sql);
      }
    }
  }

  static String stateOf(Check work) throws Exception {
    try {
      work.run();
    } catch (SQLException error) {
      return error.getSQLState();
    }
    return "no error";
  }

  static void interleaved() throws Exception {
    Set<String> pids = new HashSet<>();
    try (Connection a = connect("one", "&ApplicationName=a"); Connection b = connect("one", "&ApplicationName=b")) {
      // kept open: both clients call their first statement S_1
      PreparedStatement ofA = a.prepareStatement("SELECT ?::int * 2, pg_backend_pid()");
      PreparedStatement ofB = b.prepareStatement("SELECT ?::int * 3, pg_backend_pid()");
      for (int i = 0; i < 30; i++) {
        int factor = 2;
        for (PreparedStatement statement : new PreparedStatement[] {ofA, ofB}) {
          statement.setInt(1, i);
          try (ResultSet rows = statement.executeQuery()) {
            rows.next();
            same(rows.getInt(1), i * factor);
            pids.add(rows.getString(2));
          }
          factor++;
        }
        same(one(a, "SHOW application_name"), "a");
        same(one(b, "SHOW application_name"), "b");
      }
    }
    same(pids.size(), 1);
  }

  static void twoServers() throws Exception {
    Set<String> pids = new HashSet<>();
    try (Connection a = connect("tx"); Connection b = connect("tx"); Connection c = connect("tx")) {
      PreparedStatement statement = a.prepareStatement("SELECT ?::int + 1");
      for (int i = 0; i < 30; i++) {
        Connection holder = i % 2 == 0 ? b : c;
        holder.setAutoCommit(false);
        pids.add(one(holder, "SELECT pg_backend_pid()"));
        statement.setInt(1, i);
        try (ResultSet rows = statement.executeQuery()) {
          rows.next();
          same(rows.getInt(1), i + 1);
        }
        pids.add(one(a, "SELECT pg_backend_pid()"));
        holder.commit();
        holder.setAutoCommit(true);
      }
    }
    same(pids.size(), 2);
  }

  static void types() throws Exception {
    try (Connection a = connect("one");
        PreparedStatement statement = a.prepareStatement("SELECT ?::int, ?::bigint, ?::float8, ?, ?::text, ?::bytea, ?::timestamptz, ?::text[]")) {
      for (int i = 0; i < 5; i++) { // binary results begin after some runs
        Timestamp at = Timestamp.valueOf("2024-02-29 12:34:56.789");
        // the driver cannot send bytea in simple mode, without a proxy neither
        byte[] bytes = mode.equals("simple") ? null : new byte[] {0, 1, (byte) 0xff, 0x5c};
        statement.setInt(1, i);
        statement.setLong(2, 9007199254740993L);
        statement.setDouble(3, 0.1 + 0.2);
        statement.setString(4, "ü€😀'\"\\");
        statement.setString(5, null);
        statement.setBytes(6, bytes);
        statement.setTimestamp(7, at);
        statement.setArray(8, a.createArrayOf("text", new String[] {"x", "y,\""}));
        try (ResultSet rows = statement.executeQuery()) {
          rows.next();
          same(rows.getInt(1), i);
          same(rows.getLong(2), 9007199254740993L);
          same(rows.getDouble(3), 0.1 + 0.2);
          same(rows.getString(4), "ü€😀'\"\\");
          same(rows.getString(5), null);
          same(java.util.Arrays.equals(rows.getBytes(6), bytes), true);
          same(rows.getTimestamp(7), at);
          same(((String[]) rows.getArray(8).getArray())[1], "y,\"");
        }
      }
    }
  }

  static void transactions() throws Exception {
    try (Connection a = connect("tx"); Connection b = connect("tx")) {
      run(a, "DROP TABLE IF EXISTS j_tx", "CREATE TABLE j_tx (id int PRIMARY KEY)");
      a.setAutoCommit(false);
      run(a, "INSERT INTO j_tx VALUES (1)");
      same(one(b, "SELECT count(*) FROM j_tx"), "0");
      same(stateOf(() -> run(a, "INSERT INTO j_tx VALUES (1)")), "23505");
      same(stateOf(() -> run(a, "SELECT 1")), "25P02");
      a.rollback();
      Savepoint savepoint = a.setSavepoint();
      same(stateOf(() -> one(a, "SELECT 1 / ?::int", 0)), "22012");
      a.rollback(savepoint);
      run(a, "INSERT INTO j_tx VALUES (2)");
      a.commit();
      same(one(b, "SELECT string_agg(id::text, ',') FROM j_tx"), "2");
      a.setReadOnly(true);
      a.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
      same(one(a, "SHOW transaction_read_only"), "on");
      same(stateOf(() -> run(a, "INSERT INTO j_tx VALUES (3)")), "25006");
      a.rollback();
      a.setReadOnly(false);
      a.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
      same(one(b, "SHOW transaction_read_only"), "off");
    }
  }

  static void autosave() throws Exception {
    try (Connection a = connect("tx", "&autosave=always")) {
      a.setAutoCommit(false);
      for (int i = 0; i < 5; i++) {
        same(stateOf(() -> one(a, "SELECT 1 / ?::int", 0)), "22012");
        same(one(a, "SELECT ?::int", i), String.valueOf(i));
      }
      a.commit();
    }
  }

  static void batches() throws Exception {
    for (String rewrite : new String[] {"", "&reWriteBatchedInserts=true"}) {
      try (Connection a = connect("one", rewrite); Connection b = connect("one")) {
        run(a, "DROP TABLE IF EXISTS j_batch", "CREATE TABLE j_batch (id int PRIMARY KEY, t text)");
        for (boolean auto : new boolean[] {true, false}) {
          run(a, "TRUNCATE j_batch");
          a.setAutoCommit(auto);
          try (PreparedStatement insert = a.prepareStatement("INSERT INTO j_batch VALUES (?, ?)")) {
            for (int i = 0; i < 3000; i++) {
              insert.setInt(1, i);
              insert.setString(2, "row " + i);
              insert.addBatch();
            }
            same(insert.executeBatch().length, 3000);
            if (!auto) a.commit();
            same(one(b, "SELECT count(*) FROM j_batch"), "3000");
            for (int i = 0; i < 10; i++) { // the sixth is there already
              insert.setInt(1, i == 5 ? 7 : 10000 + i);
              insert.setString(2, "x");
              insert.addBatch();
            }
            same(stateOf(insert::executeBatch), "23505");
            if (!auto) a.rollback();
          }
          a.setAutoCommit(true);
        }
        // a batch of unlike statements
        try (Statement statement = a.createStatement()) {
          statement.addBatch("UPDATE j_batch SET t = 'y' WHERE id < 10");
          statement.addBatch("DELETE FROM j_batch WHERE id >= 10");
          int[] counts = statement.executeBatch();
          same(counts[0], 10);
        }
      }
    }
  }

  static void fetchSize() throws Exception {
    try (Connection a = connect("tx"); Connection b = connect("tx")) {
      a.setAutoCommit(false); // only then the driver uses portals
      try (PreparedStatement statement = a.prepareStatement("SELECT generate_series(1, ?)")) {
        for (int round = 0; round < 2; round++) {
          statement.setInt(1, 1050);
          statement.setFetchSize(100);
          int seen = 0;
          try (ResultSet rows = statement.executeQuery()) {
            while (rows.next()) {
              seen++;
              same(rows.getInt(1), seen);
              if (seen % 100 == 0) same(one(b, "SELECT 1"), "1");
            }
          }
          same(seen, 1050);
          a.commit();
        }
      }
    }
  }

  static void manyStatements() throws Exception {
    // more than the driver's cache holds (Close) and than the server's (max_prepared_statements is small)
    try (Connection a = connect("one", "&preparedStatementCacheQueries=20"); Connection b = connect("one")) {
      for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 100; i++) {
          same(one(a, "SELECT ?::int + " + i, 1000), String.valueOf(1000 + i));
          if (i % 10 == 0) same(one(b, "SELECT ?::int + " + i, 2000), String.valueOf(2000 + i));
        }
      }
    }
  }

  static void copy() throws Exception {
    try (Connection a = connect("tx")) {
      run(a, "DROP TABLE IF EXISTS j_copy", "CREATE TABLE j_copy (id int PRIMARY KEY, t text)");
      StringBuilder text = new StringBuilder();
      for (int i = 0; i < 20000; i++) text.append(i).append("\trow ").append(i).append('\n');
      CopyManager manager = a.unwrap(PGConnection.class).getCopyAPI();
      same(manager.copyIn("COPY j_copy FROM STDIN", new StringReader(text.toString())), 20000L);
      StringWriter out = new StringWriter();
      manager.copyOut("COPY (SELECT * FROM j_copy ORDER BY id) TO STDOUT", out);
      same(out.toString().contentEquals(text), true);
      same(stateOf(() -> manager.copyIn("COPY j_copy FROM STDIN", new StringReader(text.toString()))), "23505");
      var stopped = manager.copyIn("COPY j_copy FROM STDIN");
      stopped.writeToCopy("99999\tx\n".getBytes(), 0, 8);
      stopped.cancelCopy();
      same(one(a, "SELECT count(*) FROM j_copy"), "20000");
    }
  }

  static void cancel() throws Exception {
    try (Connection a = connect("tx"); Connection b = connect("tx"); Connection watcher = connect("sess")) {
      String[] seen = {"nothing"};
      Thread other = new Thread(() -> {
        try {
          seen[0] = one(b, "SELECT 'bystander' FROM pg_sleep(2)");
        } catch (SQLException error) {
          seen[0] = error.toString();
        }
      });
      try (Statement victim = a.createStatement()) {
        Thread canceller = new Thread(() -> {
          try {
            waitFor(watcher, "j victim");
            other.start();
            waitFor(watcher, "bystander");
            victim.cancel();
          } catch (SQLException error) {
            seen[0] = error.toString();
          }
        });
        canceller.start();
        same(stateOf(() -> victim.execute("SELECT 'j victim' FROM pg_sleep(60)")), "57014");
        canceller.join();
        other.join();
        same(seen[0], "bystander");
        victim.setQueryTimeout(1); // a cancel by the driver's own timer
        same(stateOf(() -> victim.execute("SELECT pg_sleep(60)")), "57014");
      }
      same(one(a, "SELECT 1"), "1");
    }
  }

  static void waitFor(Connection watcher, String text) throws SQLException {
    String sql = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE ? AND pid <> pg_backend_pid()";
    while (one(watcher, sql, "%" + text + "%").equals("0")) Thread.onSpinWait();
  }

  static void listen() throws Exception {
    try (Connection a = connect("sess"); Connection b = connect("sess")) {
      run(a, "LISTEN j");
      run(b, "NOTIFY j, 'hello'");
      var told = a.unwrap(PGConnection.class).getNotifications(10_000);
      same(told.length, 1);
      same(told[0].getParameter(), "hello");
    }
  }

  static void metadata() throws Exception {
    try (Connection a = connect("tx")) {
      run(a, "DROP TABLE IF EXISTS j_meta", "CREATE TABLE j_meta (id serial PRIMARY KEY, t text NOT NULL)");
      try (ResultSet columns = a.getMetaData().getColumns(null, "public", "j_meta", null)) {
        StringBuilder names = new StringBuilder();
        while (columns.next()) names.append(columns.getString("COLUMN_NAME")).append(' ').append(columns.getString("TYPE_NAME")).append(';');
        same(names.toString(), "id serial;t text;");
      }
      try (PreparedStatement insert = a.prepareStatement("INSERT INTO j_meta (t) VALUES (?)", Statement.RETURN_GENERATED_KEYS)) {
        insert.setString(1, "x");
        insert.executeUpdate();
        try (ResultSet keys = insert.getGeneratedKeys()) {
          keys.next();
          same(keys.getInt("id"), 1);
        }
      }
      same(a.isValid(10), true);
    }
  }

  static void console() throws Exception {
    try (Connection conn = connect("pgbouncer"); Statement statement = conn.createStatement()) {
      boolean found = false;
      try (ResultSet rows = statement.executeQuery("SHOW POOLS")) {
        while (rows.next()) {
          rows.getInt("cl_active");
          found |= rows.getString("database").equals("tx") && rows.getString("pool_mode").equals("transaction");
        }
      }
      same(found, true);
      statement.execute("PAUSE tx");
      statement.execute("RESUME tx");
      same(stateOf(() -> statement.execute("PAUSE nowhere")), "08P01");
      conn.setAutoCommit(false);
      same(one(conn, "SHOW VERSION").startsWith("PgBouncer "), true);
      conn.commit();
    }
  }

  static void check(String name, Check check) throws Exception {
    check.run();
    System.out.println("ok " + name);
  }

  public static void main(String[] args) throws Exception {
    mode = args[0];
    host = args[1];
    port = args[2];
    check("interleaved", WithJdbc::interleaved);
    check("twoServers", WithJdbc::twoServers);
    check("types", WithJdbc::types);
    check("transactions", WithJdbc::transactions);
    check("autosave", WithJdbc::autosave);
    check("batches", WithJdbc::batches);
    check("fetchSize", WithJdbc::fetchSize);
    check("manyStatements", WithJdbc::manyStatements);
    check("copy", WithJdbc::copy);
    check("cancel", WithJdbc::cancel);
    check("listen", WithJdbc::listen);
    check("metadata", WithJdbc::metadata);
    check("console", WithJdbc::console);
  }
}
