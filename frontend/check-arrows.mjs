// Imports point downwards, from room to room, and never in a circle. `node check-arrows.mjs [folder]` fails where one does.
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";

/** From the top down: a room imports from itself and from those below. */
const ROOMS = ["entries", "app", "levels", "heads", "scene", "chain", "data", "base", "generated"];
/** The only module of `app` that knows the levels by name. */
const REGISTRY = join("app", "level-registry.ts");

const root = resolve(process.argv[2] ?? join(dirname(fileURLToPath(import.meta.url)), "src"));
const files = readdirSync(root, { recursive: true }).filter((name) => name.endsWith(".ts") && !name.endsWith(".d.ts"));
const imports = new Map(files.map((file) => [file, importsOf(file)]));

/** Static and dynamic imports, exports from elsewhere, types too. */
function importsOf(file) {
  const text = readFileSync(join(root, file), "utf8");
  return [...text.matchAll(/\b(?:from|import)\s*\(?\s*"(\.[^"]*)"/g)]
    .map(([, name]) => relative(root, resolve(root, dirname(file), name)))
    .map((target) => (/\.(css|json)$/.test(target) ? target : `${target}.ts`));
}

const troubles = [];
for (const [file, targets] of imports) {
  const [room, level] = file.split(sep);
  for (const target of targets) {
    const [there, other] = target.split(sep);
    const [from, to] = [ROOMS.indexOf(room), ROOMS.indexOf(there)];
    if (from < 0) troubles.push(`${file}: "${room}" is not a room; the rooms are ${ROOMS.join(", ")}`);
    else if (to < from) troubles.push(`${file} imports ${target}: ${room} lies below ${there}`);
    else if (room === "levels" && there === "levels" && other !== level)
      troubles.push(
        `${file} imports ${target}: a level does not know another; what both need belongs in heads or below`,
      );
    else if (room === "app" && there === "levels" && file !== REGISTRY)
      troubles.push(`${file} imports ${target}: app knows the levels through ${REGISTRY} alone`);
  }
}

// depth first; a file that is met again while it is still open closes a circle
const done = new Set();
function walk(file, path) {
  if (path.includes(file)) troubles.push(`a circle: ${[...path.slice(path.indexOf(file)), file].join(" → ")}`);
  if (path.includes(file) || done.has(file)) return;
  for (const target of imports.get(file) ?? []) walk(target, [...path, file]);
  done.add(file);
}
for (const file of files) walk(file, []);

for (const line of troubles) console.error(line);
console.log(
  `${files.length} modules, ${troubles.length === 0 ? "all arrows downwards, no circle" : `${troubles.length} wrong`}`,
);
process.exitCode = troubles.length ? 1 : 0;
