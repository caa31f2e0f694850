// A text box that suggests tags by all the names that people use for them.

import { colour, getJson, make, number } from "./dom.js";
import { t } from "./words.js";

const TYPING_MS = 100;

export class Complete {
  #input;
  #list;
  #asking = null;
  #typing = null;
  #active = -1;
  #path;
  #choose;
  #enter;
  #word;

  /**
   * `choose({tag, name, negative})` takes a suggestion, `enter(text)` what was typed.
   * `word`: of a query, only what is typed last is looked for.
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

  /** What is typed before the last word, a minus before it, and the word. */
  #parts() {
    const text = this.#input.value;
    if (!this.#word) return { before: "", minus: "", word: text.trim() };
    const [, before, minus, word] = text.match(/^(.*?)(-?)((?:"[^"]*"?|[^\s"()])*)$/su) ?? [null, "", "", text];
    return { before, minus, word: word.replace(/^"|"$/g, "") };
  }

  async #suggest() {
    this.#asking?.abort();
    const { word } = this.#parts();
    if (!word) return this.hide();
    const asking = (this.#asking = new AbortController());
    try {
      const found = await getJson(this.#path, { q: word, prefix: word }, asking.signal);
      if (!asking.signal.aborted) this.#offer(Array.isArray(found) ? found : [...found.found, ...found.near], word);
    } catch {
      // typed on, or the service is away, which the grid says
    }
  }

  #offer(found, word) {
    this.#active = -1;
    this.#list.replaceChildren(
      ...found.map((one, at) => {
        const tag = one.tag ?? one.concept;
        const by = one.via && one.via !== one.name && one.via !== tag ? one.via : "";
        return make(
          "li",
          {
            role: "option", id: `${this.#list.id}-${at}`, class: colour(one.category), "data-tag": tag, "data-name": one.name, "aria-selected": "false",
            mousedown: (event) => event.preventDefault(), // keeps the focus in the box
            click: () => this.#take({ tag, name: one.name }),
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

  #take({ tag, name }) {
    const { before, minus } = this.#parts();
    this.#input.value = before.trim();
    this.hide();
    this.#choose({ tag, name, negative: minus === "-", before: before.trim() });
  }

  #key(event) {
    if (event.isComposing) return; // Enter ends what an input method composes
    const options = this.#list.hidden ? [] : [...this.#list.children];
    if (event.key === "Enter" && this.#active >= 0 && options.length) this.#take({ ...options[this.#active].dataset });
    else if (event.key === "Enter" && this.#enter) {
      this.hide();
      this.#enter(this.#input.value.trim());
    } else if (event.key === "Enter" && options.length) this.#take({ ...options[0].dataset });
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
  const at = text.toLowerCase().indexOf(word.toLowerCase());
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
