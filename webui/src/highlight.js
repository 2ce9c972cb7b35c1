// Code in colours: the core of highlight.js with the languages that assistants write most.

import hljs from "highlight.js/lib/core";
import bash from "highlight.js/lib/languages/bash";
import diff from "highlight.js/lib/languages/diff";
import javascript from "highlight.js/lib/languages/javascript";
import json from "highlight.js/lib/languages/json";
import python from "highlight.js/lib/languages/python";
import xml from "highlight.js/lib/languages/xml";
import yaml from "highlight.js/lib/languages/yaml";

const LANGUAGES = { bash, diff, javascript, json, python, xml, yaml };
for (const [name, grammar] of Object.entries(LANGUAGES)) hljs.registerLanguage(name, grammar);
hljs.registerAliases(["ts", "tsx", "typescript"], { languageName: "javascript" });

const MOST = 30_000;

/** Markup of `code` with classes only (its text is escaped by the library), or null where it stays plain. */
export function highlighted(code, name) {
  if (code.length > MOST || !name || !hljs.getLanguage(name)) return null;
  return hljs.highlight(code, { language: name, ignoreIllegals: true }).value;
}
