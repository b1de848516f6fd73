package berth;

import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Timestamp;
import java.sql.Types;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.StringJoiner;

/**
 * What applications do with a JDBC driver of Hive or Kyuubi. Says what comes of each as `name: what`. A second argument
 * is a statement that does not end: then that is all that is done.
 */
public class HiveClient {
    static final String SLOW = "select count(*) from range(0, 1000000000000, 1, 1) where hash(id) = 7";

    /** One thing that applications do. */
    interface Doing {
        Object with(Connection connection) throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments.length > 1) {
            // It is not closed: whom it was opened at may be gone.
            say("ended", DriverManager.getConnection(arguments[0]), c -> only(c, arguments[1]));
            System.exit(0);
        }
        try (Connection connection = DriverManager.getConnection(arguments[0])) {
            say("types", connection, HiveClient::types);
            say("nulls", connection, HiveClient::nulls);
            say("labels", connection, HiveClient::labels);
            say("prepared", connection, HiveClient::prepared);
            say("large", connection, HiveClient::large);
            say("max rows", connection, HiveClient::maxRows);
            say("counts", connection, HiveClient::counts);
            say("error", connection, c -> only(c, "select * from nowhere"));
            say("cancel", connection, HiveClient::cancel);
            say("timeout", connection, HiveClient::timeout);
            say("logs", connection, HiveClient::logs);
            say("places", connection, HiveClient::places);
            say("catalogs", connection, HiveClient::catalogs);
            say("information", connection, HiveClient::information);
            say("threads", connection, HiveClient::threads);
            say("valid", connection, c -> c.isValid(30) + " " + c.isClosed());
        }
    }

    static void say(String name, Connection connection, Doing doing) {
        try {
            System.out.println(name + ": " + doing.with(connection));
        } catch (SQLException error) {
            String text = String.valueOf(error.getMessage()).split("\n")[0];
            System.out.println(name + ": " + error.getClass().getSimpleName() + " " + error.getSQLState() + " " + text);
        } catch (Throwable error) {
            System.out.println(name + ": " + error);
            error.printStackTrace();
        }
    }

    static String only(Connection connection, String query) throws SQLException {
        try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery(query)) {
            return rows.next() ? rows.getString(rows.getMetaData().getColumnCount()) : "nothing";
        }
    }

    static String types(Connection connection) throws SQLException {
        String query = "select true, cast(-128 as tinyint), cast(32767 as smallint), -2147483648, 9223372036854775807,"
            + " cast(1.2 as float), double('-Infinity'), cast(1.50 as decimal(38,18)), '\u00fc\ud83d\ude00', cast('c' as char(3)),"
            + " cast(X'00ff' as binary), date'1582-10-04', timestamp'2020-02-29 12:34:56.78', timestamp_ntz'2020-01-01 00:00:00',"
            + " interval '1-2' year to month, interval '1 02:03:04' day to second, array(1, null), map('k', 1), named_struct('a', 'b'), null,"
            + " double('NaN'), cast('Infinity' as float), cast(-0.05 as decimal(5,2)), date'0001-01-01', X'', cast(null as binary),"
            + " array(named_struct('d', date'2000-02-29', 'm', map('k', 1.5d))), cast('-1' as tinyint), ''";
        StringJoiner found = new StringJoiner(" | ");
        try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery(query)) {
            ResultSetMetaData about = rows.getMetaData();
            rows.next();
            for (int at = 1; at <= about.getColumnCount(); at++) {
                String size = about.getColumnType(at) == Types.DECIMAL ? about.getPrecision(at) + "," + about.getScale(at) : "";
                Object value = rows.getObject(at) instanceof byte[] ? hex((byte[]) rows.getObject(at)) : rows.getObject(at);
                found.add(about.getColumnTypeName(at) + size + " " + about.getColumnType(at) + " " + value);
            }
        }
        return found.toString();
    }

    static String hex(byte[] bytes) {
        StringBuilder text = new StringBuilder();
        for (byte each : bytes) {
            text.append(String.format("%02x", each));
        }
        return text.toString();
    }

    static String nulls(Connection connection) throws SQLException {
        String query = "select if(id = 64, null, id), if(id % 8 = 7, null, 'x'), cast(null as binary) from range(65) order by id";
        int nulls = 0;
        try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery(query)) {
            while (rows.next()) {
                rows.getLong(1);
                nulls += rows.wasNull() ? 1 : 0;
                nulls += rows.getString(2) == null ? 1 : 0;
                nulls += rows.getObject(3) == null ? 1 : 0;
            }
        }
        return String.valueOf(nulls);
    }

    static String labels(Connection connection) throws SQLException {
        try (Statement statement = connection.createStatement();
                ResultSet rows = statement.executeQuery("select 1 as `\u00fc b`, 2 as B, current_timestamp() as t")) {
            rows.next();
            Timestamp now = rows.getTimestamp("t");
            return rows.getInt("\u00fc b") + " " + rows.getInt("b") + " " + rows.findColumn("B") + " " + (now != null);
        }
    }

    static String prepared(Connection connection) throws SQLException {
        StringJoiner found = new StringJoiner(" ");
        try (PreparedStatement statement = connection.prepareStatement("select ? + 1, ?, ?, ?, 'a?b'")) {
            for (int time = 1; time <= 2; time++) {
                statement.setInt(1, time);
                statement.setString(2, "it's; a \"?\"");
                statement.setDate(3, java.sql.Date.valueOf("2020-02-29"));
                statement.setNull(4, Types.VARCHAR);
                try (ResultSet rows = statement.executeQuery()) {
                    rows.next();
                    for (int at = 1; at <= 5; at++) {
                        found.add(rows.getString(at));
                    }
                }
            }
        }
        return found.toString();
    }

    static String large(Connection connection) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.setFetchSize(777);
            return inOrder(statement.executeQuery("select id, repeat('x', 100) from range(0, 100000, 1, 8)"));
        }
    }

    static String inOrder(ResultSet rows) throws SQLException {
        long seen = 0;
        while (rows.next()) {
            if (rows.getLong(1) != seen++) {
                return "row " + rows.getLong(1) + " came as number " + seen;
            }
        }
        return String.valueOf(seen);
    }

    static String maxRows(Connection connection) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.setMaxRows(1500);
            String first = inOrder(statement.executeQuery("select id from range(5000)"));
            // The statement is used again while its last result was not read to the end.
            return first + " " + inOrder(statement.executeQuery("select id from range(10)"));
        }
    }

    static String counts(Connection connection) throws SQLException {
        // A table of its own: Spark's writers of one table of files get in each other's way.
        String table = "counted_" + Long.toHexString(System.nanoTime());
        StringJoiner found = new StringJoiner(" ");
        try (Statement statement = connection.createStatement()) {
            for (String each : new String[] {"create table " + table + " (n int) using parquet", "insert into " + table + " values (1)",
                    "set x.y=1", "select 1", "drop table " + table}) {
                found.add(statement.execute(each) + "/" + statement.getUpdateCount() + "/" + statement.getMoreResults());
            }
        }
        return found.toString();
    }

    /** Cancels from another thread, once the driver of the session is at it. */
    static String cancel(Connection connection) throws Exception {
        try (Statement statement = connection.createStatement()) {
            Thread other = new Thread(() -> {
                try {
                    Logs.untilItRuns(statement);
                    statement.cancel();
                } catch (Exception error) {
                    error.printStackTrace();
                }
            });
            other.start();
            String ended = "it ended";
            try {
                statement.executeQuery(SLOW);
            } catch (SQLException error) {
                ended = error.getSQLState();
            }
            other.join();
            return ended + " " + only(connection, "select 2");
        }
    }

    static String timeout(Connection connection) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.setQueryTimeout(1);
            statement.executeQuery(SLOW);
            return "it ended";
        }
    }

    static String logs(Connection connection) throws Exception {
        try (Statement statement = connection.createStatement()) {
            List<String> lines = new ArrayList<>();
            Thread reader = new Thread(() -> lines.addAll(Logs.untilItEnds(statement)));
            reader.start();
            statement.execute("select sum(hash(id)) from range(0, 50000000, 1, 8)");
            reader.join();
            boolean told = lines.stream().anyMatch(line -> line.contains("RUNNING"))
                && lines.stream().anyMatch(line -> line.contains("FINISHED"));
            return told ? "told" : lines.toString();
        }
    }

    static String places(Connection connection) throws SQLException {
        String before = connection.getCatalog() + "." + connection.getSchema();
        connection.setSchema("crawled");
        String after = connection.getSchema() + "=" + only(connection, "select current_schema()");
        connection.setSchema("default");
        return before + " " + after + " " + connection.getSchema();
    }

    static String catalogs(Connection connection) throws SQLException {
        connection.setCatalog("second");
        String there = connection.getCatalog() + "=" + only(connection, "select current_catalog()");
        connection.setCatalog("spark_catalog");
        return there + " " + only(connection, "select current_catalog()");
    }

    static String information(Connection connection) throws SQLException {
        connection.setClientInfo("ApplicationName", "tests");
        return connection.getClientInfo("ApplicationName") + " " + connection.getAutoCommit() + " " + connection.isReadOnly();
    }

    /** Statements of several threads on one connection, whose log one more reads, and one of which another cancels. */
    static String threads(Connection connection) throws Exception {
        List<Thread> threads = new ArrayList<>();
        List<String> wrong = Collections.synchronizedList(new ArrayList<>());
        threads.add(new Thread(() -> {
            try {
                String canceled = cancel(connection);
                if (!canceled.equals("01000 2")) {
                    wrong.add("the canceled one: " + canceled);
                }
            } catch (Throwable error) {
                wrong.add(error.toString());
            }
        }));
        for (int each = 0; each < 4; each++) {
            int number = each;
            threads.add(new Thread(() -> {
                try {
                    for (int time = 0; time < 5; time++) {
                        String found = only(connection, "select " + number);
                        if (!found.equals(String.valueOf(number))) {
                            wrong.add(number + " became " + found);
                        }
                    }
                } catch (Throwable error) {
                    wrong.add(error.toString());
                }
            }));
        }
        threads.forEach(Thread::start);
        for (Thread thread : threads) {
            thread.join();
        }
        return wrong.toString();
    }

    /** The log of a statement, which JDBC does not have: the drivers' own methods, of the same names in all. */
    static class Logs {
        static boolean hasMore(Statement statement) throws Exception {
            return (Boolean) statement.getClass().getMethod("hasMoreLogs").invoke(statement);
        }

        @SuppressWarnings("unchecked")
        static List<String> next(Statement statement) throws Exception {
            String name = statement.getClass().getName().contains("kyuubi") ? "getExecLog" : "getQueryLog";
            return (List<String>) statement.getClass().getMethod(name).invoke(statement);
        }

        /** Reads until the log tells of tasks. */
        static void untilItRuns(Statement statement) throws Exception {
            while (hasMore(statement)) {
                for (String line : next(statement)) {
                    if (line.contains("tasks")) {
                        return;
                    }
                }
            }
        }

        static List<String> untilItEnds(Statement statement) {
            List<String> lines = new ArrayList<>();
            try {
                while (hasMore(statement)) {
                    lines.addAll(next(statement));
                }
                lines.addAll(next(statement));
            } catch (Exception error) {
                lines.add(error.toString() + " " + error.getCause());
            }
            return lines;
        }
    }
}
