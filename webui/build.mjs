// Builds the web chat into the gateway's package: `node build.mjs`, or `node build.mjs --check`, which
// writes nothing and fails where the committed files differ. The same sources and lock file give the
// same bytes: names carry the hash of what is inside, and nothing of this machine gets in.

import { createHash } from "node:crypto";
import { readFileSync, readdirSync, rmSync, writeFileSync, mkdirSync, existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const target = join(here, "..", "src", "gateway", "http", "static");
const bundled = ["marked", "dompurify", "highlight.js"];

async function bundle(entry, extension) {
  const result = await build({
    absWorkingDir: here, entryPoints: [entry], bundle: true, minify: true, write: false, format: "esm",
    target: "es2022", charset: "utf8", legalComments: "none", logLevel: "warning",
  });
  const bytes = Buffer.from(result.outputFiles[0].contents);
  return { name: hashed(extension === "css" ? "style" : "app", bytes, extension), bytes };
}

function hashed(stem, bytes, extension) {
  return `${stem}-${createHash("sha256").update(bytes).digest("hex").slice(0, 12)}.${extension}`;
}

/** DOMPurify may be had under either of two licences; of the one taken here its notice and address are what is asked for. */
const MPL = `Copyright Cure53 and other contributors. Used under the Mozilla Public License, v. 2.0, a copy of which is
at https://mozilla.org/MPL/2.0/. The source form is at https://github.com/cure53/DOMPurify.`;

function licences() {
  const parts = bundled.map((name) => {
    const about = JSON.parse(readFileSync(join(here, "node_modules", name, "package.json"), "utf8"));
    const text = name === "dompurify" ? MPL : readFileSync(join(here, "node_modules", name, "LICENSE"), "utf8").replaceAll("\r\n", "\n").trim();
    return `${name} ${about.version} (${about.license})\n\n${text}\n`;
  });
  const rule = `\n${"-".repeat(80)}\n\n`;
  return Buffer.from(`The web chat contains these works of others.\n${rule}${parts.join(rule)}`);
}

async function everything() {
  const style = await bundle("src/style/main.css", "css");
  const script = await bundle("src/main.js", "js");
  const iconBytes = readFileSync(join(here, "src", "icon.svg"));
  const icon = { name: hashed("icon", iconBytes, "svg"), bytes: iconBytes };
  const page = readFileSync(join(here, "src", "index.html"), "utf8")
    .replace("STYLE", style.name).replace("SCRIPT", script.name).replace("ICON", icon.name);
  return [
    style, script, icon,
    { name: "licences.txt", bytes: licences() },
    { name: "index.html", bytes: Buffer.from(page) },
  ];
}

function differences(files) {
  const there = existsSync(target) ? readdirSync(target) : [];
  const wanted = new Map(files.map((file) => [file.name, file.bytes]));
  const out = there.filter((name) => !wanted.has(name)).map((name) => `${name} is left over`);
  for (const [name, bytes] of wanted) {
    if (!there.includes(name)) out.push(`${name} is missing`);
    else if (!bytes.equals(readFileSync(join(target, name)))) out.push(`${name} differs`);
  }
  return out;
}

const files = await everything();
const found = differences(files);
if (process.argv.includes("--check")) {
  if (found.length) {
    console.error(`The committed web chat is not what its sources give: ${found.join(", ")}.\nRun: npm --prefix webui run build`);
    process.exit(1);
  }
  console.log("The committed web chat is what its sources give.");
} else if (found.length) {
  rmSync(target, { recursive: true, force: true });
  mkdirSync(target, { recursive: true });
  for (const { name, bytes } of files) writeFileSync(join(target, name), bytes);
  console.log(files.map((file) => `${file.name} ${file.bytes.length}`).join("\n"));
}
