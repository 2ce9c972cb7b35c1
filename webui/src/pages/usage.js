// What was used: tokens, money and tool calls by day, and how much of the day's budget is gone.

import { h } from "../dom.js";
import { locale, number, t } from "../i18n.js";
import { card, live, table } from "./parts.js";

const DAYS = 30;

export function usagePage(store) {
  const { box } = live(store, () => store.call("usage.get", { days: DAYS }), draw);
  return { title: t("usage"), element: h("div", { class: "page-body" }, box) };
}

const money = (value) => (value === null || value === undefined ? "–" : `$${Number(value).toLocaleString(locale(), { minimumFractionDigits: 2, maximumFractionDigits: 4 })}`);

function draw({ days, total, budget }) {
  const today = new Date().toISOString().slice(0, 10);
  const now = days.find((day) => day.day === today) ?? { total_tokens: 0, cost: 0 };
  return [
    h("div", { class: "figures" }, figure(t("usageTokens"), number(total.total_tokens)), figure(t("usageCost"), money(total.cost)),
      figure(t("usageTurns"), number(total.turns)), figure(t("usageCalls"), number(total.tool_calls))),
    card(t("budget"), meters(budget ?? {}, now)),
    card(t("usageDays"), days.length ? chart(days) : null,
      table([t("day"), t("inTokens"), t("outTokens"), t("usageCost"), t("usageTurns"), t("usageCalls")],
        days.map((day) => [day.day, number(day.prompt_tokens), number(day.completion_tokens), money(day.cost), number(day.turns), number(day.tool_calls)]), t("usageNone"))),
  ];
}

function figure(name, value) { return h("div", { class: "figure" }, h("strong", {}, value), h("span", {}, name)); }

function meters(budget, now) {
  const rows = [];
  if (budget.daily_tokens) rows.push(meter(now.total_tokens, budget.daily_tokens, t("budgetTokens", { used: number(now.total_tokens), all: number(budget.daily_tokens) })));
  if (budget.daily_usd) rows.push(meter(now.cost ?? 0, budget.daily_usd, t("budgetUsd", { used: Number(now.cost ?? 0).toFixed(2), all: Number(budget.daily_usd).toFixed(2) })));
  return rows.length ? rows : h("p", { class: "none" }, t("budgetNone"));
}

function meter(used, all, text) {
  return h("label", { class: "meter" }, h("span", {}, text), h("meter", { min: "0", max: all, high: all * 0.8, optimum: "0", value: Math.min(used, all) }));
}

function chart(days) {
  const byDay = new Map(days.map((day) => [day.day, day.total_tokens]));
  const most = Math.max(1, ...byDay.values());
  const bars = Array.from({ length: DAYS }, (_, index) => {
    const day = new Date(Date.now() - (DAYS - 1 - index) * 86_400_000).toISOString().slice(0, 10);
    const bar = h("span", { class: "chart-bar", title: `${day}: ${number(byDay.get(day) ?? 0)}` });
    bar.style.height = `${Math.max(byDay.has(day) ? 4 : 1, ((byDay.get(day) ?? 0) / most) * 100)}%`;
    return bar;
  });
  return h("div", { class: "chart", role: "img", "aria-label": t("usageDays") }, bars);
}
