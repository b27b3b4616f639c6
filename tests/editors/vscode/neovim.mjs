// Drives a real Neovim beside VS Code, through the plugin's Lua functions.

import { execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { PYTHON, waitUntil } from "./workbench.mjs";

const PLUGIN = join(dirname(fileURLToPath(import.meta.url)), "..", "..", "..", "editors", "nvim");
const NEOVIM = join(dirname(PYTHON), "nvim");
const run = promisify(execFile);

/** One Neovim in the project of a sandbox. Prefer `withNeovim`, which always ends it. */
class Neovim {
  constructor(sandbox) {
    this.socket = join(sandbox.root, "neovim.sock");
    const server = JSON.stringify({ cmd: [PYTHON, "-m", "segue", "lsp"] });
    const options = ["--cmd", `set rtp^=${PLUGIN}`, "--cmd", `let g:segue = ${server}`];
    this.process = spawn(NEOVIM, ["--clean", "--headless", "--listen", this.socket, ...options], {
      cwd: sandbox.project,
      env: { ...process.env, SEGUE_DATABASE: sandbox.database, XDG_STATE_HOME: join(sandbox.root, "state") },
      stdio: "ignore",
    });
  }

  /** Evaluate Lua; returns its value. */
  async lua(body) {
    const expression = `json_encode(luaeval('(function() ${body.replaceAll("'", "''")} end)()'))`;
    const { stdout } = await run(NEOVIM, ["--clean", "--server", this.socket, "--remote-expr", expression]);
    return JSON.parse(stdout);
  }

  /** Record an event in the conversation of this window, which begins with the first one. */
  append(type, content) {
    const event = `{ type = ${JSON.stringify(type)}, data = { content = ${JSON.stringify(content)} } }`;
    return this.lua(`return require("segue").append(${event})`);
  }

  /** Run an Ex command. */
  command(command) {
    return this.lua(`return vim.cmd(${JSON.stringify(command)})`);
  }

  /** Wait until the current buffer contains this text. */
  async shows(text) {
    const lines = `return table.concat(vim.api.nvim_buf_get_lines(0, 0, -1, false), "\\n")`;
    await waitUntil(`Neovim shows ${text}`, async () => (await this.lua(lines)).includes(text));
  }

  async close() {
    const exited = new Promise((resolve) => this.process.once("exit", resolve));
    this.process.kill();
    await exited;
  }
}

/** Run *work* with a Neovim in the project of *sandbox*. */
export async function withNeovim(sandbox, work) {
  const neovim = new Neovim(sandbox);
  try {
    await waitUntil("Neovim listens", async () => existsSync(neovim.socket));
    return await work(neovim);
  } finally {
    await neovim.close();
  }
}
