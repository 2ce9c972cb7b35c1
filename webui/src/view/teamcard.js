// The sub-agents of a turn: who does what, and how far they are.

import { fill, h, icon } from "../dom.js";
import { language, t } from "../i18n.js";

export class TeamCard {
  constructor(part) {
    this.part = part;
    this.rows = h("ul", {});
    this.element = h("section", { class: "team", "aria-label": t("team") }, h("div", { class: "team-head" }, icon("team"), t("team")), this.rows);
    this.lang = language();
  }

  draw() {
    fill(this.rows, this.part.agents.map(({ agent, state, text }) => {
      const key = `agent_${state}`;
      const word = t(key) === key ? state : t(key);
      return h("li", { "data-state": state }, h("span", { class: "dot", "aria-hidden": "true" }), h("b", {}, agent),
        h("span", { class: "team-text" }, text), h("span", { class: "team-state" }, word));
    }));
  }
}
