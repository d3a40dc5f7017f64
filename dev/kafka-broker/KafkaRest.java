import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeSet;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Serves the REST v2 API of Strimzi Kafka Bridge with Apache Kafka's Java clients, for tests when Maven does not have
 * Strimzi. Arguments: the port and the broker. It has no authentication, so it listens on 127.0.0.1 only.
 */
public final class KafkaRest {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final String TYPE = "application/vnd.kafka.v2+json";
    private static final String EMBEDDED = "application/vnd.kafka.%s.v2+json";

    private final Map<String, Instance> instances = new ConcurrentHashMap<>();
    private final String broker;
    private final KafkaProducer<byte[], byte[]> producer;
    private final Admin admin;

    private KafkaRest(String broker) {
        this.broker = broker;
        // Uses the defaults of the Java client, as Strimzi does: the partitioner and the timeouts for missing topics.
        producer = new KafkaProducer<>(properties(), new ByteArraySerializer(), new ByteArraySerializer());
        admin = Admin.create(properties());
    }

    public static void main(String[] arguments) throws IOException {
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[0])), 128);
        KafkaRest rest = new KafkaRest(arguments[1]);
        server.createContext("/", rest::handle);
        server.setExecutor(Executors.newCachedThreadPool());
        server.start();
    }

    private record Instance(String format, KafkaConsumer<byte[], byte[]> consumer) {}

    private static final class RestError extends Exception {
        final int status;
        final int code;

        RestError(int status, int code, String message) {
            super(message);
            this.status = status;
            this.code = code;
        }

        RestError(int status, String message) {
            this(status, status, message);
        }
    }

    private Properties properties() {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", broker);
        return properties;
    }

    private void handle(HttpExchange http) throws IOException {
        String type = TYPE;
        int status = 200;
        JsonNode body;
        try {
            byte[] sent = http.getRequestBody().readAllBytes();
            String[] path = http.getRequestURI().getPath().substring(1).split("/");
            String operation = http.getRequestMethod() + " " + path[0] + " " + path.length;
            body = switch (operation) {
                case "GET  1" -> JSON.createObjectNode().put("bridge_version", "none: FusionCommerce's tests");
                case "GET healthy 1" -> null;
                case "GET topics 1" -> topics();
                case "GET topics 2" -> topic(path[1]);
                case "POST topics 2" -> produce(path[1], read(sent), formatOf(http, "Content-Type"));
                case "POST consumers 2" -> create(path[1], read(sent));
                case "DELETE consumers 4" -> delete(instance(path));
                case "POST consumers 5" -> path[4].equals("subscription")
                    ? subscribe(instance(path), read(sent))
                    : path[4].equals("offsets") ? commit(instance(path), sent) : notFound();
                case "GET consumers 5" -> path[4].equals("records") ? poll(instance(path), http) : notFound();
                default -> notFound();
            };
            if (operation.equals("GET consumers 5")) type = EMBEDDED.formatted(instance(path).format());
            if (operation.equals("DELETE consumers 4")) instances.remove(path[1] + " " + path[3]);
            // Strimzi returns 204 for an empty response.
            if (body == null) status = 204;
        } catch (RestError rejection) {
            status = rejection.status;
            body = error(rejection.code, rejection.getMessage());
        } catch (Exception failure) {
            status = 500;
            body = error(500, String.valueOf(failure.getMessage()));
        }
        byte[] bytes = body == null ? new byte[0] : JSON.writeValueAsBytes(body);
        if (body != null) http.getResponseHeaders().set("Content-Type", type);
        http.sendResponseHeaders(status, bytes.length == 0 ? -1 : bytes.length);
        if (bytes.length > 0) http.getResponseBody().write(bytes);
        http.close();
    }

    private static JsonNode notFound() throws RestError {
        throw new RestError(404, "Not Found");
    }

    private static ObjectNode error(int code, String message) {
        return JSON.createObjectNode().put("error_code", code).put("message", message);
    }

    private static JsonNode read(byte[] sent) throws RestError {
        try {
            return JSON.readTree(sent);
        } catch (IOException malformed) {
            throw new RestError(400, "Validation error: the body is not JSON");
        }
    }

    private static String formatOf(HttpExchange http, String header) throws RestError {
        String given = String.valueOf(http.getRequestHeaders().getFirst(header)).split(";")[0].trim();
        for (String format : List.of("binary", "json", "text")) {
            if (given.equals(EMBEDDED.formatted(format))) return format;
        }
        throw new RestError(415, "Unsupported Media Type: " + given);
    }

    private JsonNode topics() throws Exception {
        return JSON.valueToTree(new TreeSet<>(admin.listTopics().names().get()));
    }

    private JsonNode topic(String name) throws Exception {
        try {
            TopicDescription description = admin.describeTopics(List.of(name)).allTopicNames().get().get(name);
            ObjectNode topic = JSON.createObjectNode().put("name", name);
            ArrayNode partitions = topic.putArray("partitions");
            description.partitions().forEach(each -> partitions.addObject().put("partition", each.partition()));
            return topic;
        } catch (ExecutionException failure) {
            if (failure.getCause() instanceof UnknownTopicOrPartitionException unknown) {
                throw new RestError(404, unknown.getMessage());
            }
            throw failure;
        }
    }

    private static byte[] bytes(JsonNode node, String format) throws RestError, IOException {
        if (node == null || node.isNull()) return null;
        if (format.equals("json")) return JSON.writeValueAsBytes(node);
        if (!node.isTextual()) throw new RestError(422, "The " + format + " format takes strings");
        return format.equals("text")
            ? node.textValue().getBytes(StandardCharsets.UTF_8)
            : Base64.getDecoder().decode(node.textValue());
    }

    /** Like Strimzi, returns 200 with an error item for each record that Kafka did not accept. */
    private JsonNode produce(String topic, JsonNode body, String format) throws Exception {
        if (!body.path("records").isArray()) throw new RestError(400, "Validation error: no records");
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (JsonNode each : body.get("records")) {
            List<Header> headers = new ArrayList<>();
            for (JsonNode header : each.path("headers")) {
                byte[] value = Base64.getDecoder().decode(header.path("value").asText());
                headers.add(new RecordHeader(header.path("key").asText(), value));
            }
            Integer partition = each.has("partition") ? each.get("partition").asInt() : null;
            byte[] key = bytes(each.get("key"), format);
            records.add(new ProducerRecord<>(topic, partition, key, bytes(each.get("value"), format), headers));
        }
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        // Blocks for a minute per record if the topic is missing, as Strimzi does.
        for (ProducerRecord<byte[], byte[]> record : records) sent.add(producer.send(record));
        ObjectNode response = JSON.createObjectNode();
        ArrayNode offsets = response.putArray("offsets");
        for (Future<RecordMetadata> each : sent) {
            try {
                RecordMetadata metadata = each.get();
                offsets.addObject().put("partition", metadata.partition()).put("offset", metadata.offset());
            } catch (ExecutionException failure) {
                offsets.add(error(500, failure.getCause().getMessage()));
            }
        }
        return response;
    }

    private JsonNode create(String group, JsonNode body) throws RestError {
        String name = body.path("name").asText("kafka-bridge-consumer-" + UUID.randomUUID());
        String key = group + " " + name;
        if (instances.containsKey(key)) {
            throw new RestError(409, "A consumer instance with the specified name already exists in the Kafka Bridge.");
        }
        Properties properties = properties();
        properties.put("group.id", group);
        properties.put("client.id", name);
        for (String setting : List.of("auto.offset.reset", "enable.auto.commit", "fetch.min.bytes")) {
            if (body.has(setting)) properties.put(setting, body.get(setting).asText());
        }
        KafkaConsumer<byte[], byte[]> consumer =
            new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
        instances.put(key, new Instance(body.path("format").asText("binary"), consumer));
        String uri = "http://127.0.0.1/consumers/" + group + "/instances/" + name;
        return JSON.createObjectNode().put("instance_id", name).put("base_uri", uri);
    }

    private Instance instance(String[] path) throws RestError {
        Instance found = path[2].equals("instances") ? instances.get(path[1] + " " + path[3]) : null;
        if (found == null) throw new RestError(404, "The specified consumer instance was not found.");
        return found;
    }

    private static JsonNode delete(Instance instance) {
        synchronized (instance) {
            instance.consumer().close();
        }
        return null;
    }

    private static JsonNode subscribe(Instance instance, JsonNode body) {
        List<String> topics = new ArrayList<>();
        body.path("topics").forEach(topic -> topics.add(topic.asText()));
        synchronized (instance) {
            instance.consumer().subscribe(topics);
        }
        return null;
    }

    /** Without a body, commits everything that this instance has polled. */
    private static JsonNode commit(Instance instance, byte[] sent) throws RestError {
        synchronized (instance) {
            if (sent.length == 0) {
                instance.consumer().commitSync();
            } else {
                Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
                for (JsonNode each : read(sent).path("offsets")) {
                    TopicPartition partition = new TopicPartition(each.get("topic").asText(), each.get("partition").asInt());
                    offsets.put(partition, new OffsetAndMetadata(each.get("offset").asLong()));
                }
                instance.consumer().commitSync(offsets);
            }
        }
        return null;
    }

    private static JsonNode poll(Instance instance, HttpExchange http) throws RestError {
        String accepted = formatOf(http, "Accept");
        if (!accepted.equals(instance.format())) throw new RestError(406, "Consumer format does not match the Accept header.");
        long timeout = 1_000;
        for (String pair : String.valueOf(http.getRequestURI().getQuery()).split("&")) {
            if (pair.startsWith("timeout=")) timeout = Long.parseLong(pair.substring("timeout=".length()));
        }
        ArrayNode records = JSON.createArrayNode();
        synchronized (instance) {
            for (ConsumerRecord<byte[], byte[]> each : instance.consumer().poll(Duration.ofMillis(timeout))) {
                ObjectNode record = records.addObject();
                record.put("topic", each.topic()).put("partition", each.partition()).put("offset", each.offset());
                record.set("key", text(each.key(), instance.format()));
                record.set("value", text(each.value(), instance.format()));
                ArrayNode headers = record.putArray("headers");
                each.headers().forEach(header -> headers.addObject().put("key", header.key()).put("value", header.value()));
            }
        }
        return records;
    }

    private static JsonNode text(byte[] bytes, String format) throws RestError {
        if (bytes == null) return JSON.nullNode();
        if (format.equals("binary")) return JSON.getNodeFactory().textNode(Base64.getEncoder().encodeToString(bytes));
        if (format.equals("text")) return JSON.getNodeFactory().textNode(new String(bytes, StandardCharsets.UTF_8));
        return read(bytes);
    }
}
