import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;

/**
 * A mirror of the tag dictionary on the JDK alone, to read and to copy from: it asks a service of deepdanbooru-engine
 * what changed since it last looked, keeps the names in a file of its own, and finds what a name means.
 *
 * <p>Run it with {@code ENGINE_API_TOKEN=... java TagDictionary.java http://127.0.0.1:8000 MIRROR.tsv NAME...}: it brings the
 * mirror up to date and prints for each name the keys of its concepts.
 */
public final class TagDictionary {
    /** The first line of the file: the revision that the mirror stands at. */
    private static final String REVISION = "revision";

    private final Path file;
    private final TreeMap<String, List<String>> names = new TreeMap<>(); // of each concept, by its key
    private long revision;

    TagDictionary(Path file) throws IOException {
        this.file = file;
        if (Files.exists(file)) {
            for (String line : Files.readAllLines(file, StandardCharsets.UTF_8)) {
                String[] parts = line.split("\t");
                if (parts[0].equals(REVISION)) {
                    revision = Long.parseLong(parts[1]);
                } else {
                    names.put(parts[0], List.of(parts));
                }
            }
        }
    }

    /** Takes over what changed since the last time, and says how many concepts that were. */
    int update(HttpClient client, String service, String token) throws IOException, InterruptedException {
        Map<?, ?> answer = ask(client, service + "/tags/changes?since=" + revision, token);
        Map<?, ?> changed = (Map<?, ?>) answer.get("concepts");
        for (Map.Entry<?, ?> entry : changed.entrySet()) {
            String key = (String) entry.getKey();
            if (entry.getValue() == null) {
                names.remove(key); // it was merged into another, or undone
                continue;
            }
            Map<?, ?> concept = (Map<?, ?>) entry.getValue();
            TreeSet<String> all = new TreeSet<>();
            for (Object other : (List<?>) concept.get("keys")) {
                all.add((String) other);
            }
            for (Object name : (List<?>) concept.get("names")) {
                all.add((String) ((Map<?, ?>) name).get("text"));
            }
            all.remove(key);
            List<String> line = new ArrayList<>(List.of(key));
            line.addAll(all);
            names.put(key, line);
        }
        revision = ((Number) answer.get("revision")).longValue();
        save();
        return changed.size();
    }

    /** The keys of all concepts that have this name. An index in your database does the same: fold, then look up. */
    List<String> resolve(String name) {
        List<String> found = new ArrayList<>();
        names.forEach((key, all) -> {
            if (all.stream().anyMatch(one -> folded(one).equals(folded(name)))) {
                found.add(key);
            }
        });
        return found;
    }

    /** Case, blanks and underscores make no difference. The service itself folds more: traditional characters, kana. */
    private static String folded(String text) {
        return text.toLowerCase(Locale.ROOT).replaceAll("[ _-]", "");
    }

    /** Whole or not at all: a mirror that was cut in the middle would miss what the next update does not send again. */
    private void save() throws IOException {
        StringBuilder out = new StringBuilder(REVISION + "\t" + revision + "\n");
        names.values().forEach(line -> out.append(String.join("\t", line)).append('\n'));
        Path part = file.resolveSibling(file.getFileName() + ".part");
        Files.writeString(part, out, StandardCharsets.UTF_8);
        Files.move(part, file, StandardCopyOption.REPLACE_EXISTING);
    }

    private static Map<?, ?> ask(HttpClient client, String url, String token) throws IOException, InterruptedException {
        HttpRequest request = HttpRequest.newBuilder(URI.create(url)).header("Authorization", "Bearer " + token).build();
        HttpResponse<String> response = client.send(request, HttpResponse.BodyHandlers.ofString(StandardCharsets.UTF_8));
        if (response.statusCode() != 200) {
            throw new IOException(url + " answered " + response.statusCode() + ": " + response.body());
        }
        return (Map<?, ?>) new Json(response.body()).value();
    }

    public static void main(String[] arguments) throws Exception {
        TagDictionary mirror = new TagDictionary(Path.of(arguments[1]));
        int changed = mirror.update(HttpClient.newHttpClient(), arguments[0], System.getenv("ENGINE_API_TOKEN"));
        System.out.println(changed + " concepts changed, " + mirror.names.size() + " in the mirror");
        for (int i = 2; i < arguments.length; i++) {
            System.out.println(arguments[i] + "\t" + String.join(" ", mirror.resolve(arguments[i])));
        }
    }

    /** Reads what the service writes; in a service of your own, its JSON library does. */
    private static final class Json {
        private final String text;
        private int at;

        Json(String text) {
            this.text = text;
        }

        Object value() {
            space();
            char c = text.charAt(at);
            if (c == '{') {
                Map<String, Object> map = new LinkedHashMap<>();
                for (at++; next('}'); ) {
                    String key = string();
                    space();
                    at++; // the colon
                    map.put(key, value());
                }
                return map;
            }
            if (c == '[') {
                List<Object> list = new ArrayList<>();
                for (at++; next(']'); ) {
                    list.add(value());
                }
                return list;
            }
            if (c == '"') {
                return string();
            }
            int from = at;
            while (at < text.length() && ",]} \n\r\t".indexOf(text.charAt(at)) < 0) {
                at++;
            }
            String word = text.substring(from, at);
            return switch (word) {
                case "null" -> null;
                case "true", "false" -> Boolean.valueOf(word);
                default -> Double.valueOf(word);
            };
        }

        private boolean next(char end) {
            space();
            if (text.charAt(at) == ',') {
                at++;
                space();
            }
            if (text.charAt(at) == end) {
                at++;
                return false;
            }
            return true;
        }

        private String string() {
            StringBuilder out = new StringBuilder();
            for (at++; text.charAt(at) != '"'; at++) {
                char c = text.charAt(at);
                if (c == '\\') {
                    c = text.charAt(++at);
                    if (c == 'u') {
                        c = (char) Integer.parseInt(text.substring(at + 1, at + 5), 16);
                        at += 4;
                    } else {
                        int escape = "bfnrt".indexOf(c);
                        c = escape < 0 ? c : "\b\f\n\r\t".charAt(escape);
                    }
                }
                out.append(c);
            }
            at++;
            return out.toString();
        }

        private void space() {
            while (at < text.length() && Character.isWhitespace(text.charAt(at))) {
                at++;
            }
        }
    }
}
