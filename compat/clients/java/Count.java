import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KGroupedStream;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * Counts clicks per user with Kafka Streams, exactly once (exactly_once_v2),
 * state in RocksDB. Arguments are NAME=VALUE:
 *
 * <pre>
 * brokers input output id dir   where it reads, writes, and who it is
 * keyed    true: the record's key is the user; false: it is in the JSON value,
 *          and the counts go through a repartition topic (default)
 * threads  stream threads (2)
 * commit   commit interval in ms (100)
 * cache    record cache in bytes (268435456)
 * instance name of a static member of the group: one that comes back soon has its
 *          tasks at once (none)
 * events   after so many counted events one line is printed and the program
 *          ends; 0: it runs until it is killed (0)
 * </pre>
 *
 * It prints {"state": "RUNNING"} and the like, and with events
 * {"events": N, "seconds": S, "cpu_seconds": C}: the seconds from the first
 * event that was read to the last that was counted, and the process's CPU time
 * from its start.
 */
public final class Count {
    private static final AtomicLong first = new AtomicLong();
    private static final AtomicLong counted = new AtomicLong();
    private static final CountDownLatch enough = new CountDownLatch(1);

    public static void main(String[] args) throws Exception {
        Map<String, String> options = new HashMap<>();
        for (String arg : args) {
            int at = arg.indexOf('=');
            options.put(arg.substring(0, at), arg.substring(at + 1));
        }
        long events = Long.parseLong(options.getOrDefault("events", "0"));
        KafkaStreams streams = new KafkaStreams(topology(options, events).build(), config(options));
        streams.setStateListener((now, before) -> say("{\"state\": \"" + now + "\"}"));
        // A broker that is killed under a commit is no reason to end: the thread
        // starts again from the last committed transaction.
        streams.setUncaughtExceptionHandler(error -> {
            System.err.println("replacing a thread: " + error);
            return StreamThreadExceptionResponse.REPLACE_THREAD;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(20))));
        streams.start();
        enough.await();
        double seconds = (System.nanoTime() - first.get()) / 1e9;
        var system = (com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        say("{\"events\": " + events + ", \"seconds\": " + seconds
            + ", \"cpu_seconds\": " + system.getProcessCpuTime() / 1e9 + "}");
        streams.close(Duration.ofSeconds(20));
        System.exit(0);
    }

    private static Properties config(Map<String, String> options) {
        Properties p = new Properties();
        p.put(StreamsConfig.APPLICATION_ID_CONFIG, options.get("id"));
        p.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, options.get("brokers"));
        p.put(StreamsConfig.STATE_DIR_CONFIG, options.get("dir"));
        p.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        p.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, options.getOrDefault("threads", "2"));
        p.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, options.getOrDefault("commit", "100"));
        p.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, options.getOrDefault("cache", "268435456"));
        p.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        p.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        p.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), "10000");
        // A killed instance is missed soon, and an open transaction of it ends soon.
        p.put(StreamsConfig.consumerPrefix(ConsumerConfig.SESSION_TIMEOUT_MS_CONFIG), "6000");
        p.put(StreamsConfig.consumerPrefix(ConsumerConfig.HEARTBEAT_INTERVAL_MS_CONFIG), "1000");
        if (options.containsKey("instance")) {
            p.put(StreamsConfig.consumerPrefix(ConsumerConfig.GROUP_INSTANCE_ID_CONFIG), options.get("instance"));
        }
        p.put(StreamsConfig.producerPrefix(ProducerConfig.TRANSACTION_TIMEOUT_CONFIG), "10000");
        return p;
    }

    private static StreamsBuilder topology(Map<String, String> options, long events) {
        Serde<byte[]> bytes = Serdes.ByteArray();
        Serde<String> text = Serdes.String();
        StreamsBuilder builder = new StreamsBuilder();
        KStream<String, byte[]> clicks = builder.stream(options.get("input"), Consumed.with(text, bytes))
            .peek((key, value) -> {
                if (first.get() == 0) {
                    first.compareAndSet(0, System.nanoTime());
                }
            });
        KGroupedStream<String, byte[]> byUser;
        if (options.getOrDefault("keyed", "false").equals("true")) {
            byUser = clicks.groupByKey(Grouped.with(text, bytes));
        } else {
            byUser = clicks.groupBy((key, value) -> user(value), Grouped.with("by-user", text, bytes));
        }
        byUser.aggregate(() -> 0L, (user, value, count) -> {
                if (counted.incrementAndGet() == events) {
                    enough.countDown();
                }
                return count + 1;
            }, Materialized.<String, Long, KeyValueStore<Bytes, byte[]>>as("counts")
                .withKeySerde(text).withValueSerde(Serdes.Long()))
            .toStream().mapValues(count -> Long.toString(count))
            .to(options.get("output"), Produced.with(text, text));
        return builder;
    }

    private static final byte[] FIELD = "\"user_id\":\"".getBytes(StandardCharsets.UTF_8);

    /** The user of a click, without a JSON parser: the cheapest that a job could do. */
    private static String user(byte[] click) {
        for (int i = 0; i + FIELD.length < click.length; i++) {
            if (matches(click, i)) {
                int from = i + FIELD.length;
                int to = from;
                while (to < click.length && click[to] != '"') {
                    to++;
                }
                return new String(click, from, to - from, StandardCharsets.UTF_8);
            }
        }
        return "";
    }

    private static boolean matches(byte[] click, int at) {
        for (int i = 0; i < FIELD.length; i++) {
            if (click[at + i] != FIELD[i]) {
                return false;
            }
        }
        return true;
    }

    private static synchronized void say(String line) {
        System.out.println(line);
        System.out.flush();
    }
}
