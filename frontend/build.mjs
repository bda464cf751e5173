// Builds the bundles that Python ships: page.js (inline script of a page), widget.js (anywidget module), serve.js (the server's page).
import { mkdir, readdir, readFile, rename, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build, transform } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, "..", "src", "attnscope", "static");
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
const LIMIT = 150_000; // bytes after gzip, per bundle

await mkdir(out, { recursive: true });
for (const [entry, format] of [
  ["page", "iife"],
  ["widget", "esm"],
  ["serve", "iife"],
]) {
  const result = await build({
    entryPoints: [join(here, "src", "entries", `${entry}.ts`)],
    bundle: true,
    minify: !process.env.DEV,
    format,
    target: "es2022",
    charset: "ascii",
    plugins: [cssAsText],
    legalComments: "none",
    write: false,
  });
  // "</script" inside an inline script would end it
  const text = result.outputFiles[0].text.replaceAll("</script", "<\\/script");
  // esbuild leaves regular expressions as they are
  const foreign = text.match(/[^\n\r\t -~]/u);
  if (foreign) throw new Error(`${entry}.js holds ${JSON.stringify(foreign[0])}: write it as an escape`);
  const size = gzipSync(text).length;
  if (size > LIMIT) throw new Error(`${entry}.js is ${size} bytes after gzip, more than ${LIMIT}`);
  const target = join(out, `${entry}.js`);
  await writeFile(`${target}.part`, text);
  await rename(`${target}.part`, target);
  console.log(`${entry}.js  ${text.length} bytes, ${size} after gzip`);
}
