// What the bundles are made with: build.mjs writes them, dev.mjs serves one.
import { readdir, readFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { transform } from "esbuild";

export const here = dirname(fileURLToPath(import.meta.url));
// Each style is imported as one string, for adoptedStyleSheets. All strings stand in one module: gzip finds what they share
// only where they are near each other.
const SHEETS = "all-sheets";
const cssAsText = {
  name: "css-as-text",
  setup(bundler) {
    bundler.onResolve({ filter: /^all-sheets$/ }, () => ({ path: SHEETS, namespace: SHEETS }));
    bundler.onLoad({ filter: /.*/, namespace: SHEETS }, async () => {
      const source = join(here, "src");
      const names = (await readdir(source, { recursive: true })).filter((name) => name.endsWith(".css")).sort();
      const lines = names.map(async (name) => {
        const path = join(source, name);
        const { code } = await transform(await readFile(path, "utf8"), { loader: "css", minify: true });
        return `export const ${nameOf(path)} = ${JSON.stringify(code)};`;
      });
      return { contents: (await Promise.all(lines)).join("\n"), resolveDir: here };
    });
    bundler.onLoad({ filter: /\.css$/ }, ({ path }) => ({
      contents: `export { ${nameOf(path)} as default } from "${SHEETS}";`,
    }));
  },
};
const nameOf = (path) => relative(here, path).replace(/\W/g, "_");

/** esbuild's options for one entry. `format`: "iife" for a script of a page, "esm" for a module. */
export const bundle = (entry, format) => ({
  entryPoints: [join(here, "src", "entries", `${entry}.ts`)],
  bundle: true,
  format,
  target: "es2022",
  charset: "ascii",
  plugins: [cssAsText],
  legalComments: "none",
  write: false,
});
