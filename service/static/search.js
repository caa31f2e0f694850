// The search box: chips for whole tags, suggestions for what is being typed, and the category.

import { byId, colour, getJson, make, number } from "./dom.js";

const TYPING_MS = 120;

export class Search {
  #input = byId("input");
  #list = byId("suggestions");
  #state = null;
  #change;
  #typing = null;
  #asking = null;
  #active = -1;

  constructor({ change }) {
    this.#change = change;
    this.#input.addEventListener("input", () => {
      clearTimeout(this.#typing);
      this.#typing = setTimeout(() => this.#typed(), TYPING_MS);
    });
    this.#input.addEventListener("keydown", (event) => this.#key(event));
    this.#input.addEventListener("focus", () => this.#input.value && this.#suggest());
    this.#input.addEventListener("blur", () => this.#hide());
    byId("search").addEventListener("click", ({ target }) => target.closest("button, li") || this.#input.focus());
  }

  show(state, summary) {
    this.#state = state;
    if (this.#typing === null && this.#input.value.trim() !== state.q) this.#input.value = state.q;
    byId("chips").replaceChildren(...state.tags.map((tag) => this.#chip(tag)));
    this.#input.placeholder = state.tags.length ? "and …" : "Search tags: long finds long_hair";
    this.showCategories(state, summary);
  }

  showCategories({ category }, summary) {
    const choices = ["", ...(summary?.categories ?? [])];
    byId("categories").replaceChildren(
      ...(choices.length < 2 ? [] : choices).map((name) =>
        make(
          "button",
          { class: colour(name), "aria-pressed": String(name === category), click: () => this.#change({ category: name }) },
          name || "All",
        ),
      ),
    );
  }

  #chip(tag) {
    const remove = () => this.#change({ tags: this.#state.tags.filter((other) => other !== tag) });
    return make("li", {}, tag, make("button", { "aria-label": `Remove ${tag}`, click: remove }, "×"));
  }

  #typed() {
    this.#typing = null;
    this.#change({ q: this.#input.value.trim() }, { replace: true });
    this.#suggest();
  }

  async #suggest() {
    this.#asking?.abort();
    const word = this.#input.value.trim();
    if (!word) return this.#hide();
    const asking = (this.#asking = new AbortController());
    const last = word.split(/\s+/).at(-1);
    try {
      const found = await getJson("/page/tags", { q: last }, asking.signal);
      const fresh = found.filter(({ tag, category }) => !this.#state.tags.includes(tag) && [category, ""].includes(this.#state.category));
      if (!asking.signal.aborted) this.#offer(fresh, last);
    } catch {
      // typed on, or the service is away, which the grid says
    }
  }

  #offer(found, word) {
    this.#active = -1;
    this.#list.replaceChildren(
      ...found.map(({ tag, category, pictures }, at) =>
        make(
          "li",
          {
            role: "option", id: `suggestion-${at}`, class: colour(category), "data-tag": tag, "aria-selected": "false",
            mousedown: (event) => event.preventDefault(), // keeps the focus in the box
            click: () => this.#take(tag),
          },
          make("span", {}, ...marked(tag, word)),
          make("small", {}, number(pictures)),
        ),
      ),
    );
    this.#list.hidden = found.length === 0 || document.activeElement !== this.#input;
    this.#input.setAttribute("aria-expanded", String(!this.#list.hidden));
    this.#input.removeAttribute("aria-activedescendant");
  }

  #hide() {
    this.#asking?.abort();
    this.#list.hidden = true;
    this.#active = -1;
    this.#input.setAttribute("aria-expanded", "false");
    this.#input.removeAttribute("aria-activedescendant");
  }

  /** The tag becomes a chip in place of the word that was being typed. */
  #take(tag) {
    clearTimeout(this.#typing);
    this.#typing = null;
    const words = this.#input.value.trim().split(/\s+/).slice(0, -1).join(" ");
    this.#input.value = words;
    this.#hide();
    this.#change({ tags: [...this.#state.tags.filter((other) => other !== tag), tag], q: words });
  }

  #key(event) {
    const options = this.#list.hidden ? [] : [...this.#list.children];
    if (event.key === "Enter" && options.length) {
      this.#take(options[Math.max(this.#active, 0)].dataset.tag);
    } else if (event.key === "Escape" && options.length) {
      this.#hide();
    } else if (event.key === "Backspace" && !this.#input.value && this.#state.tags.length) {
      this.#change({ tags: this.#state.tags.slice(0, -1) });
    } else if (["ArrowDown", "ArrowUp"].includes(event.key) && options.length) {
      this.#move(options, event.key === "ArrowDown" ? 1 : -1);
    } else return;
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

/** The tag with what was typed set in bold. */
function marked(tag, word) {
  const at = tag.toLowerCase().indexOf(word.toLowerCase());
  if (at < 0) return [tag];
  return [tag.slice(0, at), make("b", {}, tag.slice(at, at + word.length)), tag.slice(at + word.length)];
}
