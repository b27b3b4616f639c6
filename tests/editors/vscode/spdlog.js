// Replaces VS Code's native logger, which would have to be compiled. Without it no log file is written, and the
// output channels of extensions stay empty.

const fs = require("node:fs");
const path = require("node:path");

const LEVELS = ["trace", "debug", "info", "warning", "error", "critical"];

class Logger {
  constructor(file) {
    this.file = file;
    this.level = 0;
    this.isFormatted = true;
  }

  write(level, message) {
    if (level >= this.level) {
      const prefix = this.isFormatted ? `${new Date().toISOString().replace(/[TZ]/g, " ").trim()} [${LEVELS[level]}] ` : "";
      fs.appendFileSync(this.file, `${prefix}${message}${this.isFormatted ? "\n" : ""}`);
    }
  }

  trace = (message) => this.write(0, message);
  debug = (message) => this.write(1, message);
  info = (message) => this.write(2, message);
  warn = (message) => this.write(3, message);
  error = (message) => this.write(4, message);
  critical = (message) => this.write(5, message);
  setLevel = (level) => (this.level = level);
  getLevel = () => this.level;
  clearFormatters = () => (this.isFormatted = false);
  setPattern() {}
  flush() {}
  drop() {}
}

async function createLogger(_name, file) {
  fs.mkdirSync(path.dirname(file), { recursive: true });
  return new Logger(file);
}

module.exports = {
  Logger,
  createRotatingLogger: createLogger,
  createAsyncRotatingLogger: createLogger,
  setFlushOn() {},
  setLevel() {},
  version: 0,
};
