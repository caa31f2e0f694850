// Beside the pictures: what they have, groups to browse by without typing, ratings that are left out, the least score.

import { byId, colour, getJson, make, number, quoted } from "./dom.js";
import { category as called, t } from "./words.js";

const ORDER = ["Character", "General"];

export class Facets {
  #search;
  #asking = null;
  #open = new Set(); // groups that are unfolded
  #hidden = new Set(JSON.parse(localStorage.getItem("hidden ratings") ?? "[]"));
  #least = 0;
  #changed;
  #query = null;

  /** `changed()`: ratings or the least score are other ones. */
  constructor({ search, changed }) {
    this.#search = search;
    this.#changed = changed;
    byId("least").addEventListener("input", ({ target }) => {
      this.#least = Number(target.value);
      byId("least-value").textContent = this.#least ? `≥ ${this.#least.toFixed(2)}` : "";
      changed();
    });
    byId("sidebar-toggle").addEventListener("click", () => document.body.classList.toggle("turned"));
  }

  /** What these add to every query. */
  get restrictions() {
    return [...[...this.#hidden].map((rating) => `-rating:${rating}`), ...(this.#least ? [`score:>=${this.#least.toFixed(2)}`] : [])].join(" ");
  }

  async show(query, ratings) {
    this.#query = query;
    this.#asking?.abort();
    const asking = (this.#asking = new AbortController());
    let facets;
    try {
      facets = await getJson("/page/facets", { q: query }, asking.signal);
    } catch {
      return;
    }
    if (asking.signal.aborted) return;
    const tags = facets.categories.flatMap(({ category, tags: some }) => some.map((tag) => ({ ...tag, category })));
    this.#showRatings(ratings, tags.filter(({ tag }) => tag.startsWith("rating:")));
    const rank = (name) => (ORDER.indexOf(name) + 9) % 9;
    const categories = facets.categories
      .map(({ category, tags: some }) => ({ category, tags: some.filter(({ tag }) => !tag.startsWith("rating:")) }))
      .filter(({ tags: some }) => some.length)
      .sort((a, b) => rank(a.category) - rank(b.category));
    byId("facets").replaceChildren(
      ...categories.map(({ category, tags: some }) =>
        make("section", {}, make("h3", { class: colour(category) }, called(category)), make("ul", {}, ...some.map((tag) => this.#line(tag, colour(category))))),
      ),
    );
    this.#showGroups(facets.groups);
  }

  #line({ tag, name, pictures }, of) {
    const text = quoted(tag);
    return make(
      "li", { class: `${of} ${this.#search.state(text)}` },
      make("button", { title: tag, click: () => this.#search.toggle(text) }, make("span", {}, name), make("small", {}, number(pictures))),
    );
  }

  #showRatings(all, counted) {
    const counts = Object.fromEntries(counted.map(({ tag, pictures }) => [tag, pictures]));
    byId("ratings").replaceChildren(
      ...all.map(({ tag, name }) => {
        const rating = tag.slice("rating:".length);
        const hidden = this.#hidden.has(rating);
        const turn = () => {
          if (hidden) this.#hidden.delete(rating);
          else this.#hidden.add(rating);
          localStorage.setItem("hidden ratings", JSON.stringify([...this.#hidden]));
          this.#changed();
        };
        return make(
          "li", { class: hidden ? "system out" : `system ${this.#search.state(`rating:${rating}`)}` },
          make("button", { title: tag, click: () => this.#search.toggle(`rating:${rating}`) }, make("span", {}, name.replace(/^rating:/, "")), make("small", {}, counts[tag] ? number(counts[tag]) : "")),
          make("button", { class: "eye", "aria-pressed": String(hidden), title: t(hidden ? "hidden" : "hide"), "aria-label": `${t("hide")} ${name}`, click: turn }, hidden ? "◌" : "●"),
        );
      }),
    );
    byId("rating-title").hidden = all.length === 0;
  }

  #showGroups(groups) {
    const top = groups.filter(({ path }) => !path.includes("/"));
    byId("groups").replaceChildren(...top.map((group) => this.#group(group, groups)));
    byId("group-title").hidden = top.length === 0;
  }

  #group({ path, name, pictures }, all) {
    const inner = all.filter((other) => other.path.startsWith(`${path}/`) && !other.path.slice(path.length + 1).includes("/"));
    const list = make("ul", {});
    const fold = make("details", { open: this.#open.has(path) }, make("summary", {}, make("span", {}, name), make("small", {}, number(pictures))), list);
    const fill = async () => {
      if (!fold.open) return this.#open.delete(path);
      this.#open.add(path);
      if (inner.length) return list.replaceChildren(...inner.map((group) => this.#group(group, all)));
      const tags = await getJson("/page/group", { path }).catch(() => []);
      return list.replaceChildren(...tags.map((tag) => this.#line(tag, "general")));
    };
    fold.addEventListener("toggle", fill);
    if (fold.open) fill();
    return make("li", {}, fold);
  }
}
