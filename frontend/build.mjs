// Builds the bundles that Python ships: page.js (inline script of a page), widget.js (anywidget module), serve.js (the server's page), edits.js (beside the last two).
import { mkdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { minify } from "@swc/core";
import { build } from "esbuild";
import { bundle, here } from "./bundle.mjs";

const out = join(here, "..", "src", "attnscope", "static");
const LIMIT = 155_000; // bytes after gzip, per bundle
const OF_EDITS = 9_000; // of what live views alone have

await mkdir(out, { recursive: true });
for (const [entry, format] of [
  ["page", "iife"],
  ["widget", "esm"],
  ["serve", "iife"],
  ["edits", "iife"],
]) {
  const result = await build({ ...bundle(entry, format), minify: !process.env.DEV });
  const [{ text: bundled }] = result.outputFiles;
  // A second minifier follows names and branches across the whole bundle: 3 % less after gzip
  const { code } = process.env.DEV
    ? { code: bundled }
    : await minify(bundled, {
        compress: { passes: 3, ecma: 2020 },
        mangle: true,
        ecma: 2020,
        module: format === "esm",
        format: { asciiOnly: true },
      });
  // "</script" inside an inline script would end it
  const text = code.replaceAll("</script", "<\\/script");
  // esbuild leaves regular expressions as they are
  const foreign = text.match(/[^\n\r\t -~]/u);
  if (foreign) throw new Error(`${entry}.js holds ${JSON.stringify(foreign[0])}: write it as an escape`);
  const size = gzipSync(text).length;
  const limit = entry === "edits" ? OF_EDITS : LIMIT;
  if (size > limit) throw new Error(`${entry}.js is ${size} bytes after gzip, more than ${limit}`);
  const target = join(out, `${entry}.js`);
  await writeFile(`${target}.part`, text);
  await rename(`${target}.part`, target);
  console.log(`${entry}.js  ${text.length} bytes, ${size} after gzip`);
}
