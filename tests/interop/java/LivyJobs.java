package berth;

import java.io.File;
import java.net.URI;
import java.nio.file.Files;
import java.util.Arrays;
import java.util.concurrent.ExecutionException;

import org.apache.livy.Job;
import org.apache.livy.JobContext;
import org.apache.livy.JobHandle;
import org.apache.livy.LivyClient;
import org.apache.livy.LivyClientBuilder;
import org.apache.spark.SparkFiles;

/** Jobs of Livy's own client. Says what comes of each. */
public class LivyJobs {
    static class Sum implements Job<Long> {
        public Long call(JobContext jc) throws Exception {
            return jc.sc().parallelize(Arrays.asList(1L, 2L, 3L, 4L), 2).reduce(Long::sum);
        }
    }

    static class Keep implements Job<Void> {
        final long value;

        Keep(long value) {
            this.value = value;
        }

        public Void call(JobContext jc) {
            jc.setSharedObject("kept", value);
            return null;
        }
    }

    static class Kept implements Job<Long> {
        public Long call(JobContext jc) {
            return jc.<Long>getSharedObject("kept") + 1;
        }
    }

    static class Fail implements Job<Integer> {
        public Integer call(JobContext jc) {
            return 1 / (jc.getSharedObject("nothing") == null ? 0 : 1);
        }
    }

    static class Sleep implements Job<Void> {
        public Void call(JobContext jc) throws Exception {
            jc.sc().parallelize(Arrays.asList(1), 1).foreach(n -> Thread.sleep(600_000));
            return null;
        }
    }

    static class Held implements Job<Long> {
        final String gate;

        Held(String gate) {
            this.gate = gate;
        }

        public Long call(JobContext jc) throws Exception {
            while (!new File(gate).exists()) {
                Thread.sleep(50);
            }
            return 42L;
        }
    }

    static class ReadFile implements Job<String> {
        final String name;

        ReadFile(String name) {
            this.name = name;
        }

        public String call(JobContext jc) throws Exception {
            return new String(Files.readAllBytes(new File(SparkFiles.get(name)).toPath()));
        }
    }

    public static void main(String[] arguments) throws Exception {
        LivyClient client = new LivyClientBuilder(false).setURI(new URI(arguments[1])).build();
        if (arguments[0].equals("create")) {
            create(client, Arrays.copyOfRange(arguments, 2, arguments.length));
        } else if (arguments[0].equals("lose")) {
            lose(client);
        } else if (arguments[0].equals("held")) {
            held(client, arguments[2]);
        } else {
            connect(client, new File(arguments[2]));
        }
    }

    /** While a job runs the driver is killed, by whoever reads what this says. */
    static void lose(LivyClient client) throws Exception {
        JobHandle<Void> sleep = client.submit(new Sleep());
        while (sleep.getState() != JobHandle.State.STARTED) {
            Thread.sleep(50);
        }
        System.out.println("running");
        try {
            sleep.get();
        } catch (ExecutionException failed) {
            System.out.println("lost " + failed.getMessage().contains("may or may not have taken effect"));
        }
        System.out.println("sum " + client.submit(new Sum()).get());
        client.stop(true);
    }

    /** While the client asks for a job, whoever reads what this says kills a broker, and opens the gate. */
    static void held(LivyClient client, String gate) throws Exception {
        JobHandle<Long> held = client.submit(new Held(gate));
        while (held.getState() != JobHandle.State.STARTED) {
            Thread.sleep(50);
        }
        System.out.println("running");
        System.out.println("held " + held.get());
        System.out.println("sum " + client.submit(new Sum()).get());
        client.stop(true);
    }

    static void create(LivyClient client, String[] jars) throws Exception {
        // While the session starts, as the client does by itself.
        for (String jar : jars) {
            client.uploadJar(new File(jar)).get();
        }
        System.out.println("sum " + client.submit(new Sum()).get());
        System.out.println("keep " + client.run(new Keep(41)).get());
        try {
            client.submit(new Fail()).get();
        } catch (ExecutionException failed) {
            System.out.println("failed " + failed.getMessage().contains("ArithmeticException"));
        }
        client.stop(false);
    }

    static void connect(LivyClient client, File file) throws Exception {
        System.out.println("kept " + client.submit(new Kept()).get());
        client.uploadFile(file).get();
        System.out.println("file " + client.submit(new ReadFile(file.getName())).get());
        JobHandle<Void> sleep = client.submit(new Sleep());
        while (sleep.getState() != JobHandle.State.STARTED) {
            Thread.sleep(50);
        }
        System.out.println("cancelled " + sleep.cancel(true));
        System.out.println("sum " + client.submit(new Sum()).get());
        client.stop(true);
    }
}
