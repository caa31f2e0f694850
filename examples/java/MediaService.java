import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Executors;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * The media API of deepdanbooru-engine on the JDK alone, to read and to copy from: what an existing service adds to take
 * tags in bulk is {@link #bulk} and {@link TagStore}, some forty lines; to let tags go too, {@link #replace}.
 *
 * <p>Run it with {@code MEDIA_TOKEN=secret java MediaService.java FOLDER PORT TAGS.tsv}: it lists the pictures of a
 * folder (ids by the order of their names) and keeps their tags in a file.
 */
public final class MediaService {
    static final int MAX_RECORDS = 500;
    static final int MAX_BODY = 1 << 20;
    static final Pattern PICTURE = Pattern.compile("(?i).*\\.(jpe?g|png|webp|gif|bmp|avif)");
    static final Pattern SIMILARITY = Pattern.compile("[01]\\.[0-9]{3}");

    private final TreeMap<Long, String> catalogue = new TreeMap<>();
    private final byte[] authorization;
    private final TagStore store;

    MediaService(Path folder, String token, TagStore store) throws IOException {
        this.authorization = ("Bearer " + token).getBytes(StandardCharsets.UTF_8);
        this.store = store;
        try (Stream<Path> files = Files.walk(folder)) {
            for (Path file : files.filter(Files::isRegularFile).sorted().toList()) {
                if (PICTURE.matcher(file.getFileName().toString()).matches()) {
                    catalogue.put(catalogue.size() + 1L, folder.relativize(file).toString().replace('\\', '/'));
                }
            }
        }
    }

    /** One tag of one medium; a bad one throws, and its message becomes the reason. */
    record TagRecord(long mediaId, String tagKey, String similarity) {
        static TagRecord of(Object json) {
            if (!(json instanceof Map<?, ?> map) || map.size() != 3) {
                throw new IllegalArgumentException("a record is {mediaId, tagKey, similarity}");
            }
            if (!(map.get("tagKey") instanceof String tag) || tag.isEmpty() || !printable(tag)) {
                throw new IllegalArgumentException("tagKey is a printable text");
            }
            if (!(map.get("similarity") instanceof String score) || !SIMILARITY.matcher(score).matches()) {
                throw new IllegalArgumentException("similarity is a text such as \"0.987\"");
            }
            return new TagRecord(id(map.get("mediaId")), tag, score);
        }

        static boolean printable(String text) { // half a surrogate pair is legal JSON and cannot be stored
            return text.chars().noneMatch(Character::isISOControl) && StandardCharsets.UTF_8.newEncoder().canEncode(text);
        }
    }

    /** All tags that one model gives one medium now. */
    record Replacement(long mediaId, String model, List<TagRecord> tags) {
        static Replacement of(Object json) {
            if (!(json instanceof Map<?, ?> map) || map.size() != 3 || !(map.get("tags") instanceof List<?> list)) {
                throw new IllegalArgumentException("a replacement is {mediaId, model, tags}");
            }
            if (!(map.get("model") instanceof String model) || model.isEmpty() || !TagRecord.printable(model)) {
                throw new IllegalArgumentException("model is a printable text");
            }
            List<TagRecord> tags = new ArrayList<>();
            for (Object tag : list) {
                Map<Object, Object> record = new LinkedHashMap<>(tag instanceof Map<?, ?> cells ? cells : Map.of());
                record.put("mediaId", map.get("mediaId"));
                tags.add(TagRecord.of(record));
            }
            return new Replacement(id(map.get("mediaId")), model, tags);
        }
    }

    /** A tag as it is stored; `model` is empty for one that came by a call that names none. */
    record Kept(String similarity, String model) {}

    /** The tags by (mediaId, tagKey): storing a record again changes nothing. In SQL, see the README. */
    static final class TagStore {
        private final Map<Long, Map<String, Kept>> tags = new LinkedHashMap<>();
        private final Path file;

        TagStore(Path file) throws IOException {
            this.file = file;
            if (Files.exists(file)) {
                for (String line : Files.readAllLines(file)) {
                    String[] cells = line.split("\t");
                    if (cells.length == 2) { // taken away
                        tagsOf(Long.parseLong(cells[0])).remove(cells[1]);
                    } else {
                        keep(new TagRecord(Long.parseLong(cells[0]), cells[1], cells[2]), cells.length > 3 ? cells[3] : "");
                    }
                }
            }
        }

        /** All or none, as in a transaction; returns once it is written. */
        synchronized void upsert(List<TagRecord> records) throws IOException {
            StringBuilder lines = new StringBuilder();
            for (TagRecord record : records) {
                Kept old = tagsOf(record.mediaId()).get(record.tagKey());
                if (old == null || !old.similarity().equals(record.similarity())) {
                    lines.append(record.mediaId() + "\t" + record.tagKey() + "\t" + record.similarity() + "\n");
                }
            }
            Files.writeString(file, lines, StandardOpenOption.CREATE, StandardOpenOption.APPEND);
            records.forEach(record -> keep(record, ""));
        }

        /** What each model gave before goes, what it gives now comes: all or none, as in a transaction. */
        synchronized void replace(List<Replacement> replacements) throws IOException {
            StringBuilder lines = new StringBuilder();
            for (Replacement replacement : replacements) {
                String id = replacement.mediaId() + "\t";
                tagsOf(replacement.mediaId()).forEach((tag, kept) -> {
                    if (kept.model().isEmpty() || kept.model().equals(replacement.model())) {
                        lines.append(id + tag + "\t\n");
                    }
                });
                replacement.tags().forEach(record -> lines.append(
                        id + record.tagKey() + "\t" + record.similarity() + "\t" + replacement.model() + "\n"));
            }
            Files.writeString(file, lines, StandardOpenOption.CREATE, StandardOpenOption.APPEND);
            for (Replacement replacement : replacements) {
                tagsOf(replacement.mediaId()).values().removeIf(
                        kept -> kept.model().isEmpty() || kept.model().equals(replacement.model()));
                replacement.tags().forEach(record -> keep(record, replacement.model()));
            }
        }

        private Map<String, Kept> tagsOf(long mediaId) {
            return tags.computeIfAbsent(mediaId, id -> new LinkedHashMap<>());
        }

        private void keep(TagRecord record, String model) {
            tagsOf(record.mediaId()).put(record.tagKey(), new Kept(record.similarity(), model));
        }
    }

    /** An answer: a status and a JSON body. */
    record Answer(int status, Object body) {
        static Answer ok() {
            return new Answer(200, Map.of("code", 200));
        }
    }

    /** Call 1: media with id >= segmentStart, ascending, at most limit; an empty list is the end. */
    Answer segment(Object request) {
        if (!(request instanceof Map<?, ?> map) || !"ALL_DL".equals(map.get("storageStatus"))) {
            throw new IllegalArgumentException("expected {segmentStart, limit, storageStatus: \"ALL_DL\"}");
        }
        List<Object> data = new ArrayList<>();
        catalogue.tailMap(id(map.get("segmentStart"))).entrySet().stream().limit(id(map.get("limit"))).forEach(entry ->
                data.add(Map.of("id", entry.getKey(), "storageUrl", entry.getValue())));
        return new Answer(200, Map.of("code", 200, "data", data));
    }

    /** Call 2: one record. */
    Answer single(Object request) throws IOException {
        TagRecord record = TagRecord.of(request);
        if (!catalogue.containsKey(record.mediaId())) {
            throw new IllegalArgumentException("no medium " + record.mediaId());
        }
        store.upsert(List.of(record));
        return Answer.ok();
    }

    /**
     * Call 3: a list of the same records. What can be stored is; what cannot comes back under "rejected" with a reason.
     *
     * <p>Never answer 4xx because of one record: the engine would have to send the request in halves to find it.
     */
    Answer bulk(Object request) throws IOException {
        if (!(request instanceof List<?> list)) {
            throw new IllegalArgumentException("expected a list of records");
        }
        if (list.size() > MAX_RECORDS) {
            return new Answer(413, Map.of("code", 413)); // the engine halves its requests from here on
        }
        List<TagRecord> good = new ArrayList<>();
        List<Object> rejected = new ArrayList<>();
        for (Object item : list) {
            try {
                TagRecord record = TagRecord.of(item);
                if (!catalogue.containsKey(record.mediaId())) {
                    throw new IllegalArgumentException("no medium " + record.mediaId());
                }
                good.add(record);
            } catch (IllegalArgumentException e) {
                if (!(item instanceof Map<?, ?> map) || map.get("mediaId") == null) {
                    throw e; // not even an id to reject it by
                }
                Map<String, Object> rejection = new LinkedHashMap<>();
                rejection.put("mediaId", map.get("mediaId"));
                rejection.put("tagKey", map.get("tagKey"));
                rejection.put("reason", e.getMessage());
                rejected.add(rejection);
            }
        }
        store.upsert(good); // one transaction; answer only after its commit
        return rejected.isEmpty() ? Answer.ok() : new Answer(207, Map.of("rejected", rejected));
    }

    /** Call 4: for each medium all tags that a model gives it now. One that cannot be stored is rejected as a whole. */
    Answer replace(Object request) throws IOException {
        if (!(request instanceof List<?> list)) {
            throw new IllegalArgumentException("expected a list of replacements");
        }
        List<Replacement> good = new ArrayList<>();
        List<Object> rejected = new ArrayList<>();
        int records = 0;
        for (Object item : list) {
            if (!(item instanceof Map<?, ?> map) || map.get("mediaId") == null) {
                throw new IllegalArgumentException("expected a list of replacements");
            }
            try {
                Replacement replacement = Replacement.of(item);
                if (!catalogue.containsKey(replacement.mediaId())) {
                    throw new IllegalArgumentException("no medium " + replacement.mediaId());
                }
                good.add(replacement);
                records += 1 + replacement.tags().size();
            } catch (IllegalArgumentException e) {
                rejected.add(Map.of("mediaId", map.get("mediaId"), "reason", String.valueOf(e.getMessage())));
            }
        }
        if (records > MAX_RECORDS && list.size() > 1) {
            return new Answer(413, Map.of("code", 413)); // a single medium is taken with any number of tags
        }
        store.replace(good);
        return rejected.isEmpty() ? Answer.ok() : new Answer(207, Map.of("rejected", rejected));
    }

    /** An id comes as a number or as a decimal text, just as it was listed. */
    static long id(Object json) {
        if (json instanceof Long number && number >= 0) {
            return number;
        }
        if (json instanceof String text && text.matches("[0-9]{1,18}")) {
            return Long.parseLong(text);
        }
        throw new IllegalArgumentException("an id is a whole number");
    }

    /** A call of the API. */
    interface Call {
        Answer answer(Object request) throws IOException;
    }

    private void handle(HttpExchange exchange, Call call) throws IOException {
        Answer answer;
        try (InputStream in = exchange.getRequestBody()) {
            byte[] body = in.readNBytes(MAX_BODY + 1);
            in.transferTo(OutputStream.nullOutputStream()); // or the sender sees a reset instead of the answer
            answer = decide(exchange, body, call);
        } catch (IllegalArgumentException e) {
            answer = new Answer(400, Map.of("code", 400, "message", String.valueOf(e.getMessage())));
        } catch (Exception e) {
            e.printStackTrace();
            answer = new Answer(503, Map.of("code", 503)); // the engine tries again
        }
        byte[] bytes = Json.write(answer.body()).getBytes(StandardCharsets.UTF_8);
        exchange.getResponseHeaders().set("Content-Type", "application/json; charset=UTF-8");
        exchange.sendResponseHeaders(answer.status(), bytes.length);
        exchange.getResponseBody().write(bytes);
        exchange.close();
    }

    private Answer decide(HttpExchange exchange, byte[] body, Call call) throws IOException {
        String given = String.valueOf(exchange.getRequestHeaders().getFirst("Authorization"));
        if (!MessageDigest.isEqual(authorization, given.getBytes(StandardCharsets.UTF_8))) { // in constant time
            return new Answer(401, Map.of("code", 401));
        }
        if (!exchange.getRequestMethod().equals("POST")) {
            return new Answer(405, Map.of("code", 405));
        }
        return body.length > MAX_BODY
                ? new Answer(413, Map.of("code", 413))
                : call.answer(Json.read(new String(body, StandardCharsets.UTF_8)));
    }

    public static void main(String[] args) throws IOException {
        String token = System.getenv("MEDIA_TOKEN");
        if (args.length != 3 || token == null || token.isEmpty()) {
            System.err.println("usage: MEDIA_TOKEN=secret java MediaService.java FOLDER PORT TAGS.tsv");
            System.exit(2);
        }
        // With Nagle's algorithm each answer on a kept connection waits 40 ms for the client's acknowledgement.
        System.setProperty("sun.net.httpserver.nodelay", "true");
        MediaService service = new MediaService(Path.of(args[0]), token, new TagStore(Path.of(args[2])));
        HttpServer server = HttpServer.create(
                new InetSocketAddress(InetAddress.getLoopbackAddress(), Integer.parseInt(args[1])), 64);
        Map<String, Call> calls = Map.of(
                "/api/segment", service::segment,
                "/api/recognition", service::single,
                "/api/recognition/bulk", service::bulk,
                "/api/recognition/replace", service::replace);
        server.createContext("/", exchange -> service.handle(exchange, request -> new Answer(404, Map.of("code", 404))));
        calls.forEach((path, call) -> server.createContext(path, exchange -> service.handle(exchange,
                exchange.getRequestURI().getPath().equals(path) ? call : request -> new Answer(404, Map.of("code", 404)))));
        server.setExecutor(Executors.newFixedThreadPool(8));
        server.start();
        System.out.println("http://127.0.0.1:" + server.getAddress().getPort());
    }

    /** Just enough JSON; your service has Jackson for it. Whole numbers become Long. */
    static final class Json {
        private final String text;
        private int at;

        private Json(String text) {
            this.text = text;
        }

        static Object read(String text) {
            Json json = new Json(text);
            Object value = json.value(0);
            json.space();
            if (json.at != text.length()) {
                throw json.wrong();
            }
            return value;
        }

        private Object value(int depth) {
            space();
            if (depth > 8 || at >= text.length()) {
                throw wrong();
            }
            switch (text.charAt(at)) {
                case '{':
                    Map<String, Object> map = new LinkedHashMap<>();
                    items('}', () -> {
                        space();
                        String key = string();
                        space();
                        expect(':');
                        if (map.put(key, value(depth + 1)) != null) {
                            throw wrong();
                        }
                    });
                    return map;
                case '[':
                    List<Object> list = new ArrayList<>();
                    items(']', () -> list.add(value(depth + 1)));
                    return list;
                case '"':
                    return string();
                default:
                    return literal();
            }
        }

        private void items(char end, Runnable item) {
            at++;
            space();
            if (at < text.length() && text.charAt(at) == end) {
                at++;
                return;
            }
            while (true) {
                item.run();
                space();
                if (at < text.length() && text.charAt(at) == end) {
                    at++;
                    return;
                }
                expect(',');
            }
        }

        private String string() {
            expect('"');
            StringBuilder out = new StringBuilder();
            while (at < text.length() && text.charAt(at) != '"') {
                char c = text.charAt(at++);
                if (c < ' ') {
                    throw wrong();
                }
                out.append(c == '\\' ? escaped() : c);
            }
            expect('"');
            return out.toString();
        }

        private char escaped() {
            char c = at < text.length() ? text.charAt(at++) : ' ';
            if (c == 'u' && at + 4 <= text.length() && text.substring(at, at + 4).matches("[0-9a-fA-F]{4}")) {
                at += 4;
                return (char) Integer.parseInt(text.substring(at - 4, at), 16);
            }
            int known = "\"\\/bfnrt".indexOf(c);
            if (known < 0) {
                throw wrong();
            }
            return "\"\\/\b\f\n\r\t".charAt(known);
        }

        private Object literal() {
            int start = at;
            while (at < text.length() && ",]} \t\r\n".indexOf(text.charAt(at)) < 0) {
                at++;
            }
            String word = text.substring(start, at);
            if (word.matches("-?(0|[1-9][0-9]{0,17})")) {
                return Long.parseLong(word);
            }
            return switch (word) {
                case "true" -> Boolean.TRUE;
                case "false" -> Boolean.FALSE;
                case "null" -> null;
                default -> throw wrong(); // this API knows no fractions
            };
        }

        private void space() {
            while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) {
                at++;
            }
        }

        private void expect(char c) {
            if (at >= text.length() || text.charAt(at++) != c) {
                throw wrong();
            }
        }

        private IllegalArgumentException wrong() {
            return new IllegalArgumentException("not the JSON of this API, at character " + at);
        }

        static String write(Object value) {
            if (value instanceof Map<?, ?> map) {
                return joined(map.entrySet().stream().map(e -> quoted((String) e.getKey()) + ":" + write(e.getValue())), "{", "}");
            }
            if (value instanceof List<?> list) {
                return joined(list.stream().map(Json::write), "[", "]");
            }
            return value instanceof String text ? quoted(text) : String.valueOf(value);
        }

        private static String joined(Stream<String> parts, String open, String close) {
            return parts.collect(Collectors.joining(",", open, close));
        }

        private static String quoted(String text) {
            StringBuilder out = new StringBuilder("\"");
            text.chars().forEach(c -> out.append(c < ' ' || c == '"' || c == '\\' ? String.format("\\u%04x", c) : (char) c));
            return out.append('"').toString();
        }
    }
}
