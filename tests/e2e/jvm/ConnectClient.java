import java.util.Iterator;
import java.util.Scanner;
import org.apache.spark.sql.AnalysisException;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.SparkSession;

/** Spark's own JVM client. What it says and when it waits: tests/foreign.py. */
public class ConnectClient {
    private static final Scanner IN = new Scanner(System.in);

    public static void main(String[] arguments) {
        SparkSession spark = org.apache.spark.sql.connect.SparkSession.builder().remote(arguments[0]).getOrCreate();
        spark.conf().set("spark.sql.shuffle.partitions", "7");
        spark.range(100).createOrReplaceTempView("v");
        pause("built");
        Row sum = spark.sql("select sum(id) from v").collectAsList().get(0);
        System.out.println("state " + sum.getLong(0) + " " + spark.conf().get("spark.sql.shuffle.partitions"));
        System.out.println("error " + errorOf(spark));
        pause("rows " + stream(spark.sql(arguments[1]).toLocalIterator()));
        spark.stop();
    }

    private static String errorOf(SparkSession spark) {
        try {
            spark.sql("select * from nothing").collectAsList();
            return "none";
        } catch (Exception error) {
            return error instanceof AnalysisException found ? found.getCondition() : error.toString();
        }
    }

    private static long stream(Iterator<Row> rows) {
        long seen = 0;
        while (rows.hasNext()) {
            long id = rows.next().getLong(0);
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
