import java.util.Arrays;
import java.util.Map;
import java.util.Set;
import org.apache.spark.sql.catalyst.analysis.NoSuchTableException;
import org.apache.spark.sql.connector.catalog.Column;
import org.apache.spark.sql.connector.catalog.Identifier;
import org.apache.spark.sql.connector.catalog.NamespaceChange;
import org.apache.spark.sql.connector.catalog.SupportsNamespaces;
import org.apache.spark.sql.connector.catalog.Table;
import org.apache.spark.sql.connector.catalog.TableCapability;
import org.apache.spark.sql.connector.catalog.TableCatalog;
import org.apache.spark.sql.connector.catalog.TableChange;
import org.apache.spark.sql.connector.expressions.Transform;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructType;
import org.apache.spark.sql.util.CaseInsensitiveStringMap;

/** A catalog with namespaces within others, and one table in the innermost. */
public class NestedCatalog implements TableCatalog, SupportsNamespaces {
    private static final String[][] SPACES = {{"outer"}, {"other"}, {"outer", "mid-dle"}, {"outer", "mid-dle", "in.ner"}};
    private String name;

    public void initialize(String name, CaseInsensitiveStringMap options) {
        this.name = name;
    }

    public String name() {
        return name;
    }

    public String[][] listNamespaces() {
        return listNamespaces(new String[0]);
    }

    public String[][] listNamespaces(String[] within) {
        return Arrays.stream(SPACES)
            .filter(space -> space.length == within.length + 1)
            .filter(space -> Arrays.equals(Arrays.copyOf(space, within.length), within))
            .toArray(String[][]::new);
    }

    public Map<String, String> loadNamespaceMetadata(String[] space) {
        return Map.of();
    }

    public boolean namespaceExists(String[] space) {
        return Arrays.stream(SPACES).anyMatch(known -> Arrays.equals(known, space));
    }

    public Identifier[] listTables(String[] space) {
        boolean has = Arrays.equals(space, SPACES[3]);
        return has ? new Identifier[] {Identifier.of(space, "t")} : new Identifier[0];
    }

    public Table loadTable(Identifier id) throws NoSuchTableException {
        if (!id.name().equals("t") || !Arrays.equals(id.namespace(), SPACES[3])) {
            throw new NoSuchTableException(id);
        }
        return new Table() {
            public String name() {
                return "t";
            }

            public StructType schema() {
                return new StructType().add("one", DataTypes.IntegerType);
            }

            public Column[] columns() {
                return new Column[] {Column.create("one", DataTypes.IntegerType)};
            }

            public Set<TableCapability> capabilities() {
                return Set.of();
            }
        };
    }

    public Table createTable(Identifier id, StructType schema, Transform[] parts, Map<String, String> properties) {
        throw new UnsupportedOperationException();
    }

    public Table alterTable(Identifier id, TableChange... changes) {
        throw new UnsupportedOperationException();
    }

    public boolean dropTable(Identifier id) {
        return false;
    }

    public void renameTable(Identifier from, Identifier to) {
        throw new UnsupportedOperationException();
    }

    public void createNamespace(String[] space, Map<String, String> properties) {
        throw new UnsupportedOperationException();
    }

    public void alterNamespace(String[] space, NamespaceChange... changes) {
        throw new UnsupportedOperationException();
    }

    public boolean dropNamespace(String[] space, boolean cascade) {
        return false;
    }
}
