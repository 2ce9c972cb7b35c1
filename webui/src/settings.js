// What a person chose for this browser: language, colours, which key sends. Nothing secret is kept.

const DEFAULTS = { language: "", theme: "auto", sendWith: "enter" };
const KEY = "chat.settings";

function read() {
  try {
    const found = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    return { ...DEFAULTS, ...(found && typeof found === "object" ? found : {}) };
  } catch {
    return { ...DEFAULTS };
  }
}

export const settings = read();

export function choose(name, value) {
  settings[name] = value;
  try { localStorage.setItem(KEY, JSON.stringify(settings)); } catch { /* a browser that keeps nothing: for this visit only */ }
  if (name === "theme") applyTheme();
}

export function applyTheme() {
  if (settings.theme === "light" || settings.theme === "dark") document.documentElement.dataset.theme = settings.theme;
  else delete document.documentElement.dataset.theme;
}
