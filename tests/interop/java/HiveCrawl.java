package berth;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.Arrays;
import java.util.Comparator;
import java.util.StringJoiner;

/**
 * What a database tool asks when it connects and when its tree is opened, in the order of DBeaver. Says what it finds as
 * `question: answer`; rows are in braces.
 */
public class HiveCrawl {
    /** A question about the catalog. */
    interface Question {
        Object ask() throws SQLException;
    }

    /** A question that is answered with rows. */
    interface Listing {
        ResultSet ask() throws SQLException;
    }

    public static void main(String[] arguments) throws Exception {
        String schema = arguments[1];
        try (Connection connection = DriverManager.getConnection(arguments[0])) {
            DatabaseMetaData about = connection.getMetaData();
            connect(connection, about);
            getters(about);
            rows("catalogs", about::getCatalogs);
            rows("table types", about::getTableTypes);
            rows("type info", about::getTypeInfo, "TYPE_NAME", "DATA_TYPE");
            rows("schemas", () -> about.getSchemas(null, schema));
            for (String catalog : new String[] {"spark_catalog", "second"}) {
                tree(about, catalog, catalog.equals("second") ? "INNER" : schema);
            }
            statements(connection, schema);
        }
    }

    static void connect(Connection connection, DatabaseMetaData about) {
        say("product", () -> about.getDatabaseProductName() + " " + about.getDatabaseProductVersion());
        say("url", () -> about.getURL() != null);
        say("user", about::getUserName);
        say("read only", connection::isReadOnly);
        say("auto commit", connection::getAutoCommit);
        say("isolation", connection::getTransactionIsolation);
        say("isolations", () -> about.supportsTransactionIsolationLevel(Connection.TRANSACTION_READ_COMMITTED));
        say("scrolling", () -> about.supportsResultSetType(ResultSet.TYPE_SCROLL_INSENSITIVE));
        say("holdability", connection::getHoldability);
        say("types", connection::getTypeMap);
        say("warnings", connection::getWarnings);
        say("native", () -> connection.nativeSQL("select 1"));
    }

    /** Each question without arguments. What a driver does not have it says so itself, without a call. */
    static void getters(DatabaseMetaData about) throws IllegalAccessException {
        StringJoiner failed = new StringJoiner(" ");
        Method[] methods = DatabaseMetaData.class.getMethods();
        Arrays.sort(methods, Comparator.comparing(Method::getName));
        for (Method method : methods) {
            try {
                if (method.getParameterCount() == 0 && !AutoCloseable.class.isAssignableFrom(method.getReturnType())) {
                    method.invoke(about);
                }
            } catch (InvocationTargetException error) {
                String text = String.valueOf(error.getCause().getMessage());
                if (!text.contains("not supported") && !text.contains("not implemented")) {
                    failed.add(method.getName() + "=" + error.getCause());
                }
            }
        }
        System.out.println("getters: " + failed);
    }

    static void tree(DatabaseMetaData about, String catalog, String schema) {
        rows(catalog + " schemas", () -> about.getSchemas(catalog, schema));
        rows(catalog + " tables", () -> about.getTables(catalog, schema, "%", null), "TABLE_CAT", "TABLE_SCHEM", "TABLE_NAME", "TABLE_TYPE");
        rows(catalog + " views", () -> about.getTables(catalog, schema, "%", new String[] {"VIEW"}), "TABLE_NAME");
        rows(catalog + " columns", () -> about.getColumns(catalog, schema, "t", "%"),
            "TABLE_CAT", "TABLE_NAME", "COLUMN_NAME", "DATA_TYPE", "TYPE_NAME", "NULLABLE", "ORDINAL_POSITION");
        rows(catalog + " all columns", () -> about.getColumns(catalog, schema, "%", null), "COLUMN_NAME");
        rows(catalog + " functions", () -> about.getFunctions(catalog, schema, "ab_"), "FUNCTION_NAME");
        rows(catalog + " primary keys", () -> about.getPrimaryKeys(catalog, schema, "t"));
        rows(catalog + " indexes", () -> about.getIndexInfo(catalog, schema, "t", false, true));
        rows(catalog + " imported keys", () -> about.getImportedKeys(catalog, schema, "t"));
        rows(catalog + " exported keys", () -> about.getExportedKeys(catalog, schema, "t"));
        rows(catalog + " cross reference", () -> about.getCrossReference(catalog, schema, "t", catalog, schema, "u"));
        rows(catalog + " procedures", () -> about.getProcedures(catalog, schema, "%"));
        rows(catalog + " user types", () -> about.getUDTs(catalog, schema, "%", null));
    }

    static void statements(Connection connection, String schema) {
        for (String each : new String[] {"show databases", "show tables in " + schema, "show views in " + schema,
                "describe formatted " + schema + ".t", "show create table " + schema + ".t", "show functions like 'abs'",
                "show partitions " + schema + ".u", "show table extended in " + schema + " like 't'",
                "describe database extended " + schema, "explain select * from " + schema + ".t"}) {
            say(each.replace(schema, "X"), () -> {
                try (Statement statement = connection.createStatement()) {
                    statement.setMaxRows(200);
                    statement.setFetchSize(200);
                    statement.setQueryTimeout(60);
                    if (!statement.execute(each)) {
                        return "no result";
                    }
                    try (ResultSet rows = statement.getResultSet()) {
                        return describe(rows.getMetaData()) + " " + (rows.next() ? "rows" : "none");
                    }
                }
            });
        }
    }

    /** What a grid asks about each column before it shows a row. */
    static String describe(ResultSetMetaData about) throws SQLException {
        StringJoiner names = new StringJoiner(",");
        for (int at = 1; at <= about.getColumnCount(); at++) {
            about.getColumnDisplaySize(at);
            about.getColumnClassName(at);
            about.getPrecision(at);
            about.getScale(at);
            about.isNullable(at);
            about.isAutoIncrement(at);
            names.add(about.getColumnLabel(at));
        }
        return names.toString();
    }

    static void rows(String name, Listing listing, String... columns) {
        say(name, () -> {
            StringJoiner found = new StringJoiner(" ");
            try (ResultSet rows = listing.ask()) {
                while (rows.next()) {
                    StringJoiner row = new StringJoiner(",", "{", "}");
                    int count = columns.length == 0 ? rows.getMetaData().getColumnCount() : columns.length;
                    for (int at = 1; at <= count; at++) {
                        row.add(columns.length == 0 ? rows.getString(at) : rows.getString(columns[at - 1]));
                    }
                    found.add(row.toString());
                }
            }
            return found;
        });
    }

    static void say(String name, Question question) {
        try {
            System.out.println(name + ": " + question.ask());
        } catch (SQLException error) {
            String text = String.valueOf(error.getMessage()).split("\n")[0];
            System.out.println(name + ": " + error.getClass().getSimpleName() + " " + error.getSQLState() + " " + text);
        }
    }
}
