// Takes a picture of every screen, to be looked at, dark and light, narrow and wide:
// `node tests/editors/vscode/screens.mjs [--high-contrast] [GROUP…]`.

import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { AFTERNOON, conversation, PARSER, RICH } from "./conversations.mjs";
import { followColorScheme, PYTHON, Sandbox, withWorkbench } from "./workbench.mjs";

process.env.SEGUE_SCREENSHOTS ??= join(dirname(fileURLToPath(import.meta.url)), "..", ".vscode", "screens");

const isContrast = process.argv.includes("--high-contrast");
const KINDS = isContrast ? { dark: "hc-black", light: "hc-light" } : { dark: "vs-dark", light: "vs" };
const DAY = 24 * 60;
const LONG = "Compare the recursive descent parser with a table-driven one for the grammar of the query language, in memory and in time";
/** Open a window whose color theme follows the color scheme of the browser. */
const withScreens = (sandbox, options, work) => withWorkbench(sandbox, { ...options, settings: followColorScheme(isContrast), env: { TZ: AFTERNOON } }, work);

/** Save pictures of what the window shows. */
async function shoot(vscode, name) {
  for (const colorScheme of ["dark", "light"]) {
    await vscode.page.emulateMedia({ colorScheme });
    await vscode.page.locator(`.monaco-workbench.${KINDS[colorScheme]}`).waitFor();
    for (const width of [700, 1_600]) {
      await vscode.page.setViewportSize({ width, height: 800 });
      await vscode.page.waitForTimeout(600); // until a scroll bar has faded, and a page has its colors
      await vscode.screenshot(`${name}-${KINDS[colorScheme]}-${width}`);
    }
  }
}

/** A command of a server that starts when the file `go` exists, and fails when that has something in it. */
const serverThatWaitsFor = (go) => ["/bin/sh", "-c", 'while [ ! -e "$0" ]; do sleep 0.1; done; [ -s "$0" ] && exit 3; exec "$@"', go, PYTHON, "-I", "-m", "segue", "lsp"];

/** 300 conversations, of which three are of today. */
async function record300(sandbox) {
  const others = Array.from({ length: 294 }, (_, index) => conversation(`Question ${index} about the lexer, its states and its tokens`, { minutes: (1 + index / 3) * DAY }));
  const newest = [
    { events: RICH, minutes: 125 },
    { ...conversation(LONG, { minutes: 64 }), title: LONG },
    conversation("Draw the states of the lexer", { minutes: 12 }),
  ];
  const ids = await sandbox.record(...others.reverse(), ...newest, conversation("Rename parse to parse_all", { minutes: 30 }));
  await sandbox.importConversation("Was it always so?", "Since the lexer became a generator.");
  return ids;
}

const GROUPS = {
  empty: async (sandbox) => {
    await withScreens(sandbox, { extensions: ["echo-model"] }, async (vscode) => {
      await vscode.showConversations();
      await vscode.page.locator(".sidebar .welcome-view-content").getByText("No conversation").waitFor();
      await shoot(vscode, "empty-list");
      await vscode.searchBox().fill("nothing");
      await vscode.searchStatus("No conversation").waitFor();
      await shoot(vscode, "empty-search");
      await vscode.searchBox().fill("");
      await vscode.runCommand("Segue: Resume Conversation…");
      await shoot(vscode, "empty-resume");
      await vscode.page.keyboard.press("Escape");
      await vscode.runCommand("Segue: New Conversation");
      await vscode.chatInput("@segue").waitFor();
      await shoot(vscode, "empty-new");
    });
  },
  walkthrough: async (sandbox) => {
    await withScreens(sandbox, {}, async (vscode) => {
      const step = (title) => vscode.page.locator(".getting-started-step").filter({ hasText: title });
      await vscode.showConversations();
      await vscode.page.locator(".sidebar .welcome-view-content a").filter({ hasText: "More about Segue" }).click();
      await step("Have a conversation that is kept").waitFor();
      await shoot(vscode, "walkthrough-1");
      for (const [index, title] of ["Import what is there already", "Go on where you stopped", "Find what was said"].entries()) {
        await step(title).click();
        await shoot(vscode, `walkthrough-${index + 2}`);
      }
    });
  },
  many: async (sandbox) => {
    await record300(sandbox);
    await withScreens(sandbox, { extensions: ["echo-model"] }, async (vscode) => {
      await vscode.showConversations();
      await vscode.row("Why does the parser").waitFor();
      await shoot(vscode, "list");
      await vscode.focusRow("Draw the states");
      await vscode.page.keyboard.press("End");
      await vscode.focusedRow("Load more…").waitFor();
      await shoot(vscode, "list-end");
      await vscode.page.keyboard.press("Home");
      await vscode.row("Why does the parser").hover();
      await vscode.page.locator(".workbench-hover, .monaco-hover").filter({ hasText: "last active" }).first().waitFor();
      await vscode.screenshot("list-tooltip");
      await vscode.row("Why does the parser").click({ button: "right" });
      await vscode.page.waitForTimeout(500);
      await vscode.screenshot("list-menu");
      await vscode.page.keyboard.press("Escape");
      await vscode.searchBox().fill("lexer");
      await vscode.searchStatus("hits in").waitFor();
      await shoot(vscode, "search-view");
      await vscode.searchBox().fill("");
      await vscode.runCommand("Segue: Search Conversations…");
      await vscode.typeInPicker("tokens");
      await vscode.picks("«tokens»").first().waitFor();
      await shoot(vscode, "search-picker");
      await vscode.page.locator('.quick-input-titlebar a[aria-label="Search Everywhere"]').click();
      await vscode.picks("«tokens»").first().waitFor();
      await shoot(vscode, "search-everywhere");
      await vscode.page.keyboard.press("Escape");
      await vscode.runCommand("Segue: Resume Conversation…");
      await vscode.picks("Why does the parser").waitFor();
      await shoot(vscode, "resume-picker");
      await vscode.page.keyboard.press("Escape");
      await vscode.clickRowAction("Why does the parser", "Resume Conversation…");
      await vscode.transcript("That one.").waitFor();
      await shoot(vscode, "resumed");
      await vscode.runCommand("Segue: New Conversation");
      await vscode.statusItem().filter({ hasText: "new conversation" }).waitFor();
      await shoot(vscode, "new");
    });
  },
  transcript: async (sandbox) => {
    await sandbox.record({ events: RICH, minutes: 125 });
    await withScreens(sandbox, {}, async (vscode) => {
      await vscode.showConversations();
      await vscode.row("Why does the parser").click();
      await vscode.transcript("That one.").waitFor();
      await shoot(vscode, "transcript-end");
      const page = vscode.transcriptPage();
      await page.locator("html").evaluate((html) => html.scrollTo(0, 0));
      await shoot(vscode, "transcript-top");
      for (const summary of await page.locator("summary").all()) {
        await summary.click();
      }
      await page.locator("summary").first().focus();
      await page.locator("html").evaluate((html) => html.scrollTo(0, 0));
      await vscode.page.keyboard.press("Tab");
      await shoot(vscode, "transcript-open");
      await page.locator("figure").first().scrollIntoViewIfNeeded();
      await page.locator("figure").first().hover();
      await shoot(vscode, "transcript-code");
      await vscode.turnAction("Fork Conversation from Here").first().click();
      await page.getByText("A fork of").waitFor();
      await shoot(vscode, "transcript-fork");
      await page.locator("html").evaluate((html) => html.scrollTo(0, 0));
      await shoot(vscode, "transcript-fork-top");
    });
  },
  chat: async (sandbox) => {
    await withScreens(sandbox, { extensions: ["echo-model", "look-up-tool"] }, async (vscode) => {
      await vscode.askInChat("@segue use look_up with lexer");
      await vscode.chatResponse("The tool said: Entry for lexer").waitFor();
      await shoot(vscode, "chat-tool");
      await vscode.askInChat("@segue use write_entry with scanner");
      await vscode.page.getByText("Write an entry for scanner?").locator("visible=true").first().waitFor();
      await shoot(vscode, "chat-confirmation");
      await vscode.answerConfirmation("Write an entry for scanner?", "Allow");
      await vscode.chatResponse("The tool said: Wrote scanner").waitFor();
      await vscode.askInChat("@segue /history ");
      await vscode.chatResponse("Resume Conversation").waitFor();
      await shoot(vscode, "chat-history");
      const other = await vscode.openWindow();
      await other.showConversations();
      await other.row("use look_up").click();
      await other.transcriptPage().getByText("Open in another window, and shown here as it grows.").waitFor();
      await shoot(other, "following");
      await other.transcriptPage().getByRole("button", { name: "Go On Here" }).click();
      await other.chatInput("@segue").waitFor();
      await shoot(other, "went-on");
    });
  },
  states: async (sandbox) => {
    const go = join(sandbox.root, "go");
    await withScreens(sandbox, { machine: { "segue.server.command": serverThatWaitsFor(go) } }, async (vscode) => {
      await vscode.showConversations();
      await vscode.page.locator(".sidebar .welcome-view-content").getByText("Loading").waitFor();
      await shoot(vscode, "loading");
      writeFileSync(go, "fail");
      await vscode.notification("The Segue server cannot be started").waitFor();
      await shoot(vscode, "failed");
    });
    const path = sandbox.createFolder("bin");
    symlinkSync("/bin/sh", join(path, "sh"));
    await withScreens(sandbox, { path, machine: {} }, async (vscode) => {
      await vscode.showConversations();
      await vscode.notification("Segue needs Python 3.11 or later").waitFor();
      await shoot(vscode, "no-python");
    });
    mkdirSync(dirname(sandbox.database), { recursive: true });
    writeFileSync(sandbox.database, "This is no database. ".repeat(1_000), { mode: 0o600 });
    chmodSync(dirname(sandbox.database), 0o500);
    await withScreens(sandbox, {}, async (vscode) => {
      await vscode.showConversations();
      await vscode.page.waitForTimeout(4_000);
      await shoot(vscode, "refused");
    });
    chmodSync(dirname(sandbox.database), 0o700);
  },
};

const chosen = process.argv.slice(2).filter((each) => each in GROUPS);
for (const name of chosen.length > 0 ? chosen : Object.keys(GROUPS)) {
  const sandbox = new Sandbox("parser");
  try {
    await GROUPS[name](sandbox);
  } finally {
    sandbox.remove();
  }
}
