// Drives a real VS Code (code-server) in a headless browser, through its user interface.

import { execFile, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const HERE = dirname(fileURLToPath(import.meta.url));
const ROOT = join(HERE, "..", "..", "..");
const CACHE = join(HERE, "..", ".vscode");
const HOST = join(CACHE, "host", "node_modules");
export const VSIX = join(CACHE, "package", "segue.vsix");
export const PYTHON = process.env.SEGUE_PYTHON ?? join(ROOT, ".venv", "bin", "python");
const UNPACKED = "segue.segue-0.1.0";
const NODE = join(HOST, `node-linux-${process.arch}`, "bin", "node");
const TIMEOUT_MS = 40_000;
const ATTEMPT_MS = 5_000;

const { chromium } = await import(join(HOST, "playwright-core", "index.mjs"));
const run = promisify(execFile);

/** The running code-servers. All are killed when this process exits. */
const CODE_SERVERS = new Set();
process.once("exit", () => CODE_SERVERS.forEach(killCodeServer));
for (const signal of ["SIGHUP", "SIGINT", "SIGTERM"]) {
  process.once(signal, () => process.exit(1));
}

const BASE_SETTINGS = {
  "workbench.startupEditor": "none",
  "workbench.tips.enabled": false,
  "workbench.secondarySideBar.defaultVisibility": "hidden",
  "editor.minimap.enabled": false,
  "security.workspace.trust.startupPrompt": "never",
  "telemetry.telemetryLevel": "off",
};

/** Settings with which the color theme follows the color scheme of the browser. */
export const followColorScheme = (isHighContrast) => ({
  "window.autoDetectColorScheme": true,
  "workbench.preferredDarkColorTheme": isHighContrast ? "Default High Contrast" : "Dark Modern",
  "workbench.preferredLightColorTheme": isHighContrast ? "Default High Contrast Light" : "Light Modern",
});

/** A temporary folder for one test, with a repository, a home and a database of its own. `remove` it at the end. */
export class Sandbox {
  constructor(project = "project") {
    this.root = mkdtempSync(join(tmpdir(), "segue-vscode-"));
    this.project = this.createFolder(project);
    this.database = join(this.createFolder("data", "segue"), "sessions.db");
    this.modelLog = join(this.root, "model.jsonl");
    this.apiReport = join(this.root, "api-tests.json");
    mkdirSync(join(this.project, ".git"));
    writeFileSync(join(this.project, "parser.py"), "def parse(tokens):\n    return list(tokens[:-1])\n");
  }

  /** Create a folder in the sandbox, with its parents; returns its path. */
  createFolder(...names) {
    const path = join(this.root, ...names);
    mkdirSync(path, { recursive: true, mode: 0o700 });
    return path;
  }

  /** Record conversations in the project as another editor would; returns their ids. */
  async record(...conversations) {
    const command = ["-m", "tests.editors.vscode.record", this.database];
    const recorder = run(PYTHON, command, { cwd: ROOT });
    recorder.child.stdin.end(
      JSON.stringify(conversations.map((each) => ({ directory: this.project, ...each }))),
    );
    return JSON.parse((await recorder).stdout);
  }

  /** Import a conversation that Claude Code had in the project, of a question and an answer; returns its id. */
  async importConversation(question, answer) {
    const id = randomUUID();
    const message = (role, content) => ({ message: { role, content, model: role === "user" ? undefined : "claude-sonnet-4-5" } });
    const records = [["user", question], ["assistant", answer]].map(([role, text], index) => ({
      type: role,
      uuid: `00000000-0000-4000-8000-00000000000${index}`,
      parentUuid: index === 0 ? null : "00000000-0000-4000-8000-000000000000",
      sessionId: id,
      cwd: this.project,
      version: "2.1.332",
      isSidechain: false,
      timestamp: new Date(Date.now() - 3_600_000).toISOString(),
      ...message(role, [{ type: "text", text }]),
    }));
    const path = join(this.createFolder("home", ".claude", "projects", "-project"), `${id}.jsonl`);
    writeFileSync(path, records.map((record) => `${JSON.stringify(record)}\n`).join(""));
    await run(PYTHON, ["-m", "segue", "--database", this.database, "import", path]);
    return id;
  }

  /** A stored session with its events, as `segue show` prints it. */
  async loadSession(sessionId) {
    const { stdout } = await run(PYTHON, ["-m", "segue", "--database", this.database, "show", sessionId, "--json"]);
    return JSON.parse(stdout);
  }

  /** A stored session as a file, as `segue export` prints it. */
  async exportSession(sessionId, format) {
    const command = ["-m", "segue", "--database", this.database, "export", sessionId, "--format", format];
    return (await run(PYTHON, command)).stdout;
  }

  /** All stored sessions, archived ones too, newest first. */
  async listSessions() {
    const command = ["-m", "segue", "--database", this.database, "list", "--all", "--archived", "--json"];
    const { stdout } = await run(PYTHON, command);
    return JSON.parse(stdout).sessions;
  }

  /** The files of the chats that VS Code itself has saved with this text in a complete answer; null if there are none. */
  findChats(text) {
    const folder = join(this.root, "user", "User", "workspaceStorage");
    const names = existsSync(folder) ? readdirSync(folder, { recursive: true }) : [];
    const chats = names
      .filter((name) => /chatSessions\/[^/]+\.jsonl$/.test(name))
      .map((name) => join(folder, name))
      .filter((path) => readFileSync(path, "utf8").includes(`You asked: ${text}`));
    return chats.length > 0 ? chats : null;
  }

  /** Import files of other programs; returns the reports of `segue import`. */
  async importFiles(...paths) {
    const command = ["-m", "segue", "--database", this.database, "import", "--json", ...paths];
    return JSON.parse((await run(PYTHON, command)).stdout);
  }

  /** The messages of every request to the echo model, oldest first. */
  loadModelRequests() {
    return this.loadModelLog().map(({ messages }) => messages);
  }

  /** The names of the tools that the echo model could use in each request, oldest first. */
  loadOfferedTools() {
    return this.loadModelLog().map(({ tools }) => tools);
  }

  loadModelLog() {
    return existsSync(this.modelLog)
      ? readFileSync(this.modelLog, "utf8").trim().split("\n").map((line) => JSON.parse(line))
      : [];
  }

  /** Kill all servers of this sandbox with SIGKILL; returns their number. */
  killServers() {
    const servers = this.findServers();
    for (const processId of servers) {
      process.kill(Number(processId), "SIGKILL");
    }
    return servers.length;
  }

  /** The ids of the processes of all servers of this sandbox. */
  findServers() {
    return readdirSync("/proc").filter((entry) => /^\d+$/.test(entry) && this.isServer(entry));
  }

  isServer(processId) {
    const read = (name) => readFileSync(`/proc/${processId}/${name}`, "utf8");
    try {
      return read("cmdline").includes("segue\0lsp") && read("environ").includes(this.root);
    } catch {
      return false; // it has exited, or belongs to another user
    }
  }

  remove() {
    rmSync(this.root, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** One window of VS Code. Prefer `withWorkbench`, which always closes it. */
export class Workbench {
  /**
   * Open the project of *sandbox*.
   * `path`: the PATH, by default without `segue`; `env`: additional environment variables.
   * `settings`: user settings; `machine`: machine settings; `theme`: the color theme.
   * `extensions`: test extensions, by their folder; `isTrusted`: whether the workspace is trusted.
   * `isInstalled`: install the .vsix as a user would, instead of linking the faster unpacked copy.
   */
  static async open(sandbox, { path, settings, machine, extensions = [], isTrusted = true, isInstalled = false, env, theme } = {}) {
    const workbench = new Workbench(sandbox);
    try {
      await workbench.installExtensions(extensions, isInstalled);
      workbench.writeSettings("User", { ...BASE_SETTINGS, "workbench.colorTheme": theme ?? "Dark Modern", ...settings });
      workbench.writeSettings("Machine", machine ?? { "segue.server.command": [PYTHON, "-I", "-m", "segue", "lsp"] });
      await workbench.startCodeServer(path, isTrusted, env);
      await workbench.openBrowser();
    } catch (error) {
      await workbench.close();
      throw error;
    }
    return workbench;
  }

  constructor(sandbox) {
    this.sandbox = sandbox;
    this.output = "";
  }

  async installExtensions(extensions, isInstalled) {
    const folder = this.sandbox.createFolder("extensions");
    for (const name of extensions) {
      cpSync(join(HERE, name), join(folder, `segue-tests.${name}-0.0.1`), { recursive: true });
    }
    if (isInstalled) {
      await run(NODE, [...this.codeServerCommand(), "--install-extension", VSIX], { env: this.environment() });
    } else if (!existsSync(join(folder, UNPACKED))) {
      symlinkSync(join(dirname(VSIX), "extension"), join(folder, UNPACKED));
    }
  }

  async startCodeServer(path, isTrusted, env) {
    this.port = await freePort();
    const trust = isTrusted ? ["--disable-workspace-trust"] : [];
    // Otherwise the extension host gets the PATH of a login shell.
    const environment = ["--vscode-option", "force-disable-user-env"];
    const address = ["--bind-addr", `127.0.0.1:${this.port}`];
    this.server = spawn(NODE, [...this.codeServerCommand(), ...trust, ...environment, ...address, this.sandbox.project], {
      env: this.environment(path, env),
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
    });
    CODE_SERVERS.add(this.server);
    const listening = new Promise((resolve, reject) => {
      const collect = (chunk) => {
        this.output += chunk;
        if (this.output.includes("HTTP server listening")) {
          resolve();
        }
      };
      this.server.stdout.on("data", collect);
      this.server.stderr.on("data", collect);
      this.server.once("exit", () => reject(new Error(`code-server exited:\n${this.output}`)));
    });
    await listening;
  }

  async openBrowser() {
    this.browser = await chromium.launch({
      executablePath: process.env.SEGUE_CHROMIUM ?? "/usr/bin/chromium",
      args: [
        "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync",
      ],
    });
    await this.openPage();
  }

  /** Open another window on the same project. It ends with this one. */
  async openWindow() {
    const other = new Workbench(this.sandbox);
    Object.assign(other, { port: this.port, browser: this.browser });
    await other.openPage();
    return other;
  }

  async openPage() {
    this.page = await this.browser.newPage({ viewport: { width: 1280, height: 800 } });
    this.page.setDefaultTimeout(TIMEOUT_MS);
    await this.page.goto(`http://127.0.0.1:${this.port}/?folder=${this.sandbox.project}`);
    await this.waitUntilReady();
  }

  async waitUntilReady() {
    await this.page.waitForSelector(".monaco-workbench .activitybar");
    await this.page.waitForSelector(".statusbar-item");
  }

  /** Close the browser and kill code-server; resolves when it has exited. */
  async close() {
    await this.browser?.close();
    if (this.server?.exitCode === null) {
      const exited = new Promise((resolve) => this.server.once("exit", resolve));
      killCodeServer(this.server);
      await exited;
    }
    CODE_SERVERS.delete(this.server);
  }

  /** Run a command by its title from the command palette, which closes when an editor takes the focus meanwhile. */
  async runCommand(title) {
    const input = this.page.locator(".quick-input-widget input:visible").first();
    const row = this.page.locator(`.quick-input-list .monaco-list-row[aria-label^="${title}"]`).first();
    const choose = async () => {
      await this.page.keyboard.press("F1");
      await input.fill(`>${title}`, { timeout: ATTEMPT_MS });
      await row.waitFor({ timeout: ATTEMPT_MS });
      await input.press("Enter", { timeout: ATTEMPT_MS });
    };
    const deadline = Date.now() + TIMEOUT_MS;
    while (!(await choose().then(() => true, () => false))) {
      if (Date.now() > deadline) {
        throw new Error(`the command palette does not show ${title}`);
      }
      await this.page.keyboard.press("Escape"); // an open one keeps the commands that it has found first
    }
  }

  /** Show the view "Conversations". */
  async showConversations() {
    await this.page.click('.activitybar a[aria-label="Segue"]');
    await this.viewHeader().waitFor();
  }

  /** The header of the view "Conversations". */
  viewHeader() {
    return this.page.locator(".sidebar .pane-header").filter({ hasText: "Conversations" });
  }

  /** Choose an item of the menu of the view, with Enter as in `chooseRowAction`. */
  async chooseViewAction(action) {
    await this.viewHeader().hover();
    await this.viewHeader().locator('a[aria-label^="More Actions"], a[aria-label^="Views and More"]').click();
    await this.page.locator(".context-view .action-label").filter({ hasText: action }).first().hover();
    await this.page.keyboard.press("Enter");
  }

  /** The text field above the view. */
  searchBox() {
    return this.searchPage().getByRole("searchbox", { name: "Search conversations" });
  }

  /** The line below that field. */
  searchStatus(text) {
    return this.searchPage().getByRole("status").filter({ hasText: text });
  }

  /** The button below that line. */
  searchEverywhere() {
    return this.searchPage().getByRole("button", { name: "Search everywhere" });
  }

  searchPage() {
    return this.webviewPage("iframe.webview:left-of(.part.editor)");
  }

  /** The row of the view that contains this text. */
  row(text) {
    return this.page.locator(".sidebar .monaco-list-row").filter({ hasText: text }).first();
  }

  /** The row of the view whose name for a screen reader matches a pattern. */
  rowNamed(pattern) {
    return this.page.locator(".sidebar").getByRole("treeitem", { name: pattern });
  }

  /** The labels of the rows of the view that can be seen, from top to bottom. */
  async rows() {
    const rows = await this.page.locator(".sidebar .monaco-list-row").all();
    const placed = await Promise.all(rows.map(async (row) => [Number(await row.getAttribute("data-index")), await row.locator(".label-name").first().innerText()]));
    return placed.sort(([one], [other]) => one - other).map(([, label]) => label);
  }

  /** Give the keyboard to a row of the view, without opening what it stands for. */
  async focusRow(text) {
    await this.row(text).waitFor();
    await this.runCommand("Segue: Focus on Conversations View");
    await this.page.locator(".sidebar .monaco-list:focus-within").waitFor();
    await this.page.keyboard.press("Home");
    await waitUntil(`${text} has the keyboard`, async () => {
      const isThere = await this.focusedRow(text).waitFor({ timeout: 1_000 }).then(() => true, () => false);
      await (isThere || this.page.keyboard.press("ArrowDown"));
      return isThere;
    });
  }

  /** The row of the view that has the keyboard, if it contains this text. */
  focusedRow(text) {
    return this.page.locator(".sidebar .monaco-list:focus-within .monaco-list-row.focused").filter({ hasText: text });
  }

  /** Click a button that a row shows while the mouse is over it. */
  async clickRowAction(text, action) {
    await this.row(text).hover();
    await this.row(text).locator(`a[aria-label="${action}"]`).click();
  }

  /** Choose an item of a row's context menu, with Enter: the menu ignores clicks right after it opens. */
  async chooseRowAction(text, action) {
    const item = this.page.locator(".context-view .action-label").filter({ hasText: action }).first();
    await this.row(text).click({ button: "right" });
    await item.hover();
    await this.page.keyboard.press("Enter");
  }

  statusItem() {
    return this.page.locator('.statusbar-item[id="segue.segue.segue.session"], .statusbar-item[id*="segue.session"]').first();
  }

  /** The texts of all notifications that nobody has cleared. */
  async listNotifications() {
    const center = this.page.locator(".notifications-center");
    const show = async () => {
      await this.runCommand("Notifications: Show Notifications");
      await center.waitFor({ timeout: ATTEMPT_MS });
    };
    await show().catch(show); // the center closes when the only notification is replaced
    const texts = await center.locator(".monaco-list-row .notification-list-item-message").allInnerTexts();
    await this.runCommand("Notifications: Hide Notifications"); // the center keeps new ones from being shown
    await center.waitFor({ state: "hidden" });
    return texts.filter((text) => text !== "Activating Extensions..."); // of VS Code, while it starts
  }

  /** What the view says and offers while it has no rows, as lines. */
  async welcome() {
    const lines = await this.page.locator(".sidebar .welcome-view-content:visible > *").allInnerTexts();
    return lines.map((line) => line.trim());
  }

  notification(text) {
    return this.page.locator(".notification-toast").filter({ hasText: text }).first();
  }

  dialog() {
    return this.page.locator(".monaco-dialog-box").first();
  }

  /** The page of the visible transcript. */
  transcriptPage() {
    return this.webviewPage("iframe.webview.ready:visible:right-of(.part.sidebar)");
  }

  /** The page that a webview shows: one that is loaded in its place stands beside it for a moment. */
  webviewPage(selector) {
    return this.page.frameLocator(selector).frameLocator("iframe#active-frame");
  }

  /** The block of the visible transcript that contains this text. */
  transcript(text) {
    return this.transcriptPage().locator("#blocks > section").filter({ hasText: text }).first();
  }

  /** The line at the end of the visible transcript that says what can be done with its conversation. */
  transcriptNote(text) {
    return this.transcriptPage().getByRole("status").filter({ hasText: text });
  }

  /** How many pixels the visible transcript is scrolled down, and whether that is to its end. */
  transcriptScroll() {
    return this.transcriptPage().locator("html").evaluate(({ scrollTop, scrollHeight, clientHeight }) => ({
      top: Math.round(scrollTop),
      isAtEnd: scrollHeight - scrollTop - clientHeight < 2,
    }));
  }

  /** Whether the visible transcript has the keyboard. */
  transcriptHasFocus() {
    return this.transcriptPage().locator("html").evaluate(() => document.hasFocus());
  }

  /** The links that the visible transcript shows at the end of each turn. */
  turnAction(title) {
    return this.transcriptPage().getByRole("button", { name: title });
  }

  /** The rows of an open quick pick. */
  picks(text) {
    return this.page.locator(".quick-input-list .monaco-list-row").filter({ hasText: text });
  }

  /** Type into an open quick pick, in place of what is in it. */
  async typeInPicker(text) {
    await this.page.locator(".quick-input-widget input:visible").first().fill(text);
  }

  /** The row of an open quick pick that Enter accepts. */
  activePick(text) {
    return this.page.locator(".quick-input-list .monaco-list-row.focused").filter({ hasText: text });
  }

  /** Wait until this text is selected in the visible transcript, in a block with that text, and can be seen. */
  async waitForSelection(selected, text) {
    const block = this.transcript(text);
    await waitUntil(`${selected} is selected`, () => block.evaluate((section, expected) => {
      const selection = getSelection();
      const { top, bottom } = selection.rangeCount === 0 ? {} : selection.getRangeAt(0).getBoundingClientRect();
      return selection.toString() === expected && section.contains(selection.anchorNode) && top >= 0 && bottom <= innerHeight;
    }, selected));
  }

  /** Let F2 open the input box with this title for a row. The view takes the key as soon as the row is selected. */
  async pressF2(text, title) {
    await waitUntil(`F2 opens ${title}`, async () => {
      await this.row(text).click();
      await this.page.keyboard.press("F2");
      // A box that opens later than this is closed by the next click.
      return this.inputBox(title).waitFor({ timeout: 2 * ATTEMPT_MS }).then(() => true, () => false);
    });
  }

  /** Let Delete ask for the row with the keyboard. VS Code forgets what the row stands for while the list is read anew. */
  async pressDelete(text) {
    await waitUntil(`Delete asks for ${text}`, async () => {
      await this.page.keyboard.press("Delete");
      return this.dialog().filter({ hasText: text }).waitFor({ timeout: ATTEMPT_MS }).then(() => true, () => false);
    });
  }

  inputBox(title) {
    return this.page.locator(".quick-input-widget:visible").filter({ hasText: title });
  }

  /** Type into an open input box, in place of what is in it, and accept it. */
  async fillInputBox(title, value) {
    await this.inputBox(title).locator("input:visible").first().fill(value);
    await this.page.keyboard.press("Enter");
  }

  /** Accept the name, with this end, that a dialog for saving a file proposes; returns it. */
  async acceptFileName(end) {
    const input = this.page.locator(".quick-input-widget input:visible").first();
    const path = await waitUntil(`a name is proposed that ends with ${end}`, async () => {
      const value = await input.inputValue();
      return value.endsWith(end) && value;
    });
    for (let attempt = 0; attempt < 8 && (await input.isVisible()); attempt += 1) {
      await this.page.keyboard.press("Enter"); // ignored while the dialog reads the folder
      await input.waitFor({ state: "hidden", timeout: 3_000 }).catch(() => {});
    }
    return path.split("/").at(-1);
  }

  editor(text) {
    return this.page.locator(".editor-instance .view-lines").filter({ hasText: text }).first();
  }

  /** Send a question in the chat view, once the echo model is available there. */
  async askInChat(text) {
    await this.runCommand("Chat: Open Chat");
    const input = this.page.locator(".interactive-input-part");
    await input.filter({ hasText: "Echo" }).waitFor();
    const lines = input.locator(".view-lines").first();
    const holdsText = async () => (await lines.innerText()).replace(/\s/g, "") === text.replace(/\s/g, "");
    // All at once, as from the clipboard: while one types, a list of completions opens sooner or later, and replaces words.
    // The view takes the focus away while it loads.
    await waitUntil(`the chat holds ${text}`, async () => {
      await lines.click();
      await this.page.keyboard.press("Control+A"); // replace the last participant, which is filled in
      await this.page.keyboard.insertText(text);
      return waitUntil("it is there", holdsText, ATTEMPT_MS).catch(() => false);
    });
    await waitUntil(`the chat sends ${text}`, async () => {
      await this.page.keyboard.press("Enter");
      return waitUntil("it is sent", async () => !(await holdsText()), ATTEMPT_MS).catch(() => false);
    });
  }

  /** The input of the chat view, with this text typed in. */
  chatInput(text) {
    return this.page.locator(".interactive-input-part .view-lines").filter({ hasText: text });
  }

  chatResponse(text) {
    return this.page.locator(".interactive-response").filter({ hasText: text }).last();
  }

  /** Click a button of the question that VS Code asks before a tool runs. */
  async answerConfirmation(title, button) {
    await this.page.getByText(title).locator("visible=true").first().waitFor();
    await this.page.locator("a.monaco-button:visible").filter({ hasText: new RegExp(`^${button}`) }).first().click();
  }

  /** Widen the chat view by half of its width. */
  async widenChat() {
    const { x, width, y } = await this.page.locator(".part.auxiliarybar").boundingBox();
    await this.page.mouse.move(x - 2, y + 200);
    await this.page.mouse.down();
    await this.page.mouse.move(x - width / 2, y + 200, { steps: 5 });
    await this.page.mouse.up();
  }

  /** Move the mouse away, and wait until notifications, hovers and quick inputs are hidden. */
  async hideTransientUi() {
    await this.page.mouse.move(640, 740);
    await this.runCommand("Notifications: Clear All Notifications");
    for (const selector of [".notification-toast", ".workbench-hover", ".quick-input-widget"]) {
      await this.page.locator(selector).first().waitFor({ state: "hidden" });
    }
  }

  /** Save a screenshot of the window. */
  async screenshot(name) {
    const folder = process.env.SEGUE_SCREENSHOTS ?? join(CACHE, "screenshots");
    mkdirSync(folder, { recursive: true });
    await this.page.screenshot({ path: join(folder, `${name}.png`) });
  }

  /** The last lines of the logs of the extension and the extension host, and of the output of code-server. */
  readLogs() {
    const folder = join(this.sandbox.root, "user", "logs");
    const names = existsSync(folder) ? readdirSync(folder, { recursive: true }) : [];
    const logs = names
      .filter((name) => /segue\.segue.*\.log$|remoteexthost\.log$/.test(name))
      .map((name) => [name, readFileSync(join(folder, name), "utf8")]);
    const lastLines = (log) => log.split("\n").filter((line) => !/^\s*(at .*)?$/.test(line)).slice(-25).join("\n");
    return [...logs, ["code-server", this.output]].map(([name, log]) => `--- ${name}\n${lastLines(log)}`).join("\n");
  }

  writeSettings(level, settings) {
    writeFileSync(join(this.sandbox.createFolder("user", level), "settings.json"), JSON.stringify(settings));
  }

  codeServerCommand() {
    const { root } = this.sandbox;
    return [
      join(HOST, "code-server", "out", "node", "entry.js"), "--auth", "none", "--disable-telemetry",
      "--disable-update-check", "--user-data-dir", join(root, "user"), "--extensions-dir", join(root, "extensions"),
    ];
  }

  environment(path = "/usr/bin:/bin", env = {}) {
    return {
      PATH: path,
      HOME: this.sandbox.createFolder("home"),
      XDG_DATA_HOME: dirname(dirname(this.sandbox.database)),
      SEGUE_TESTS_MODEL_LOG: this.sandbox.modelLog,
      SEGUE_TESTS_API_REPORT: this.sandbox.apiReport,
      SEGUE_TESTS_RECORD: JSON.stringify([ROOT, PYTHON, this.sandbox.database, this.sandbox.project]),
      ...env,
    };
  }
}

/** Run *work* with an open window, which is closed in any case. A failure leaves a screenshot and prints the logs. */
export async function withWorkbench(sandbox, options, work) {
  const workbench = await Workbench.open(sandbox, options);
  try {
    return await work(workbench);
  } catch (error) {
    await workbench.screenshot(`failed-${process.pid}`).catch(() => {});
    console.error(workbench.readLogs());
    throw error;
  } finally {
    await workbench.close();
  }
}

/** Poll *condition* until it is truthy; returns its value. Throws after the timeout. */
export async function waitUntil(description, condition, timeoutMs = TIMEOUT_MS) {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const value = await condition();
    if (value) {
      return value;
    }
    if (Date.now() > deadline) {
      throw new Error(`timed out waiting until ${description}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Kill a code-server and its child processes. */
function killCodeServer({ pid, exitCode, signalCode }) {
  if (exitCode === null && signalCode === null) {
    process.kill(-pid, "SIGKILL");
  }
}

function freePort() {
  return new Promise((resolve) => {
    const server = createServer();
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}
