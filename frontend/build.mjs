// Builds the bundles that Python ships: page.js (inline script of a page), widget.js (anywidget module), serve.js (the server's page).
import { mkdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { bundle, here } from "./bundle.mjs";

const out = join(here, "..", "src", "attnscope", "static");
const LIMIT = 150_000; // bytes after gzip, per bundle

await mkdir(out, { recursive: true });
for (const [entry, format] of [
  ["page", "iife"],
  ["widget", "esm"],
  ["serve", "iife"],
]) {
  const result = await build({ ...bundle(entry, format), minify: !process.env.DEV });
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
