// Tells whether this machine has conversations, without starting a server for that.

import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";

const APP = "segue";

/** Where one looks. */
export interface Surroundings {
  platform: NodeJS.Platform;
  environment: NodeJS.ProcessEnv;
  home: string;
}

/**
 * Whether there may be a store: the database where the server has it by default, or anything that names another one,
 * which the server alone reads. *setting* is `segue.database`.
 */
export function mayHaveStore(
  setting: string,
  { platform, environment, home }: Surroundings = { platform: process.platform, environment: process.env, home: homedir() },
): boolean {
  const { SEGUE_DATABASE: named, SNAP: snap, FLATPAK_ID: flatpak } = environment;
  if (setting !== "" || named || snap || flatpak || platform === "win32") {
    return true; // in a sandbox, the folders of the variables are not the user's
  }
  const folder = (variable: string, others: string) => {
    const given = environment[variable];
    const parent = given !== undefined && isAbsolute(given) ? given : join(home, platform === "darwin" ? "Library/Application Support" : others);
    return join(parent, APP);
  };
  return existsSync(join(folder("XDG_DATA_HOME", ".local/share"), "sessions.db")) || existsSync(join(folder("XDG_CONFIG_HOME", ".config"), "config.toml"));
}
