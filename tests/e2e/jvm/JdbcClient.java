import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Scanner;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** JDBC drivers. What they say and when they wait: tests/foreign.py. A third argument is a database to go to. */
public class JdbcClient {
    private static final Scanner IN = new Scanner(System.in);

    public static void main(String[] arguments) throws SQLException {
        try (Connection connection = DriverManager.getConnection("jdbc:" + arguments[0]);
                Statement statement = connection.createStatement()) {
            statement.execute("set spark.sql.shuffle.partitions = 7");
            statement.execute("create temporary view v as select id from range(100)");
            if (arguments.length > 2) {
                statement.execute("use " + arguments[2]);
            }
            pause("built");
            if (arguments.length > 2 && !arguments[2].equals(only(statement, "select current_schema()", 1))) {
                throw new IllegalStateException("the session is not in " + arguments[2]);
            }
            String sum = only(statement, "select sum(id) from v", 1);
            System.out.println("state " + sum + " " + only(statement, "set spark.sql.shuffle.partitions", 2));
            System.out.println("error " + errorOf(statement));
            pause("rows " + stream(statement.executeQuery(arguments[1])));
        }
    }

    private static String only(Statement statement, String query, int column) throws SQLException {
        try (ResultSet rows = statement.executeQuery(query)) {
            rows.next();
            return rows.getString(column);
        }
    }

    private static String errorOf(Statement statement) {
        try {
            return only(statement, "select * from nothing", 1);
        } catch (SQLException error) {
            Matcher name = Pattern.compile("\\[([A-Z_]+)\\]").matcher(error.getMessage());
            return name.find() ? name.group(1) : error.toString();
        }
    }

    private static long stream(ResultSet rows) throws SQLException {
        long seen = 0;
        while (rows.next()) {
            long id = rows.getLong(1);
            if (id != seen) {
                throw new IllegalStateException("row " + id + " came instead of " + seen);
            }
            if (seen++ == 0) {
                pause("streaming");
            }
        }
        return seen;
    }

    private static void pause(String said) {
        System.out.println(said);
        IN.nextLine();
    }
}
