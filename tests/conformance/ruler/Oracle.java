import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import software.amazon.event.ruler.JsonRuleCompiler;
import software.amazon.event.ruler.Machine;

/** Answers each line {"pattern": ..., "event": ...} with true, false or invalid. */
public final class Oracle {
    public static void main(String[] arguments) throws Exception {
        ObjectMapper mapper = new ObjectMapper();
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream out = new PrintStream(System.out, true, "UTF-8");
        for (String line; (line = in.readLine()) != null; ) {
            JsonNode question = mapper.readTree(line);
            out.println(answer(question.get("pattern").asText(), question.get("event").asText()));
        }
    }

    private static String answer(String pattern, String event) {
        if (JsonRuleCompiler.check(pattern) != null) {
            return "invalid";
        }
        try {
            Machine machine = new Machine();
            machine.addRule("rule", pattern);
            return String.valueOf(!machine.rulesForJSONEvent(event).isEmpty());
        } catch (Exception refused) {
            return "invalid";
        }
    }
}
