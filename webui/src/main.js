// The page: logs in, builds the shell, and decides by the fragment what is shown. All routes are fragments of
// this one page (`#/c/KEY`, `#/bridge`, …); nothing in the URL can name another server.

import { fill, h, icon, iconButton } from "./dom.js";
import { language, t } from "./i18n.js";
import { login, takeCode } from "./login.js";
import { tamed } from "./model/values.js";
import { mountAnnouncer, say } from "./say.js";
import { applyTheme } from "./settings.js";
import { Store } from "./store.js";
import { Approvals } from "./view/approvals.js";
import { Badge } from "./view/badge.js";
import { Composer } from "./view/composer.js";
import { Log } from "./view/log.js";
import { loginPage } from "./view/login.js";
import { Questions } from "./view/questions.js";
import { Sidebar } from "./view/sidebar.js";
import { pageFor } from "./pages/pages.js";
import { shortcuts } from "./shortcuts.js";

const store = new Store();
let shell = null;
let seekSeq = null;
/** Where the side bar is a drawer that lies over the rest. */
const narrow = matchMedia("(max-width: 860px)");

const actions = {
  send: (text, media = [], replaces = null) => { shell.log.pinned = true; store.send(text, media, replaces); },
  stop: () => store.stop(),
  edit: (turn) => shell.composer.edit(turn),
  retry: (turn) => store.again(turn),
  review: (approval) => shell.approvals.review(approval),
  busy: (busy) => shell.composer.busy(busy),
  newChat: () => { actions.drawer(false); actions.go(`#/c/${store.newKey()}`); },
  go: (hash) => { if (location.hash === hash) route(); else location.hash = hash; },
  openAt(key, seq) {
    actions.drawer(false);
    seekSeq = seq;
    actions.go(`#/c/${encodeURIComponent(key)}`);
  },
  drawer(open) {
    const within = shell.sidebar.element.contains(document.activeElement);
    shell.element.classList.toggle("drawer-open", open);
    shell.menu.setAttribute("aria-expanded", String(open));
    shell.stage.inert = open && narrow.matches;
    if (open) shell.sidebar.field.focus();
    else if (within && narrow.matches) shell.menu.focus();
  },
  problem: toast,
};

function toast(text) {
  const box = h("div", { class: "toast" }, icon("warning"), h("span", {}, text), iconButton("close", t("close"), () => box.remove()));
  document.getElementById("toasts").append(box);
  say(text);
  setTimeout(() => box.remove(), 8000);
}

function mount() {
  document.documentElement.lang = language() === "zh" ? "zh-CN" : "en";
  const sidebar = new Sidebar(store, actions), log = new Log(store, actions), composer = new Composer(store, actions);
  const badge = new Badge(store), approvals = new Approvals(store);
  const menu = iconButton("menu", t("menu"), () => actions.drawer(!shell.element.classList.contains("drawer-open")), { class: "icon-button only-narrow", "aria-expanded": "false", "aria-controls": "side" });
  const title = h("h1", { class: "page-title" });
  const state = h("div", { class: "connection", role: "status" });
  const chat = h("section", { class: "chat" }, log.element, h("div", { class: "composer-frame" }, composer.element));
  const page = h("section", { class: "page", hidden: true, tabindex: "-1" });
  const stage = h("main", { class: "stage" }, h("header", { class: "top" }, menu, title, badge.element), state, chat, page);
  const element = h("div", { class: "shell" },
    h("a", { class: "skip", href: "#message", onclick: (event) => { event.preventDefault(); composer.text.focus(); } }, t("skip")),
    sidebar.element, h("div", { class: "veil", onclick: () => actions.drawer(false) }), stage);
  shell = { element, stage, sidebar, log, composer, badge, approvals, menu, title, state, chat, page };
}

function drawState() {
  const words = { connecting: t("connecting"), reconnecting: t("reconnecting"), replaced: t("replaced") };
  const text = words[store.state];
  shell.state.hidden = !text;
  if (shell.state.textContent !== (text ?? "")) fill(shell.state, text ?? "");
  document.documentElement.dataset.connection = store.state;
}

function drawTitle() {
  const session = store.sessions.find((other) => other.session_key === store.open?.key);
  const onChat = !shell.chat.hidden;
  const title = onChat ? tamed(session?.title || t("untitled")) : shell.pageTitle;
  shell.title.textContent = title;
  document.title = `${onChat && store.open?.running ? "… " : ""}${title} – ${t("app")}`;
}

function show(element) {
  const toasts = h("div", { id: "toasts", class: "toasts" });
  for (const child of [...document.body.children]) if (!child.matches("dialog, #announcer")) child.remove();
  document.body.prepend(element, toasts);
}

async function route() {
  if (!shell || !store.me) return;
  const [, name, rest] = location.hash.split("/");
  const page = name && name !== "c" ? pageFor(name, store, actions) : null;
  shell.leave?.();
  shell.leave = page?.leave;
  shell.chat.hidden = Boolean(page);
  shell.page.hidden = !page;
  if (page) {
    shell.pageTitle = page.title;
    fill(shell.page, page.element);
    shell.page.scrollTop = 0;
    shell.page.focus({ preventScroll: true });
  } else {
    let key = store.open?.key ?? store.defaultKey();
    if (name === "c" && rest) { try { key = decodeURIComponent(rest); } catch { /* not a key: the open conversation */ } }
    const seek = seekSeq;
    seekSeq = null;
    await store.show(key);
    if (seek !== null) await shell.log.find(seek);
  }
  shell.sidebar.draw();
  drawTitle();
}

function onState() {
  if (store.state === "login") {
    if (shell) loginNotice = t("loginOver");
    shell?.approvals.dialog.remove();
    shell = null;
    store.me = null;
    store.open = null;
    show(loginPage({ notice: loginNotice, done: () => location.reload() }));
    document.title = t("loginTitle");
    document.documentElement.dataset.connection = "login";
    return;
  }
  if (shell) drawState();
}

let loginNotice = null;

/** Use the login link that the page was opened by, or that was pasted over its address; null where it is none. */
function enter(done) {
  const code = takeCode();
  return code && login(code).then(done, (error) => {
    loginNotice = error.code === 1001 ? t("loginBad") : error.message;
    if (shell) toast(loginNotice);
    else if (done) onState();
  });
}

store.on("state", onState);
store.on("me", () => {
  loginNotice = null;
  if (shell && document.body.contains(shell.element)) return;
  mount();
  show(shell.element);
  drawState();
  route();
});
store.on("problem", toast);
for (const topic of ["sessions", "open", "shape"]) store.on(topic, () => { if (shell) drawTitle(); });
addEventListener("hashchange", () => { if (!enter(() => location.reload())) route(); });
narrow.addEventListener("change", () => { if (shell) actions.drawer(false); });
for (const kind of ["dragover", "drop"]) {
  addEventListener(kind, (event) => { // else the browser leaves the page for the file
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    if (kind === "drop" && shell && !shell.chat.hidden) shell.composer.add(event.dataTransfer.files);
  });
}
shortcuts(store, actions, () => shell);
new Questions(store);

applyTheme();
mountAnnouncer();
await enter();
store.rpc.connect();
