// The words of the page, English and Chinese. `t("key", {name})` puts values in; they are text, never markup.

import { english } from "./words.en.js";
import { chinese } from "./words.zh.js";
import { settings } from "./settings.js";

const TABLES = { en: english, zh: chinese };

export function language() {
  if (settings.language in TABLES) return settings.language;
  return (navigator.languages ?? [navigator.language]).some((name) => /^zh\b/i.test(name ?? "")) &&
    !/^en\b/i.test(navigator.language ?? "") ? "zh" : "en";
}

export function t(key, values = {}) {
  const text = TABLES[language()][key] ?? english[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}

/** How long ago, in a word or two. */
export function ago(iso) {
  const seconds = (Date.now() - Date.parse(iso)) / 1000;
  if (!Number.isFinite(seconds)) return "";
  if (seconds < 60) return t("now");
  const format = new Intl.RelativeTimeFormat(language() === "zh" ? "zh-CN" : "en", { numeric: "auto", style: "narrow" });
  if (seconds < 3600) return format.format(-Math.floor(seconds / 60), "minute");
  if (seconds < 86400) return format.format(-Math.floor(seconds / 3600), "hour");
  if (seconds < 86400 * 30) return format.format(-Math.floor(seconds / 86400), "day");
  return new Date(iso).toLocaleDateString(locale());
}

export function locale() { return language() === "zh" ? "zh-CN" : "en"; }

export function moment(iso) {
  const date = new Date(iso);
  return Number.isNaN(date.getTime()) ? "" : date.toLocaleString(locale(), { dateStyle: "medium", timeStyle: "short" });
}

export function number(value) { return Number(value ?? 0).toLocaleString(locale()); }

export function bytes(value) {
  const units = ["B", "kB", "MB", "GB"];
  let amount = value, unit = 0;
  while (amount >= 1000 && unit < 3) { amount /= 1000; unit += 1; }
  return `${amount.toLocaleString(locale(), { maximumFractionDigits: unit ? 1 : 0 })} ${units[unit]}`;
}
