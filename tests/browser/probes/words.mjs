// A small program that a test runs over the page's own modules; what it prints is compared there.

import { english } from '../../../webui/src/words.en.js'; import { chinese } from '../../../webui/src/words.zh.js';
const holes = (text) => (text.match(/\{\w+\}/g) ?? []).sort().join();
console.log(JSON.stringify({ missing: Object.keys(english).filter((key) => !(key in chinese)), more: Object.keys(chinese).filter((key) => !(key in english)),
  holes: Object.keys(english).filter((key) => holes(english[key]) !== holes(chinese[key] ?? '')), keys: Object.keys(english) }));
