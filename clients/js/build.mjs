// Makes dist/ of the package: one build of the modules that the server embeds, and their types.
//
// esbuild and TypeScript come from tests/system/browser, where `./run lint` installs them.

import { cp, mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const HERE = dirname(fileURLToPath(import.meta.url));
const TOOLS = join(HERE, "../../tests/system/browser");
const MODULES = "../../../app/static/modules";
const require = createRequire(join(TOOLS, "package.json"));
const esbuild = require("esbuild");
const ts = require("typescript");

const stage = join(HERE, "build");
const target = join(HERE, "dist");
await Promise.all([stage, target].map((folder) => rm(folder, { recursive: true, force: true })));
await stageSources();
await bundle();
declareTypes();
await rm(stage, { recursive: true });

/** The sources beside the modules, as they are in the package. */
async function stageSources() {
  await mkdir(stage, { recursive: true });
  await cp(join(HERE, "src", MODULES), join(stage, "modules"), { recursive: true });
  for (const name of await readdir(join(HERE, "src"))) {
    const text = await readFile(join(HERE, "src", name), "utf8");
    await writeFile(join(stage, name), text.replaceAll(`${MODULES}/`, "./modules/"));
  }
}

async function bundle() {
  await esbuild.build({
    entryPoints: ["core", "element", "react", "vue"].map((name) => join(stage, `${name}.js`)),
    outdir: target,
    bundle: true,
    splitting: true, // the entries share one copy of the client
    format: "esm",
    minify: true,
    target: "es2022",
    charset: "utf8",
    external: ["react", "vue"],
    define: { "import.meta.url": '""' }, // an app's files may be on another origin than its pages: the page's counts
    chunkNames: "chunks/[name]-[hash]",
    logLevel: "warning",
  });
}

/** Types from the JSDoc comments. An error there fails the build. */
function declareTypes() {
  const options = {
    allowJs: true,
    checkJs: true,
    strict: true,
    declaration: true,
    emitDeclarationOnly: true,
    outDir: target,
    rootDir: stage,
    lib: ["lib.es2024.d.ts", "lib.dom.d.ts", "lib.dom.iterable.d.ts"],
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
    target: ts.ScriptTarget.ES2024,
    types: [],
    skipLibCheck: true, // Vue's own types have an error for this TypeScript
    paths: { react: [join(TOOLS, "node_modules/@types/react")], vue: [join(TOOLS, "node_modules/vue")] },
  };
  const program = ts.createProgram(["core", "element", "react", "vue"].map((name) => join(stage, `${name}.js`)), options);
  const { diagnostics } = program.emit();
  const problems = [...ts.getPreEmitDiagnostics(program), ...diagnostics];
  if (problems.length === 0) return;
  console.error(ts.formatDiagnostics(problems, { getCanonicalFileName: (name) => name, getCurrentDirectory: () => HERE, getNewLine: () => "\n" }));
  process.exit(1);
}
