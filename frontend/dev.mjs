// `npm run dev [page.html]`: the page, rebuilt and reloaded whenever a source changes. Reached from this machine only.
// Without a page it shows the payload of tests/fixture.ts; with one, what `attnscope show … --out page.html` wrote.
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { join, resolve } from "node:path";
import { deflateSync } from "node:zlib";
import { build, context } from "esbuild";
import { bundle, here } from "./bundle.mjs";

const port = Number(process.env.PORT ?? 8437);
const given = process.argv[2] && resolve(process.argv[2]);
const RELOAD = '<script>new EventSource("/changes").onmessage = () => location.reload()</script>';
const listeners = new Set();
let script = "";

async function fixture() {
  const made = await build({
    entryPoints: [join(here, "tests", "fixture.ts")],
    bundle: true,
    format: "esm",
    write: false,
  });
  const { bytes } = await import(
    `data:text/javascript;base64,${Buffer.from(made.outputFiles[0].text).toString("base64")}`
  );
  const block = deflateSync(bytes()).toString("base64");
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>attnscope, in development</title>
<style>html,body{margin:0}</style><div data-attnscope data-sites="0 1"></div>
<script type="application/json" data-attnscope-state>{"level":"neuron","layer":0,"head":0,"query":5}</script>
<script type="application/octet-stream" data-attnscope-block data-stride="1" data-sites="0 1">${block}</script><script></script>`;
}

/** The page with the script of now, without the policy that allows only the script it was written with. */
async function page() {
  const html = given ? await readFile(given, "utf8") : await fixture();
  return html
    .replace(/<meta http-equiv="Content-Security-Policy"[^>]*>/, "")
    .replace(/<script>[\s\S]*?<\/script>/, () => `<script src="/page.js"></script>${RELOAD}`);
}

const announce = {
  name: "announce",
  setup(bundler) {
    bundler.onEnd(({ errors, outputFiles }) => {
      if (errors.length) return;
      script = outputFiles[0].text;
      for (const response of listeners) response.write("data: changed\n\n");
    });
  },
};
const options = bundle("page", "iife");
const watched = await context({ ...options, sourcemap: "inline", plugins: [...options.plugins, announce] });
await watched.rebuild();
await watched.watch();

createServer(async (request, response) => {
  const path = request.url?.split("?")[0];
  try {
    if (path === "/changes") {
      response.writeHead(200, { "content-type": "text/event-stream" });
      listeners.add(response);
      request.on("close", () => listeners.delete(response));
    } else if (path === "/page.js") response.writeHead(200, { "content-type": "text/javascript" }).end(script);
    else if (path === "/") response.writeHead(200, { "content-type": "text/html" }).end(await page());
    else response.writeHead(404).end();
  } catch (error) {
    response.writeHead(500, { "content-type": "text/plain" }).end(String(error));
  }
}).listen(port, "127.0.0.1", () => console.log(`http://127.0.0.1:${port}  ${given ?? "tests/fixture.ts"}`));
