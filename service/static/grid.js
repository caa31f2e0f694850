// The grid of pictures; more of them come as one scrolls. Pictures can be selected, and keys lead from one to the next.

import { byId, colour, getJson, make, number, Refused } from "./dom.js";
import { t } from "./words.js";

const PAGE = 60;

export class Grid {
  #grid = byId("grid");
  #cards = []; // ids, in the order shown
  #query = null;
  #summary = null;
  #total = 0;
  #ranked = false;
  #mistaken = false;
  #loading = null; // the AbortController of the request in flight
  #selected = new Set();
  #told;
  #clear;

  /** `told(answer)`: what the service understood; `clear()`: asks for everything. */
  constructor({ clear, told, selected }) {
    this.#clear = clear;
    this.#told = told;
    this.changedSelection = selected;
    this.#grid.addEventListener("keydown", (event) => this.#key(event));
    new IntersectionObserver(([entry]) => entry.isIntersecting && this.#more(), { rootMargin: "800px" }).observe(
      byId("more"),
    );
  }

  /** Shows what matches; the cards there stay until the new ones have come, so nothing flickers. */
  async show(query, summary) {
    this.#loading?.abort();
    this.#query = { q: query };
    this.#summary = summary;
    this.#total = 0;
    await this.#load(0);
  }

  /** Shows these pictures, which no query found. */
  showList(pictures, title) {
    this.#loading?.abort();
    this.#loading = null;
    this.#query = null;
    this.#cards = [];
    this.#grid.replaceChildren();
    this.#total = pictures.length;
    this.#add(pictures);
    byId("found").textContent = `${title}: ${t("pictures", pictures.length)}`;
    byId("empty").hidden = byId("edit-found").hidden = byId("edit-why").hidden = true;
  }

  get total() {
    return this.#total;
  }

  get selected() {
    return [...this.#selected];
  }

  select(id, on = !this.#selected.has(id)) {
    if (on) this.#selected.add(id);
    else this.#selected.delete(id);
    this.#grid.querySelector(`[data-id="${id}"]`)?.setAttribute("aria-selected", String(on));
    this.changedSelection();
  }

  selectNone() {
    for (const id of this.selected) this.select(id, false);
  }

  /** The id after (by = 1) or before (-1) this one in the order of the search, or null. */
  async neighbour(id, by) {
    const at = this.#cards.indexOf(id);
    if (at >= this.#cards.length - 10) this.#more();
    const next = at < 0 ? undefined : this.#cards[at + by];
    if (next !== undefined) return next;
    if (this.#query === null) return null;
    try { // it is not loaded yet, or the picture was opened by a link
      return (await getJson(`/page/pictures/${id}/${by > 0 ? "next" : "previous"}`, this.#query)).id;
    } catch {
      return null;
    }
  }

  #more() {
    if (this.#query !== null && !this.#loading && this.#cards.length < this.#total) this.#load(this.#cards.length);
  }

  async #load(offset) {
    const loading = (this.#loading = new AbortController());
    const asked = this.#query;
    try {
      const found = await getJson("/page/pictures", { ...asked, offset, limit: PAGE }, loading.signal);
      if (offset === 0) {
        this.#cards = [];
        this.#grid.replaceChildren();
        this.#ranked = found.names.length > 0;
        this.#mistaken = found.mistakes.length > 0 || found.names.some((name) => name.found.length === 0);
        this.#told({ ...found, asked: asked.q });
      }
      this.#total = found.total;
      this.#add(found.pictures);
      this.#say();
    } catch (error) {
      if (error.name === "AbortError") return;
      byId("found").textContent = error instanceof Refused ? error.message : t("away");
    } finally {
      if (this.#loading === loading) this.#loading = null;
    }
  }

  #add(pictures) {
    const known = new Set(this.#cards); // a picture may move to a later page while the engine is tagging
    const fresh = pictures.filter((picture) => !known.has(picture.id));
    this.#cards.push(...fresh.map((picture) => picture.id));
    this.#grid.append(...fresh.map((picture) => card(picture, this.#selected.has(picture.id))));
    if (fresh.length === 0) this.#total = this.#cards.length;
  }

  #say() {
    const searched = this.#query.q !== "";
    const waiting = (this.#summary?.pictures ?? 0) - (this.#summary?.tagged ?? 0);
    const none = this.#summary?.tagged === 0; // how they get tags is worth a word then
    const more = searched ? (this.#ranked && this.#total > 1 ? t("bestFirst") : "") : this.#total && waiting ? (none ? t("noneTagged") : t("untagged", waiting)) : "";
    byId("found").textContent = more ? `${t("pictures", this.#total)}, ${more}` : t("pictures", this.#total);
    const edit = byId("edit-found");
    edit.textContent = t(searched ? "editFound" : "editEvery", this.#total);
    edit.disabled = this.#mistaken; // what is left out of a query makes it find more
    edit.hidden = this.#total === 0;
    byId("edit-why").hidden = edit.hidden || !this.#mistaken;
    const empty = byId("empty");
    empty.hidden = this.#total > 0;
    if (this.#total > 0) return;
    empty.replaceChildren(
      make("h2", {}, t(searched ? "nothing" : "noPictures")),
      make("p", {}, t(searched ? "nothingHint" : "noPicturesHint")),
      ...(searched ? [make("button", { class: "plain", click: this.#clear }, t("clear"))] : []),
    );
  }

  /** Arrows lead through the grid as one sees it; x selects. */
  #key(event) {
    const cards = [...this.#grid.children];
    const at = cards.indexOf(document.activeElement);
    if (at < 0) return;
    if (event.key === "x") return this.select(Number(cards[at].dataset.id));
    const across = cards.filter((one) => one.offsetTop === cards[0].offsetTop).length;
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    cards[Math.min(Math.max(at + by, 0), cards.length - 1)].focus();
  }
}

function card({ id, path, tags, rating, ratingName, note }, selected) {
  const name = path.slice(path.lastIndexOf("/") + 1);
  const lines = tags.map((one) =>
    make("li", { class: colour(one.category), title: one.tag }, make("span", {}, one.name ?? one.tag), make("small", {}, one.verdict ? "✓" : (one.score ?? 0).toFixed(2))),
  );
  return make(
    "a",
    { class: "card", href: `/?picture=${id}`, "data-id": id, title: path, "aria-selected": String(selected) },
    make("img", { src: `/thumb/${id}`, alt: name, loading: "lazy", decoding: "async" }),
    rating && make("span", { class: "rating", title: rating }, (ratingName ?? rating).replace(/^rating:/, "")),
    note && make("span", { class: "note" }, note),
    make("ul", {}, ...(lines.length ? lines : [make("li", { class: "none" }, t("noTags"))])),
  );
}
