// PgJDBC on a routed database. Arguments: mode (a preferQueryMode), host, port, port of the primary. Prints `ok NAME`
// for every check. prepareThreshold=1: named statements from the first run on, BEGIN and COMMIT among them.
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.HashSet;
import java.util.Objects;
import java.util.Set;

class RoutedJdbc {
  interface Check {
    void run() throws Exception;
  }

  static final String WHERE = "SELECT inet_server_port()";
  static String mode;
  static String host;
  static String port;
  static String primary;

  static Connection connect(String database, String more) throws SQLException {
    return DriverManager.getConnection(
        "jdbc:postgresql://" + host + ":" + port + "/" + database
            + "?user=postgres&prepareThreshold=1&preferQueryMode=" + mode + more);
  }

  static void same(Object actual, Object expected) {
    if (!Objects.equals(actual, expected)) throw new AssertionError("is " + actual + ", should be " + expected);
  }

  static void check(boolean right, Object what) {
    if (!right) throw new AssertionError(what);
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

  static void run(Connection conn, String sql, Object... values) throws SQLException {
    try (PreparedStatement statement = conn.prepareStatement(sql)) {
      for (int i = 0; i < values.length; i++) statement.setObject(i + 1, values[i]);
      statement.execute();
    }
  }

  static void untilReplica(Connection conn) throws Exception {
    for (int i = 0; i < 500; i++) {
      if (!one(conn, WHERE).equals(primary)) return;
      Thread.sleep(20);
    }
    throw new AssertionError("never on a replica");
  }

  static void both(Set<String> ports) {
    check(ports.size() == 2 && !ports.contains(primary), ports);
  }

  static void reads() throws Exception {
    try (Connection conn = connect("app", "")) {
      untilReplica(conn);
      Set<String> ports = new HashSet<>();
      for (int i = 0; i < 20; i++) ports.add(one(conn, WHERE));
      both(ports);
      ports.clear();
      try (PreparedStatement statement = conn.prepareStatement(WHERE + " WHERE ?::int > 0")) {
        for (int i = 1; i <= 20; i++) {
          statement.setInt(1, i);
          try (ResultSet rows = statement.executeQuery()) {
            rows.next();
            ports.add(rows.getString(1));
          }
        }
      }
      both(ports);
    }
  }

  static void ownWrites() throws Exception {
    try (Connection conn = connect("app", "")) {
      String who = "jdbc " + mode;
      for (int i = 0; i < 60; i++) {
        run(conn, "INSERT INTO items VALUES (?, ?)", who, i);
        same(one(conn, "SELECT max(n) FROM items WHERE who = ?", who), "" + i);
      }
    }
  }

  static void transactions() throws Exception {
    try (Connection conn = connect("app", "")) {
      conn.setAutoCommit(false);
      String who = "jdbctx " + mode;
      for (int i = 0; i < 20; i++) {
        run(conn, "INSERT INTO items VALUES (?, ?)", who, i);
        same(one(conn, WHERE), primary);
        if (i % 2 == 0) conn.commit();
        else conn.rollback();
        same(one(conn, "SELECT max(n) FROM items WHERE who = ?", who), "" + (i - i % 2));
        conn.commit();
      }
      try {
        run(conn, "SELECT 1 / 0");
        throw new AssertionError("no error");
      } catch (SQLException error) {
        same(error.getSQLState(), "22012");
      }
      conn.rollback();
      same(one(conn, "SELECT 1"), "1");
      conn.rollback();
      conn.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
      same(one(conn, WHERE), primary);
      conn.rollback();
    }
  }

  static void readOnly() throws Exception {
    try (Connection conn = connect("app", "")) {
      untilReplica(conn);
      conn.setAutoCommit(false);
      for (int i = 0; i < 6; i++) {
        conn.setReadOnly(true);
        check(!one(conn, WHERE).equals(primary), "a READ ONLY transaction on the primary");
        check(!one(conn, WHERE + " WHERE ? = 1", 1).equals(primary), "its second statement on the primary");
        conn.commit();
        conn.setReadOnly(false);
        same(one(conn, WHERE), primary);
        conn.rollback();
      }
      conn.setReadOnly(true);
      try {
        run(conn, "INSERT INTO items VALUES ('never', 1)");
        throw new AssertionError("no error");
      } catch (SQLException error) {
        // its own block says so: the same as without a proxy
        same(error.getSQLState(), "25006");
      }
      conn.rollback();
    }
  }

  static void batches() throws Exception {
    for (String rewrite : new String[] {"", "&reWriteBatchedInserts=true"}) {
      try (Connection conn = connect("app", rewrite)) {
        String who = "jdbcbatch " + mode + rewrite;
        for (boolean auto : new boolean[] {true, false}) {
          conn.setAutoCommit(auto);
          try (PreparedStatement statement = conn.prepareStatement("INSERT INTO items VALUES (?, ?)")) {
            for (int i = 0; i < 1000; i++) {
              statement.setString(1, who);
              statement.setInt(2, i);
              statement.addBatch();
            }
            same(statement.executeBatch().length, 1000);
          }
          if (!auto) conn.commit();
        }
        same(one(conn, "SELECT count(*) FROM items WHERE who = ?", who), "2000");
        conn.commit();
        try (Statement statement = conn.createStatement()) {
          statement.addBatch("INSERT INTO items VALUES ('mixed', 1)");
          statement.addBatch("DELETE FROM items WHERE who = 'mixed'");
          same(statement.executeBatch()[0], 1);
        }
        conn.commit();
      }
    }
  }

  static void fetchSize() throws Exception {
    try (Connection conn = connect("app", "")) {
      untilReplica(conn);
      conn.setAutoCommit(false);
      conn.setReadOnly(true);
      try (PreparedStatement statement =
          conn.prepareStatement("SELECT i, inet_server_port() FROM generate_series(1, 1000) i")) {
        statement.setFetchSize(50);
        try (ResultSet rows = statement.executeQuery()) {
          for (int i = 1; i <= 1000; i++) {
            check(rows.next(), "a row is missing");
            same(rows.getInt(1), i);
            check(!rows.getString(2).equals(primary), "a cursor on the primary");
          }
          check(!rows.next(), "a row too many");
        }
      }
      conn.commit();
    }
  }

  static void lies() throws Exception {
    try (Connection conn = connect("app", "")) {
      untilReplica(conn);
      int before = Integer.parseInt(one(conn, "SELECT count(*) FROM notes"));
      for (int i = 0; i < 5; i++) check(one(conn, "SELECT noted(?) AS " + mode, i) != null, "nothing");
      same(one(conn, "SELECT count(*) FROM notes"), "" + (before + 5));
    }
  }

  /** It asks at login whether it may write here. */
  static void targetServerType() throws Exception {
    for (int i = 0; i < 6; i++) {
      for (String type : new String[] {"primary", "any", "preferSecondary"}) {
        try (Connection conn = connect("app", "&targetServerType=" + type)) {
          same(one(conn, "SELECT 1"), "1");
        }
      }
      try (Connection conn = connect("app_rw", "&targetServerType=primary")) {
        same(one(conn, WHERE), primary);
      }
    }
  }

  public static void main(String[] args) throws Exception {
    mode = args[0];
    host = args[1];
    port = args[2];
    primary = args[3];
    Object[][] checks = {
      {"reads", (Check) RoutedJdbc::reads},
      {"ownWrites", (Check) RoutedJdbc::ownWrites},
      {"transactions", (Check) RoutedJdbc::transactions},
      {"readOnly", (Check) RoutedJdbc::readOnly},
      {"batches", (Check) RoutedJdbc::batches},
      {"fetchSize", (Check) RoutedJdbc::fetchSize},
      {"lies", (Check) RoutedJdbc::lies},
      {"targetServerType", (Check) RoutedJdbc::targetServerType},
    };
    for (Object[] check : checks) {
      ((Check) check[1]).run();
      System.out.println("ok " + check[0]);
    }
  }
}
