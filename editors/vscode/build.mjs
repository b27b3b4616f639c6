// Bundles the extension into one file, or with `--tests` each test of the pure modules.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const TESTS = "../../tests/editors/vscode/unit/";
const tests = process.argv.includes("--tests");

await build({
  bundle: true,
  platform: "node",
  target: "node20",
  logLevel: "warning",
  ...(tests
    ? {
        entryPoints: readdirSync(TESTS)
          .filter((name) => name.endsWith(".test.ts"))
          .map((name) => TESTS + name),
        outdir: ".build/tests",
        outExtension: { ".js": ".mjs" },
        format: "esm",
        // The tests stand outside this folder; the packages that they need are in it.
        nodePaths: ["node_modules"],
        banner: { js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);' },
      }
    : {
        entryPoints: ["src/extension.ts"],
        outfile: "dist/extension.cjs",
        format: "cjs",
        external: ["vscode"],
        minify: process.argv.includes("--production"),
        legalComments: "eof",
      }),
});

if (!tests) {
  // A packaged README may only show images from the web, and these stand nowhere there.
  mkdirSync("dist", { recursive: true });
  writeFileSync("dist/README.md", readFileSync("README.md", "utf8").replace(/^!\[.*\n\n/gm, ""));
}
