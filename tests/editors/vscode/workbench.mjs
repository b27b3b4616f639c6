// Drives a real VS Code (code-server) in a headless browser, through its user interface.

import { execFile, spawn } from "node:child_process";
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

  /** A stored session with its events, as `segue show` prints it. */
  async loadSession(sessionId) {
    const { stdout } = await run(PYTHON, ["-m", "segue", "--database", this.database, "show", sessionId, "--json"]);
    return JSON.parse(stdout);
  }

  /** All stored sessions, archived ones too, newest first. */
  async listSessions() {
    const command = ["-m", "segue", "--database", this.database, "list", "--archived", "--json"];
    const { stdout } = await run(PYTHON, command);
    return JSON.parse(stdout).sessions;
  }

  /** The messages of every request to the echo model, oldest first. */
  loadModelRequests() {
    return existsSync(this.modelLog)
      ? readFileSync(this.modelLog, "utf8").trim().split("\n").map((line) => JSON.parse(line))
      : [];
  }

  /** Kill all servers of this sandbox with SIGKILL; returns their number. */
  killServers() {
    const servers = readdirSync("/proc").filter((entry) => /^\d+$/.test(entry) && this.isServer(entry));
    for (const processId of servers) {
      process.kill(Number(processId), "SIGKILL");
    }
    return servers.length;
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
      workbench.writeSettings("User", { ...BASE_SETTINGS, "workbench.colorTheme": theme ?? "Default Dark Modern", ...settings });
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

  /** Run a command by its title from the command palette. */
  async runCommand(title) {
    await this.page.keyboard.press("F1");
    const input = this.page.locator(".quick-input-widget input:visible").first();
    await input.fill(`>${title}`);
    await this.page.locator(`.quick-input-list .monaco-list-row[aria-label^="${title}"]`).first().waitFor();
    await this.page.keyboard.press("Enter");
  }

  /** Show the view "Conversations". */
  async showConversations() {
    await this.page.click('.activitybar a[aria-label="Segue"]');
    await this.page.locator(".pane-header, .composite.title").filter({ hasText: /Conversations/i }).first().waitFor();
  }

  /** The row of the view that contains this text. */
  row(text) {
    return this.page.locator(".sidebar .monaco-list-row").filter({ hasText: text }).first();
  }

  /** Click a button that a row shows while the mouse is over it. */
  async clickRowAction(text, action) {
    await this.row(text).hover();
    await this.row(text).locator(`a[aria-label="${action}"]`).click();
  }

  /** Choose an item of a row's context menu, with Enter: the menu ignores clicks right after it opens. */
  async chooseRowAction(text, action) {
    await this.row(text).click({ button: "right" });
    await this.page.locator(".context-view .action-label").filter({ hasText: action }).first().hover();
    await this.page.keyboard.press("Enter");
  }

  statusItem() {
    return this.page.locator('.statusbar-item[id="segue.segue.segue.session"], .statusbar-item[id*="segue.session"]').first();
  }

  notification(text) {
    return this.page.locator(".notification-toast").filter({ hasText: text }).first();
  }

  dialog() {
    return this.page.locator(".monaco-dialog-box").first();
  }

  /** The links that the active editor shows at the end of each turn of a transcript. */
  turnAction(title) {
    return this.page.locator(".editor-instance .codelens-decoration a").filter({ hasText: title });
  }

  /** The rows of an open quick pick. */
  picks(text) {
    return this.page.locator(".quick-input-list .monaco-list-row").filter({ hasText: text });
  }

  /** Type into an open input box, in place of what is in it, and accept it. */
  async fillInputBox(title, value) {
    await this.page.locator(".quick-input-widget").filter({ hasText: title }).waitFor();
    await this.page.locator(".quick-input-widget input:visible").first().fill(value);
    await this.page.keyboard.press("Enter");
  }

  editor(text) {
    return this.page.locator(".editor-instance .view-lines").filter({ hasText: text }).first();
  }

  /** Send a question in the chat view, once the echo model is available there. */
  async askInChat(text) {
    await this.runCommand("Chat: Open Chat");
    const input = this.page.locator(".interactive-input-part");
    await input.filter({ hasText: "Echo" }).waitFor();
    await this.page.keyboard.press("Control+A"); // replace the last participant, which is filled in
    await this.page.keyboard.type(text, { delay: 5 });
    await this.page.keyboard.press("Enter");
  }

  chatResponse(text) {
    return this.page.locator(".interactive-response").filter({ hasText: text }).last();
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

/** Poll *condition* until it is truthy; returns its value. Throws after the timeout of these tests. */
export async function waitUntil(description, condition) {
  const deadline = Date.now() + TIMEOUT_MS;
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
