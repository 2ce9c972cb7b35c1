// A browser at the end of two pipes: a JSON command a line in, its result a line out. The tests are in Python,
// where the gateways and bridges are; this only does in headless Chromium what it is told.

import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const [modules, executablePath, userData] = process.argv.slice(2);
const require = createRequire(`${modules}/package.json`);
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const browser = await chromium.launch({
  executablePath, headless: true,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--autoplay-policy=no-user-gesture-required"],
});
const pages = new Map();

async function open({ page: name, width = 1280, height = 800, dark = false, locale = "en-US", reduced = false, touch = false }) {
  const context = await browser.newContext({
    viewport: { width, height }, colorScheme: dark ? "dark" : "light", locale, reducedMotion: reduced ? "reduce" : "no-preference", hasTouch: touch,
    permissions: ["clipboard-read", "clipboard-write", "microphone"], deviceScaleFactor: width < 600 ? 2 : 1,
  });
  const page = await context.newPage();
  const seen = { errors: [], requests: [], sockets: [], dialogs: [] };
  page.on("console", (message) => { if (["error", "warning"].includes(message.type())) seen.errors.push(`${message.type()}: ${message.text()}`); });
  page.on("pageerror", (error) => seen.errors.push(`exception: ${error.message}`));
  page.on("request", (request) => seen.requests.push(request.url()));
  page.on("websocket", (socket) => seen.sockets.push(socket.url()));
  page.on("dialog", (dialog) => { seen.dialogs.push(dialog.message()); dialog.dismiss(); });
  context.on("page", (other) => { if (other !== page) seen.dialogs.push(`window: ${other.url()}`); });
  pages.set(name, { context, page, seen });
}

const commands = {
  open,
  close: async ({ page }) => { await pages.get(page).context.close(); pages.delete(page); },
  goto: async ({ page, url }) => { await pages.get(page).page.goto(url); },
  reload: async ({ page }) => { await pages.get(page).page.reload(); },
  click: async ({ page, selector, seconds = 5 }) => { await pages.get(page).page.locator(selector).first().click({ timeout: seconds * 1000 }); },
  hover: async ({ page, selector }) => { await pages.get(page).page.locator(selector).first().hover({ timeout: 5000 }); },
  fill: async ({ page, selector, text }) => { await pages.get(page).page.locator(selector).first().fill(text, { timeout: 5000 }); },
  choose: async ({ page, selector, value }) => { await pages.get(page).page.locator(selector).first().selectOption(value, { timeout: 5000 }); },
  press: async ({ page, key, selector }) => { const target = pages.get(page).page; await (selector ? target.locator(selector).first().press(key) : target.keyboard.press(key)); },
  type: async ({ page, text }) => { await pages.get(page).page.keyboard.type(text); },
  files: async ({ page, selector, files }) => { await pages.get(page).page.locator(selector).first().setInputFiles(files.map((file) => ({ ...file, buffer: Buffer.from(file.base64, "base64") }))); },
  evaluate: async ({ page, code }) => pages.get(page).page.evaluate(code),
  until: async ({ page, code, seconds = 10 }) => {
    // asked again and again through the debugger: a function made in the page would be refused by its policy
    for (const end = Date.now() + seconds * 1000; ;) {
      if (await pages.get(page).page.evaluate(code)) return;
      if (Date.now() > end) throw new Error(`never came true within ${seconds} s: ${code}`);
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  },
  see: async ({ page, selector, state = "visible", seconds = 10 }) => { await pages.get(page).page.locator(selector).first().waitFor({ state, timeout: seconds * 1000 }); },
  text: async ({ page, selector }) => pages.get(page).page.locator(selector).first().innerText({ timeout: 5000 }),
  offline: async ({ page, offline }) => { await pages.get(page).context.setOffline(offline); },
  seen: async ({ page }) => pages.get(page).seen,
  forget: async ({ page }) => { Object.assign(pages.get(page).seen, { errors: [], requests: [], sockets: [], dialogs: [] }); },
  picture: async ({ page, path }) => { await pages.get(page).page.screenshot({ path, animations: "disabled", caret: "hide" }); },
  compose: async ({ page, text, commit }) => {
    const { context, page: target } = pages.get(page);
    const session = await context.newCDPSession(target);
    if (commit) await session.send("Input.insertText", { text });
    else await session.send("Input.imeSetComposition", { text, selectionStart: text.length, selectionEnd: text.length });
    await session.detach();
  },
  axe: async ({ page }) => {
    // evaluated by the debugger's protocol, which the page's policy does not bind
    const target = pages.get(page).page;
    await target.evaluate(axe);
    // what fades in is judged when it is there
    await target.evaluate(() => Promise.allSettled(document.getAnimations().filter((one) => one.effect.getComputedTiming().iterations < 10).map((one) => one.finished)));
    const { violations } = await target.evaluate(() => window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
    return violations.map(({ id, impact, help, nodes }) => ({ id, impact, help, nodes: nodes.map((node) => `${node.target.join(" ")}: ${node.failureSummary}`) }));
  },
};

const lines = createInterface({ input: process.stdin });
console.log(JSON.stringify({ ready: true, version: browser.version() }));
for await (const line of lines) {
  const { id, does, ...given } = JSON.parse(line);
  commands[does](given).then((result) => console.log(JSON.stringify({ id, result: result ?? null })), (error) => console.log(JSON.stringify({ id, error: String(error.message ?? error) })));
}
await browser.close();
process.exit(0);
