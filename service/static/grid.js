// The grid of pictures; more of them come as one scrolls.

import { byId, colour, getJson, make, number, Refused } from "./dom.js";

const PAGE = 60;

export class Grid {
  #grid = byId("grid");
  #cards = []; // ids, in the order shown
  #query = null;
  #ranked = false; // some tags were asked for, so that some pictures match better than others
  #summary = null;
  #total = 0;
  #loading = null; // the AbortController of the request in flight
  #clear;

  constructor({ clear }) {
    this.#clear = clear;
    new IntersectionObserver(([entry]) => entry.isIntersecting && this.#more(), { rootMargin: "800px" }).observe(
      byId("more"),
    );
  }

  /** Shows what matches; the cards there stay until the new ones have come, so nothing flickers. */
  async show(query, ranked, summary) {
    this.#loading?.abort();
    this.#query = { q: query };
    this.#ranked = ranked;
    this.#summary = summary;
    this.#total = 0;
    await this.#load(0);
  }

  /** The id after (by = 1) or before (-1) this one in the order of the search, or null. */
  async neighbour(id, by) {
    const at = this.#cards.indexOf(id);
    if (at >= this.#cards.length - 10) this.#more();
    const next = at < 0 ? undefined : this.#cards[at + by];
    if (next !== undefined) return next;
    try { // it is not loaded yet, or the picture was opened by a link
      return (await getJson(`/page/pictures/${id}/${by > 0 ? "next" : "previous"}`, this.#query)).id;
    } catch {
      return null;
    }
  }

  #more() {
    if (!this.#loading && this.#cards.length < this.#total) this.#load(this.#cards.length);
  }

  async #load(offset) {
    const loading = (this.#loading = new AbortController());
    try {
      const found = await getJson("/page/pictures", { ...this.#query, offset, limit: PAGE }, loading.signal);
      if (offset === 0) {
        this.#cards = [];
        this.#grid.replaceChildren();
      }
      this.#total = found.total;
      this.#add(found.pictures);
      this.#say();
    } catch (error) {
      if (error.name === "AbortError") return;
      byId("found").textContent = error instanceof Refused ? sentence(error.message) : "The service does not answer.";
    } finally {
      if (this.#loading === loading) this.#loading = null;
    }
  }

  #add(pictures) {
    const known = new Set(this.#cards); // a picture may move to a later page while the engine is tagging
    const fresh = pictures.filter((picture) => !known.has(picture.id));
    this.#cards.push(...fresh.map((picture) => picture.id));
    this.#grid.append(...fresh.map(card));
    if (fresh.length === 0) this.#total = this.#cards.length;
  }

  #say() {
    const searched = this.#query.q !== "";
    const none = this.#summary?.tagged === 0; // how they get tags is worth a word then
    const waiting = (this.#summary?.pictures ?? 0) - (this.#summary?.tagged ?? 0);
    const pictures = `${number(this.#total)} ${this.#total === 1 ? "picture" : "pictures"}`;
    const more = searched
      ? this.#ranked && this.#total > 1 ? "best match first" : ""
      : this.#total && waiting
        ? none ? "none tagged yet: engine run --library tags them" : `${number(waiting)} still without tags`
        : "";
    byId("found").textContent = more ? `${pictures}, ${more}` : pictures;
    const empty = byId("empty");
    empty.hidden = this.#total > 0;
    if (this.#total > 0) return;
    empty.replaceChildren(
      ...(searched
        ? [
            make("h2", {}, "No picture matches"),
            make("p", {}, "A word is looked for anywhere in a tag; several words and tags must all be there."),
            make("button", { class: "plain", click: this.#clear }, "Clear the search"),
          ]
        : [
            make("h2", {}, "No pictures yet"),
            make("p", {}, "Put some into the library's folder: they appear here within a minute."),
          ]),
    );
  }
}

const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}.`;

function card({ id, path, tags, rating }) {
  const name = path.slice(path.lastIndexOf("/") + 1);
  const lines = tags.map(({ tag, category, score }) =>
    make("li", { class: colour(category) }, make("span", {}, tag), make("small", {}, score.toFixed(2))),
  );
  return make(
    "a",
    { class: "card", href: `/?picture=${id}`, "data-id": id, title: path },
    make("img", { src: `/thumb/${id}`, alt: name, loading: "lazy", decoding: "async" }),
    rating && make("span", { class: "rating" }, rating.slice("rating:".length)),
    make("ul", {}, ...(lines.length ? lines : [make("li", { class: "none" }, "no tags yet")])),
  );
}
