// One picture with all its tags, over the grid.

import { byId, colour, getJson, make } from "./dom.js";

const ORDER = ["Character", "General", "System"];
const NOT_SHOWN_BY_BROWSERS = /\.tiff?$/i;

export class Picture {
  #dialog = byId("dialog");
  #image = byId("shown");
  #shown = null;
  #search;

  constructor({ close, search, step }) {
    this.#search = search;
    byId("close").addEventListener("click", close);
    byId("previous").addEventListener("click", () => step(-1));
    byId("next").addEventListener("click", () => step(1));
    this.#dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      close();
    });
    this.#dialog.addEventListener("click", (event) => event.target === this.#dialog && close());
    this.#dialog.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (by) step(by);
    });
    this.#image.addEventListener("load", () => this.#showSize());
    this.#image.addEventListener("error", () => {
      const fallback = `/thumb/${this.#shown}?size=large`;
      if (!this.#image.src.endsWith(fallback)) this.#image.src = fallback;
    });
  }

  /** Opens the picture with this id; null closes. */
  async show(id) {
    if (id === this.#shown) return;
    this.#shown = id;
    if (id === null) {
      this.#dialog.close();
      this.#image.removeAttribute("src");
      return;
    }
    let found;
    try {
      found = await getJson(`/page/pictures/${id}`);
    } catch {
      found = { path: "This picture is not there any more", tags: [] };
    }
    if (this.#shown !== id) return;
    this.#fill(id, found);
    if (!this.#dialog.open) this.#dialog.showModal();
  }

  #fill(id, { path, tags }) {
    byId("name").textContent = path;
    byId("size").textContent = "";
    byId("original").href = `/picture/${id}`;
    this.#image.alt = path;
    this.#image.style.backgroundImage = `url("/thumb/${id}")`;
    this.#image.src = NOT_SHOWN_BY_BROWSERS.test(path) ? `/thumb/${id}?size=large` : `/picture/${id}`;
    const groups = Map.groupBy?.(tags, (entry) => entry.category) ?? group(tags);
    const rank = (name) => (ORDER.indexOf(name) + ORDER.length) % ORDER.length;
    const names = [...groups.keys()].sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
    byId("all-tags").replaceChildren(
      ...names.map((name) => this.#category(name, groups.get(name))),
      ...(tags.length ? [] : [make("p", { class: "none" }, "No tags yet.")]),
    );
  }

  #category(name, tags) {
    const rows = tags.map(({ tag, category, score }) => {
      const bar = make("i");
      bar.style.width = `${score * 100}%`;
      return make(
        "li",
        { class: colour(category) },
        make("button", { title: `Search ${tag}`, click: () => this.#search(tag) }, make("span", {}, tag),
          make("small", {}, score.toFixed(3)), make("span", { class: "track" }, bar)),
      );
    });
    return make("section", {}, make("h3", { class: colour(name) }, name), make("ul", {}, ...rows));
  }

  #showSize() {
    const { naturalWidth, naturalHeight, src } = this.#image;
    byId("size").textContent = src.includes("/thumb/") ? "" : `${naturalWidth} × ${naturalHeight} ·`;
    this.#image.style.backgroundImage = "none";
  }
}

function group(tags) {
  const groups = new Map();
  for (const entry of tags) groups.set(entry.category, [...(groups.get(entry.category) ?? []), entry]);
  return groups;
}
