import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;

/** Opens as many sessions as it is told, one after another, and prints what a query answers in each. */
public class Connects {
    public static void main(String[] arguments) throws SQLException {
        for (int left = Integer.parseInt(arguments[1]); left > 0; left--) {
            try (Connection connection = DriverManager.getConnection(arguments[0], "ann", "x");
                    Statement statement = connection.createStatement();
                    ResultSet rows = statement.executeQuery("select 40 + 2")) {
                rows.next();
                System.out.println(rows.getInt(1));
            }
        }
    }
}
