// A language model for tests: repeats the question as its answer, in parts, and logs the messages of each request.
// "use TOOL with WORD" makes it call that tool with `{"word": WORD}`, if it was offered any, and repeat the result; "again and
// again" makes it call it every time. "wait for FILE" in the question delays the rest of the answer until FILE exists; "fail" makes it fail there.

const fs = require("node:fs");
const vscode = require("vscode");

const INFORMATION = {
  id: "echo",
  name: "Echo",
  family: "echo",
  version: "1",
  maxInputTokens: 10_000,
  maxOutputTokens: 1_000,
  isDefault: true,
  isUserSelectable: true,
  capabilities: { toolCalling: true },
};

exports.activate = async ({ subscriptions }) => {
  const provider = {
    provideLanguageModelChatInformation: () => [INFORMATION],
    provideTokenCount: async (_, text) => String(text).length / 4,
    provideLanguageModelChatResponse: respond,
  };
  subscriptions.push(vscode.lm.registerLanguageModelChatProvider("tests", provider));
  // The chat view lists models only after they have been requested once.
  await vscode.lm.selectChatModels();
};

let calls = 0;

async function respond(_model, messages, { tools = [] }, progress) {
  const request = messages.map(({ role, content }) => ({
    role: role === vscode.LanguageModelChatMessageRole.User ? "user" : "assistant",
    content: content.map(describePart).join(""),
  }));
  const logged = { messages: request, tools: tools.map(({ name }) => name) };
  fs.appendFileSync(process.env.SEGUE_TESTS_MODEL_LOG, `${JSON.stringify(logged)}\n`);
  const report = (part) => progress.report(new vscode.LanguageModelTextPart(part));
  const result = messages.at(-1).content.find((part) => part instanceof vscode.LanguageModelToolResultPart);
  const asked = request.findLast(({ role, content }) => role === "user" && !content.startsWith("<result"));
  const question = asked.content;
  const [, tool, word] = /use (\S+) with (\w+)/.exec(question) ?? [];
  if (tool !== undefined && tools.length > 0 && (result === undefined || question.includes("again and again"))) {
    report(`I use ${tool}. `);
    calls += 1;
    progress.report(new vscode.LanguageModelToolCallPart(`call-${calls}`, tool, { word }));
    return;
  }
  if (result !== undefined) {
    report(`The tool said: ${result.content.map(({ value }) => value).join("")}`);
    return;
  }
  const [first, ...others] = buildAnswer(question).split(/(?<= )/);
  report(first);
  const file = /wait for (\S+)/.exec(question)?.[1];
  while (file !== undefined && !fs.existsSync(file)) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  if (question.includes("fail")) {
    throw new Error("the model failed");
  }
  for (const word of others) {
    report(word);
  }
}

function describePart(part) {
  if (part instanceof vscode.LanguageModelToolCallPart) {
    return `<call ${part.name} ${JSON.stringify(part.input)}>`;
  }
  return part instanceof vscode.LanguageModelToolResultPart ? `<result ${part.content.map(describePart).join("")}>` : part.value;
}

function buildAnswer(question) {
  const answers = JSON.parse(process.env.SEGUE_TESTS_ANSWERS ?? "{}");
  return answers[question] ?? `You asked: ${question}`;
}
