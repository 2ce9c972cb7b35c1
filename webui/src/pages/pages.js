// The pages beside the chat, by the word in the fragment. Each gives `{title, element, leave?}`.

import { adminPage } from "./admin.js";
import { bridgePage } from "./bridge.js";
import { settingsPage } from "./settings.js";
import { usagePage } from "./usage.js";

const PAGES = { bridge: bridgePage, usage: usagePage, admin: adminPage, settings: settingsPage };

export function pageFor(name, store, actions) {
  const make = Object.hasOwn(PAGES, name) ? PAGES[name] : null;
  return make ? make(store, actions) : null;
}
