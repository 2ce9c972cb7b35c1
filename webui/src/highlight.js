// Code in colours: the core of highlight.js with the languages that assistants write most.

import hljs from "highlight.js/lib/core";
import diff from "highlight.js/lib/languages/diff";
import javascript from "highlight.js/lib/languages/javascript";
import python from "highlight.js/lib/languages/python";
import xml from "highlight.js/lib/languages/xml";
import yaml from "highlight.js/lib/languages/yaml";

/** The shell, without the long lists of its commands that the library's own grammar brings along. */
const bash = (hl) => ({
  aliases: ["sh", "shell", "zsh", "console"],
  keywords: { keyword: "if then elif else fi for while until in do done case esac function return", built_in: "cd echo export set source sudo test exit" },
  contains: [hl.HASH_COMMENT_MODE, hl.APOS_STRING_MODE, { ...hl.QUOTE_STRING_MODE, contains: [hl.BACKSLASH_ESCAPE] },
    { className: "variable", begin: /\$(?:\w+|\{[^}]*\})/ }, { className: "attr", begin: /(?<=\s)--?[\w-]+/ }],
});

const LANGUAGES = { bash, diff, javascript, python, xml, yaml };
for (const [name, grammar] of Object.entries(LANGUAGES)) hljs.registerLanguage(name, grammar);
hljs.registerAliases(["ts", "tsx", "typescript", "json", "jsonc"], { languageName: "javascript" });

const MOST = 30_000;

/** Markup of `code` with classes only (its text is escaped by the library), or null where it stays plain. */
export function highlighted(code, name) {
  if (code.length > MOST || !name || !hljs.getLanguage(name)) return null;
  return hljs.highlight(code, { language: name, ignoreIllegals: true }).value;
}
