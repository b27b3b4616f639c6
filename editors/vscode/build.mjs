// Bundles the extension into one file. With `--tests`, bundles each unit test into a file of its own instead.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const TESTS = "../../tests/editors/vscode/unit/";
const isTestBuild = process.argv.includes("--tests");

if (isTestBuild) {
  rmSync(".build/tests", { recursive: true, force: true }); // a renamed test must not run under its old name too
}

const { metafile } = await build({
  metafile: true,
  bundle: true,
  platform: "node",
  target: "node20",
  logLevel: "warning",
  ...(isTestBuild
    ? {
        entryPoints: readdirSync(TESTS)
          .filter((name) => name.endsWith(".test.ts"))
          .map((name) => TESTS + name),
        outdir: ".build/tests",
        outExtension: { ".js": ".mjs" },
        format: "esm",
        // The tests are outside this folder, but the packages that they import are in it.
        nodePaths: ["node_modules"],
        alias: { vscode: `${TESTS}vscode.ts` },
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

if (!isTestBuild) {
  // A packaged README may only refer to images on the web: remove the local ones.
  mkdirSync("dist", { recursive: true });
  writeFileSync("dist/inputs.json", JSON.stringify(Object.keys(metafile.inputs).sort())); // for the bill of materials
  writeFileSync("dist/README.md", readFileSync("README.md", "utf8").replace(/^!\[.*\n\n/gm, ""));
}
