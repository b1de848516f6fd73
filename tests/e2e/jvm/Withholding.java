import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.spark.connect.proto.ExecutePlanResponse;
import org.sparkproject.connect.grpc.ForwardingServerCall.SimpleForwardingServerCall;
import org.sparkproject.connect.grpc.Metadata;
import org.sparkproject.connect.grpc.ServerCall;
import org.sparkproject.connect.grpc.ServerCallHandler;
import org.sparkproject.connect.grpc.ServerInterceptor;

/** While a file `shut` lies beside it, a driver keeps the outcomes of SQL commands to itself, and writes `withheld`. */
public class Withholding implements ServerInterceptor {
    private static final long PATIENCE_MILLIS = 120_000;
    private final Path here;

    public Withholding() throws Exception {
        here = Path.of(Withholding.class.getProtectionDomain().getCodeSource().getLocation().toURI());
    }

    @Override
    public <Asked, Told> ServerCall.Listener<Asked> interceptCall(
            ServerCall<Asked, Told> call, Metadata headers, ServerCallHandler<Asked, Told> next) {
        return next.startCall(
                new SimpleForwardingServerCall<>(call) {
                    @Override
                    public void sendMessage(Told message) {
                        if (message instanceof ExecutePlanResponse response && response.hasSqlCommandResult()) {
                            withhold();
                        }
                        super.sendMessage(message);
                    }
                },
                headers);
    }

    private void withhold() {
        long end = System.currentTimeMillis() + PATIENCE_MILLIS;
        try {
            while (Files.exists(here.resolve("shut")) && System.currentTimeMillis() < end) {
                Files.writeString(here.resolve("withheld"), "");
                Thread.sleep(20);
            }
        } catch (Exception failure) {
            throw new IllegalStateException(failure);
        }
    }
}
