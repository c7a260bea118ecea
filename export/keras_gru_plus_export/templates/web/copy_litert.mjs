// Copies what the page needs of LiteRT.js from node_modules into public/, which is then a complete static site.
import { cpSync, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const require = createRequire(import.meta.url);
const target = join(here, "public", "litert");
const core = dirname(dirname(require.resolve("@litertjs/core")));

mkdirSync(join(target, "wasm"), { recursive: true });
cpSync(join(core, "dist", "index.js"), join(target, "core.js"));
cpSync(require.resolve("@litertjs/wasm-utils"), join(target, "wasm-utils.js"));
// With relaxed SIMD, and for older browsers without; one thread, since a step takes microseconds.
for (const name of ["litert_wasm_internal", "litert_wasm_compat_internal"]) {
  for (const ending of ["js", "wasm"]) {
    cpSync(join(core, "wasm", `${name}.${ending}`), join(target, "wasm", `${name}.${ending}`));
  }
}
console.log("public/ is complete: `npm start` serves it, and any static web server can.");
