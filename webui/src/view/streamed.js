// A text that grows: cut into Markdown blocks, of which those that cannot change any more are left alone.
//
// `update` is called once per animation frame at most. Only the text from the last block on is read again,
// and only its element is made anew; the whole is read once more at the end, when references between
// blocks can be known.

import { h } from "../dom.js";
import { blocksOf, rendered, tamed } from "../markdown.js";

/** A block, and a whole text, longer than this is shown as it is: no Markdown is worth a frozen page. */
const PLAIN_BLOCK = 20_000;
const PLAIN_TEXT = 200_000;

export class StreamedText {
  constructor() {
    this.element = h("div", { class: "prose", dir: "auto" });
    this.blocks = [];
    this.settled = 0;
    this.text = "";
    this.final = false;
  }

  /** Show `text`. */
  update(text, final) {
    if (text === this.text && final === this.final) return;
    const grows = text.startsWith(this.text) && !final;
    this.text = text;
    this.final = final;
    if (grows) this.grow(tamed(text));
    else this.whole(tamed(text), final);
  }

  whole(text, final) {
    if (text.length > PLAIN_TEXT) { this.plain(0, text); return; }
    const tokens = blocksOf(text);
    this.place(0, tokens, tokens.links, final);
    this.settled = 0;
    if (!final) this.settle();
  }

  /** Read on from the last block that may still change. */
  grow(text) {
    const kept = this.blocks.findLastIndex((block) => block.until <= this.settled) + 1;
    if (text.length - this.settled > PLAIN_BLOCK) { this.plain(kept, text); return; }
    const tokens = blocksOf(text.slice(this.settled));
    this.place(kept, tokens, tokens.links, false);
    this.settle();
  }

  /** The rest from block number `first` on as it is; what comes is added to the same text node. */
  plain(first, text) {
    const there = this.blocks[first];
    if (there?.plain) {
      there.element.firstChild.appendData(text.slice(there.until));
      there.until = text.length;
      return;
    }
    for (const gone of this.blocks.splice(first)) gone.element?.remove();
    const from = first ? this.blocks[first - 1].until : 0;
    this.put(first, { raw: null, plain: true, until: text.length, final: true, element: verbatim(text.slice(from)) });
  }

  /** Put `tokens` in place of the blocks from number `first` on; a block whose source is the same stays. */
  place(first, tokens, links, final) {
    let at = first ? this.blocks[first - 1].until : 0;
    let index = first;
    for (const token of tokens) {
      const until = at + token.raw.length;
      const there = this.blocks[index];
      if (there?.raw === token.raw && (!final || there.final || !hasCode(token))) there.until = until;
      else this.put(index, { raw: token.raw, until, final, element: element(token, links, final) });
      index += 1;
      at = until;
    }
    for (const gone of this.blocks.splice(index)) gone.element?.remove();
  }

  put(index, block) {
    const there = this.blocks[index];
    if (there?.element && block.element) there.element.replaceWith(block.element);
    else {
      there?.element?.remove();
      if (block.element) {
        const next = this.blocks.slice(index + 1).find((other) => other.element);
        this.element.insertBefore(block.element, next?.element ?? null);
      }
    }
    this.blocks[index] = block;
  }

  /** All but the last block (and the blank before it) are settled: Markdown cannot reach back over two. */
  settle() {
    const last = this.blocks.findLastIndex((block) => block.element);
    this.settled = last > 0 ? this.blocks[last - 1].until : 0;
  }
}

function hasCode(token) { return ["code", "list", "blockquote"].includes(token.type); }

function element(token, links, final) {
  if (token.type === "space" || token.type === "def") return null;
  if (token.type === "plain" || (token.raw.length > PLAIN_BLOCK && token.type !== "code")) return verbatim(token.raw);
  let fragment;
  try { fragment = rendered(token, links, final); } catch { return verbatim(token.raw); }
  if (fragment.childNodes.length === 1 && fragment.firstChild.nodeType === Node.ELEMENT_NODE) return fragment.firstChild;
  return h("div", {}, [...fragment.childNodes]);
}

function verbatim(text) { return h("pre", { class: "plain-block", tabindex: "0" }, text); }
