// Conversations for the tests, as `Sandbox.record` takes them.

export const PARSER = "Why does the parser drop the last token?";

const hours = Math.min(14, 15 - new Date().getUTCHours());
/** A time zone in which it is afternoon: what was said some hours ago was said today. */
export const AFTERNOON = `Etc/GMT${hours > 0 ? "-" : "+"}${Math.abs(hours)}`;

/** What a person asks. */
export const userMessage = (content) => ({ type: "user_message", data: { content } });

/** What a model says. */
export const answer = (content) => ({ type: "text", data: { content } });

/** A conversation of one turn. *options*: its age in `minutes`, its `directory`, its `title`. */
export const conversation = (question, options = {}) => ({
  events: [userMessage(question), answer(`About this: ${question}`)],
  ...options,
});

const call = (id, name, input) => ({ type: "tool_call", data: { id, name, input } });
const result = (id, content, isError = false) => ({ type: "tool_result", data: { tool_use_id: id, content, is_error: isError } });

/** A conversation with everything that a transcript shows. */
export const RICH = [
  userMessage(PARSER),
  { type: "thinking", data: { content: "The slice may be wrong. Let me *look* at `parser.py` first." } },
  { type: "plan", data: { entries: [{ content: "Read the parser", status: "completed" }, { content: "Write a test", status: "in_progress" }] } },
  call("1", "grep_search", { query: "tokens", includePattern: "src/**/*.py" }),
  call("2", "run_in_terminal", { command: "pytest -q tests/test_parser.py" }),
  result("2", "1 failed, 12 passed\nE   assert [NAME] == []", true),
  result("1", "parser.py:2:    return list(tokens[:-1])"),
  { type: "text", data: { model: "acme/large", content: `It is the **slice** in [parser.py](parser.py): \`tokens[:-1]\` leaves out the end marker, but the lexer yields none.

> The end marker was removed when the lexer became a generator.

\`\`\`python
@dataclass
class Parser: limit: int = 12

def parse(tokens):
    """Return the tokens as a list."""
    if tokens is None:  # nothing to parse
        raise ValueError(f"no tokens: {tokens!r}")
    return list(tokens)  # a line that is so long that it does not fit on the page and must be scrolled to its end
\`\`\`

| state | next | tokens |
| --- | :-: | --: |
| start | name | 12 |
| name | end | 1,204 |

1. Change the slice.
2. Add a test:
   - one token
   - none` } },
  userMessage("And which test shows it?\n\n```\nassert parse(iter([NAME])) == [NAME]\n```"),
  { type: "system_context", data: { content: "[a new invocation of the editor begins here]" } },
  answer("That one. ".repeat(30)),
  { type: "turn_end", data: { stop_reason: "max_turn_requests" } },
];
