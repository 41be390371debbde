// Prints the scripts of the first folder whose code is another one in the second folder; comments and white space don't count.
//
//   node same_code.mjs <path of the package typescript> <folder> <folder>

import { readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const [, , compiler, before, after] = process.argv;
const ts = createRequire(import.meta.url)(compiler);
const options = { compilerOptions: { removeComments: true, target: "esnext", module: "esnext" } };
const code = (folder, name) => ts.transpileModule(readFileSync(join(folder, name), "utf8"), options).outputText;

for (const name of readdirSync(before).filter((each) => each.endsWith(".js"))) {
  if (code(before, name) !== code(after, name)) console.log(name);
}
