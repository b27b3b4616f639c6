// A real VS Code in a real browser, driven by what a person sees and presses.

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
const PATIENCE = 40_000;

const { chromium } = await import(join(HOST, "playwright-core", "index.mjs"));
const run = promisify(execFile);

/** The code-servers that run now; none outlives this process, however that ends. */
const SERVERS = new Set();
process.once("exit", () => SERVERS.forEach(killServer));
for (const signal of ["SIGHUP", "SIGINT", "SIGTERM"]) {
  process.once(signal, () => process.exit(1));
}

const QUIET = {
  "workbench.startupEditor": "none",
  "workbench.tips.enabled": false,
  "workbench.secondarySideBar.defaultVisibility": "hidden",
  "editor.minimap.enabled": false,
  "security.workspace.trust.startupPrompt": "never",
  "telemetry.telemetryLevel": "off",
};

/** A folder for one test, with a repository in it; nothing of this machine's person is in reach. */
export class Place {
  constructor(project = "project") {
    this.root = mkdtempSync(join(tmpdir(), "segue-vscode-"));
    this.project = this.folder(project);
    this.database = join(this.folder("data", "segue"), "sessions.db");
    this.model = join(this.root, "model.jsonl");
    mkdirSync(join(this.project, ".git"));
    writeFileSync(join(this.project, "parser.py"), "def parse(tokens):\n    return list(tokens[:-1])\n");
  }

  folder(...names) {
    const path = join(this.root, ...names);
    mkdirSync(path, { recursive: true, mode: 0o700 });
    return path;
  }

  /** What another editor has recorded in the project; returns the ids. */
  async recorded(...conversations) {
    const command = ["-m", "tests.editors.vscode.record", this.database];
    const recording = run(PYTHON, command, { cwd: ROOT });
    recording.child.stdin.end(
      JSON.stringify(conversations.map((each) => ({ directory: this.project, ...each }))),
    );
    return JSON.parse((await recording).stdout);
  }

  /** What the store holds of a conversation, as the command line tells it. */
  async stored(sessionId) {
    const { stdout } = await run(PYTHON, ["-m", "segue", "--database", this.database, "show", sessionId, "--json"]);
    return JSON.parse(stdout);
  }

  /** Every conversation that the store holds, newest first. */
  async sessions() {
    const command = ["-m", "segue", "--database", this.database, "list", "--archived", "--json"];
    const { stdout } = await run(PYTHON, command);
    return JSON.parse(stdout).sessions;
  }

  /** All that the model was ever given, oldest first. */
  asked() {
    return existsSync(this.model)
      ? readFileSync(this.model, "utf8").trim().split("\n").map((line) => JSON.parse(line))
      : [];
  }

  /** Kill the servers of this place's windows; nothing of them gets to say goodbye. Returns how many there were. */
  killServers() {
    const servers = readdirSync("/proc").filter((entry) => /^\d+$/.test(entry) && this.isServer(entry));
    for (const process_id of servers) {
      process.kill(Number(process_id), "SIGKILL");
    }
    return servers.length;
  }

  isServer(process_id) {
    const read = (name) => readFileSync(`/proc/${process_id}/${name}`, "utf8");
    try {
      return read("cmdline").includes("segue\0lsp") && read("environ").includes(this.root);
    } catch {
      return false; // it ended meanwhile, or is somebody else's
    }
  }

  remove() {
    rmSync(this.root, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** One window of VS Code. Made by `open`; `close` it on every way out. */
export class Workbench {
  /**
   * Open the project of *place*. `path`: what is on the PATH, without any `segue` unless it is said;
   * `settings` of the person and `machine` of the machine; `extensions` of these tests; `isTrusted`;
   * `isInstalled`: from the .vsix, as a person does, which takes longer than to find it unpacked.
   */
  static async open(place, { path, settings, machine, extensions = [], isTrusted = true, isInstalled = false, env, theme } = {}) {
    const workbench = new Workbench(place);
    try {
      await workbench.install(extensions, isInstalled);
      workbench.write("User", { ...QUIET, "workbench.colorTheme": theme ?? "Default Dark Modern", ...settings });
      workbench.write("Machine", machine ?? { "segue.server.command": [PYTHON, "-I", "-m", "segue", "lsp"] });
      await workbench.serve(path, isTrusted, env);
      await workbench.browse();
    } catch (error) {
      await workbench.close();
      throw error;
    }
    return workbench;
  }

  constructor(place) {
    this.place = place;
    this.said = "";
  }

  async install(extensions, isInstalled) {
    const folder = this.place.folder("extensions");
    for (const name of extensions) {
      cpSync(join(HERE, name), join(folder, `segue-tests.${name}-0.0.1`), { recursive: true });
    }
    if (isInstalled) {
      await run(NODE, [...this.command(), "--install-extension", VSIX], { env: this.environment() });
    } else if (!existsSync(join(folder, UNPACKED))) {
      symlinkSync(join(dirname(VSIX), "extension"), join(folder, UNPACKED));
    }
  }

  async serve(path, isTrusted, env) {
    this.port = await freePort();
    const trust = isTrusted ? ["--disable-workspace-trust"] : [];
    // Else the extension host gets the PATH of a login shell instead of ours.
    const environment = ["--vscode-option", "force-disable-user-env"];
    const address = ["--bind-addr", `127.0.0.1:${this.port}`];
    this.server = spawn(NODE, [...this.command(), ...trust, ...environment, ...address, this.place.project], {
      env: this.environment(path, env),
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
    });
    SERVERS.add(this.server);
    const listening = new Promise((resolve, reject) => {
      const hear = (chunk) => {
        this.said += chunk;
        if (this.said.includes("HTTP server listening")) {
          resolve();
        }
      };
      this.server.stdout.on("data", hear);
      this.server.stderr.on("data", hear);
      this.server.once("exit", () => reject(new Error(`code-server ended:\n${this.said}`)));
    });
    await listening;
  }

  async browse() {
    this.browser = await chromium.launch({
      executablePath: process.env.SEGUE_CHROMIUM ?? "/usr/bin/chromium",
      args: [
        "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync",
      ],
    });
    this.page = await this.browser.newPage({ viewport: { width: 1280, height: 800 } });
    this.page.setDefaultTimeout(PATIENCE);
    await this.page.goto(`http://127.0.0.1:${this.port}/?folder=${this.place.project}`);
    await this.ready();
  }

  async ready() {
    await this.page.waitForSelector(".monaco-workbench .activitybar");
    await this.page.waitForSelector(".statusbar-item");
  }

  async reload() {
    await this.page.reload();
    await this.ready();
  }

  async close() {
    await this.browser?.close();
    if (this.server?.exitCode === null) {
      const ended = new Promise((resolve) => this.server.once("exit", resolve));
      killServer(this.server);
      await ended;
    }
    SERVERS.delete(this.server);
  }

  /** Run a command by its title, as a person does. */
  async run(title) {
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

  /** The row of the view that has this text. */
  row(text) {
    return this.page.locator(".sidebar .monaco-list-row").filter({ hasText: text }).first();
  }

  /** Press one of the buttons that a row shows under the mouse. */
  async press(text, action) {
    await this.row(text).hover();
    await this.row(text).locator(`a[aria-label="${action}"]`).click();
  }

  /** Choose from the menu of a row; by the keyboard, for a click right after it opened is not heard. */
  async choose(text, action) {
    await this.row(text).click({ button: "right" });
    await this.page.locator(".context-view .action-label").filter({ hasText: action }).first().hover();
    await this.page.keyboard.press("Enter");
  }

  status() {
    return this.page.locator('.statusbar-item[id="segue.segue.segue.session"], .statusbar-item[id*="segue.session"]').first();
  }

  notification(text) {
    return this.page.locator(".notification-toast").filter({ hasText: text }).first();
  }

  dialog() {
    return this.page.locator(".monaco-dialog-box").first();
  }

  editor(text) {
    return this.page.locator(".editor-instance .view-lines").filter({ hasText: text }).first();
  }

  /** Ask in the chat view, when the model of these tests is there to be asked. */
  async ask(text) {
    await this.run("Chat: Open Chat");
    const input = this.page.locator(".interactive-input-part");
    await input.filter({ hasText: "Echo" }).waitFor();
    await this.page.keyboard.press("Control+A"); // the participant asked last stands there already
    await this.page.keyboard.type(text, { delay: 5 });
    await this.page.keyboard.press("Enter");
  }

  answer(text) {
    return this.page.locator(".interactive-response").filter({ hasText: text }).last();
  }

  /** Make the chat view half as wide again as it is. */
  async widenChat() {
    const { x, width, y } = await this.page.locator(".part.auxiliarybar").boundingBox();
    await this.page.mouse.move(x - 2, y + 200);
    await this.page.mouse.down();
    await this.page.mouse.move(x - width / 2, y + 200, { steps: 5 });
    await this.page.mouse.up();
  }

  /** Take the mouse away, and wait until no message and no hint stands in the picture. */
  async rest() {
    await this.page.mouse.move(640, 400);
    await this.run("Notifications: Clear All Notifications");
    for (const passing of [".notification-toast", ".workbench-hover", ".quick-input-widget"]) {
      await this.page.locator(passing).first().waitFor({ state: "hidden" });
    }
  }

  /** Keep a picture for who looks at what the tests saw. */
  async picture(name) {
    const folder = process.env.SEGUE_SCREENSHOTS ?? join(CACHE, "screenshots");
    mkdirSync(folder, { recursive: true });
    await this.page.screenshot({ path: join(folder, `${name}.png`) });
  }

  /** What the extensions and their host have written into their logs, and what code-server has said. */
  logs() {
    const folder = join(this.place.root, "user", "logs");
    const names = existsSync(folder) ? readdirSync(folder, { recursive: true }) : [];
    const told = names
      .filter((name) => /segue\.segue.*\.log$|remoteexthost\.log$/.test(name))
      .map((name) => [name, readFileSync(join(folder, name), "utf8")]);
    const lastOf = (text) => text.split("\n").filter((line) => !/^\s*(at .*)?$/.test(line)).slice(-25).join("\n");
    return [...told, ["code-server", this.said]].map(([name, text]) => `--- ${name}\n${lastOf(text)}`).join("\n");
  }

  write(level, settings) {
    writeFileSync(join(this.place.folder("user", level), "settings.json"), JSON.stringify(settings));
  }

  command() {
    const { root } = this.place;
    return [
      join(HOST, "code-server", "out", "node", "entry.js"), "--auth", "none", "--disable-telemetry",
      "--disable-update-check", "--user-data-dir", join(root, "user"), "--extensions-dir", join(root, "extensions"),
    ];
  }

  environment(path = "/usr/bin:/bin", env = {}) {
    return {
      PATH: path,
      HOME: this.place.folder("home"),
      XDG_DATA_HOME: dirname(dirname(this.place.database)),
      SEGUE_TESTS_MODEL: this.place.model,
      SEGUE_TESTS_HOST: join(this.place.root, "host.json"),
      ...env,
    };
  }
}

/** Open a window, do something in it, and close it whatever happens; a failure leaves a picture and the logs. */
export async function within(place, options, work) {
  const workbench = await Workbench.open(place, options);
  try {
    return await work(workbench);
  } catch (error) {
    await workbench.picture(`failed-${process.pid}`).catch(() => {});
    console.error(workbench.logs());
    throw error;
  } finally {
    await workbench.close();
  }
}

/** Resolves when *condition* gives something; rejects if it does not within the patience of these tests. */
export async function until(what, condition) {
  const end = Date.now() + PATIENCE;
  for (;;) {
    const found = await condition();
    if (found) {
      return found;
    }
    if (Date.now() > end) {
      throw new Error(`waited in vain: ${what}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** End a code-server and all that it started. */
function killServer({ pid, exitCode, signalCode }) {
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
