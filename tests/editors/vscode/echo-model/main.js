// A language model for tests: repeats the question as its answer, in parts, and logs the messages of each request.
// "wait for FILE" in the question delays the rest of the answer until FILE exists; "fail" makes it fail there.

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

async function respond(_model, messages, _options, progress) {
  const request = messages.map(({ role, content }) => ({
    role: role === vscode.LanguageModelChatMessageRole.User ? "user" : "assistant",
    content: content.map(({ value }) => value).join(""),
  }));
  fs.appendFileSync(process.env.SEGUE_TESTS_MODEL_LOG, `${JSON.stringify(request)}\n`);
  const question = request.at(-1).content;
  const report = (part) => progress.report(new vscode.LanguageModelTextPart(part));
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

function buildAnswer(question) {
  const answers = JSON.parse(process.env.SEGUE_TESTS_ANSWERS ?? "{}");
  return answers[question] ?? `You asked: ${question}`;
}
