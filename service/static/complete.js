// A text box that suggests tags by all the names that people use for them.

import { colour, getJson, make, number, typed } from "./dom.js";
import { t } from "./words.js";

const TYPING_MS = 100;
const WORDS_OF_A_NAME = 3;
const TOGETHER = 8; // suggestions for several words; those for the last one follow

export class Complete {
  #input;
  #list;
  #asking = null;
  #typing = null;
  #active = -1;
  #offered = []; // what each line of the list stands for, and which part of the text it replaces
  #path;
  #choose;
  #enter;
  #word;

  /**
   * `choose({tag, name, negative})` takes a suggestion, `enter(text)` what was typed.
   * `word`: of a query, only what is typed last is looked for: up to three words, for a tag may be called by several.
   */
  constructor(input, list, { choose, enter = null, path = "/page/tags", word = false }) {
    this.#input = input;
    this.#list = list;
    this.#path = path;
    this.#choose = choose;
    this.#enter = enter;
    this.#word = word;
    input.addEventListener("input", () => {
      clearTimeout(this.#typing);
      this.#typing = setTimeout(() => this.#suggest(), TYPING_MS);
    });
    input.addEventListener("keydown", (event) => this.#key(event));
    input.addEventListener("blur", () => this.hide());
  }

  hide() {
    clearTimeout(this.#typing);
    this.#asking?.abort();
    this.#list.hidden = true;
    this.#active = -1;
    this.#input.setAttribute("aria-expanded", "false");
    this.#input.removeAttribute("aria-activedescendant");
  }

  /** What may be meant as one name, the longest first: what is typed before it, a minus before it, and itself. */
  #parts() {
    const text = this.#input.value;
    if (!this.#word) return [{ before: "", minus: "", word: text.trim() }];
    const [, before, minus, word] = text.match(/^(.*?)(-?)((?:"[^"]*"?|[^\s"()])*)$/su) ?? [null, "", "", text];
    const parts = [{ before, minus, word: word.replace(/^"|"$/g, "") }];
    while (word && !minus && !word.includes('"') && parts.length < WORDS_OF_A_NAME && !parts[0].minus) {
      const [shorter] = parts;
      const found = shorter.before.match(/^(.*\s|)(-?)([^\s"():]+)\s+$/su);
      if (!found || found[3].toLowerCase() === "or") break;
      parts.unshift({ before: found[1], minus: found[2], word: `${found[3]} ${shorter.word}` });
    }
    return parts;
  }

  async #suggest() {
    this.#asking?.abort();
    const parts = this.#parts();
    if (!parts.at(-1).word) return this.hide();
    const asking = (this.#asking = new AbortController());
    const ask = async (part) => {
      const found = await getJson(this.#path, { q: part.word, prefix: part.word }, asking.signal);
      const some = Array.isArray(found) ? found : [...found.found, ...found.near];
      return some.map((one) => ({ ...one, tag: one.tag ?? one.concept, part }));
    };
    try {
      const found = await Promise.all(parts.map(ask));
      if (asking.signal.aborted) return undefined;
      const single = found.pop();
      const together = found.flat().filter(({ how }) => how !== "typo").slice(0, TOGETHER);
      const tags = new Set(together.map(({ tag }) => tag));
      this.#offer([...together, ...single.filter(({ tag }) => !tags.has(tag))]);
    } catch {
      // typed on, or the service is away, which the grid says
    }
  }

  #offer(found) {
    this.#active = -1;
    this.#offered = found;
    this.#list.replaceChildren(
      ...found.map((one, at) => {
        const { tag, part: { word } } = one;
        const by = one.via && one.via !== one.name && one.via !== tag ? one.via : "";
        return make(
          "li",
          {
            role: "option", id: `${this.#list.id}-${at}`, class: colour(one.category), "data-tag": tag, "aria-selected": "false",
            mousedown: (event) => event.preventDefault(), // keeps the focus in the box
            click: () => this.#take(at),
          },
          make("span", {}, ...marked(one.name, word), one.name !== tag && make("i", {}, tag), by && make("i", {}, "← ", ...marked(by, word))),
          one.pictures !== undefined && make("small", {}, number(one.pictures)),
        );
      }),
    );
    this.#list.hidden = found.length === 0 || document.activeElement !== this.#input;
    this.#input.setAttribute("aria-expanded", String(!this.#list.hidden));
    this.#input.removeAttribute("aria-activedescendant");
  }

  #take(at) {
    const { tag, name, part: { before, minus } } = this.#offered[at];
    this.#input.value = before.trim();
    this.hide();
    this.#choose({ tag, name, negative: minus === "-", before: before.trim() });
  }

  #key(event) {
    if (event.isComposing) return; // Enter ends what an input method composes
    const options = this.#list.hidden ? [] : [...this.#list.children];
    if (event.key === "Enter" && this.#active >= 0 && options.length) this.#take(this.#active);
    else if (event.key === "Enter" && this.#enter) {
      this.hide();
      if (this.#word || typed(this.#input)) this.#enter(this.#input.value.trim());
    } else if (event.key === "Enter" && options.length) this.#take(0);
    else if (event.key === "Enter") typed(this.#input);
    else if (event.key === "Escape" && options.length) {
      event.stopPropagation();
      this.hide();
    } else if (["ArrowDown", "ArrowUp"].includes(event.key) && options.length) this.#move(options, event.key === "ArrowDown" ? 1 : -1);
    else return;
    event.preventDefault();
  }

  #move(options, by) {
    options[this.#active]?.setAttribute("aria-selected", "false");
    this.#active = (Math.max(this.#active, by < 0 ? 0 : -1) + by + options.length) % options.length;
    const option = options[this.#active];
    option.setAttribute("aria-selected", "true");
    option.scrollIntoView({ block: "nearest" });
    this.#input.setAttribute("aria-activedescendant", option.id);
  }
}

/** The text with what was typed set in bold. */
function marked(text, word) {
  const plain = (one) => one.toLowerCase().replaceAll("_", " ");
  const at = plain(text).indexOf(plain(word));
  if (at < 0) return [text];
  return [text.slice(0, at), make("b", {}, text.slice(at, at + word.length)), text.slice(at + word.length)];
}

/** A box with suggestions: [element, input]. */
export function box(id, placeholder, options) {
  const list = make("ul", { class: "suggestions", id: `${id}-list`, role: "listbox", hidden: true });
  const input = make("input", {
    id, type: "text", placeholder: t(placeholder), "aria-label": t(placeholder), autocomplete: "off", autocapitalize: "off", spellcheck: "false",
    role: "combobox", "aria-expanded": "false", "aria-controls": `${id}-list`, "aria-autocomplete": "list", maxlength: "500",
  });
  new Complete(input, list, options);
  return make("div", { class: "box" }, input, list);
}
