// One picture with all its tags, over the grid. A click shows it pixel by pixel, and there dragging moves it.

import { box } from "./complete.js";
import { byId, colour, getJson, make, postJson, quoted, toast, who } from "./dom.js";
import { category as called, t } from "./words.js";

const ORDER = ["Character", "General", "System"];
const NOT_SHOWN_BY_BROWSERS = /\.tiff?$/i;

export class Picture {
  #dialog = byId("dialog");
  #pane = byId("pane");
  #image = byId("shown");
  #shown = null;
  #dragged = false; // the mouse moved while it was down: the click that ends this is none
  #search;

  constructor({ close, search, step }) {
    this.#search = search;
    this.#dialog.setAttribute("aria-label", t("picture"));
    byId("close").addEventListener("click", close);
    byId("previous").addEventListener("click", () => step(-1));
    byId("next").addEventListener("click", () => step(1));
    this.#dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      close();
    });
    this.#dialog.addEventListener("click", (event) => event.target === this.#dialog && close());
    this.#dialog.addEventListener("keydown", (event) => {
      if (event.target instanceof HTMLInputElement) return;
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (by) step(by);
      if (event.key === "z") this.#zoom(!this.#actual);
    });
    byId("again").addEventListener("click", () => this.#tagAgain());
    byId("alike").addEventListener("click", () => search(`similar:${this.#shown}`));
    byId("zoom").addEventListener("click", () => this.#zoom(!this.#actual));
    this.#pane.addEventListener("click", (event) => this.#dragged || this.#zoom(!this.#actual, event));
    this.#pane.addEventListener("pointerdown", (event) => this.#drag(event));
    this.#image.addEventListener("load", () => this.#showSize());
    this.#image.addEventListener("error", () => {
      const fallback = `/thumb/${this.#shown}?size=large`;
      if (!this.#image.src.endsWith(fallback)) this.#image.src = fallback;
    });
    byId("add-tag").replaceChildren(
      box("add-input", "addTag", {
        choose: ({ tag }) => this.#say(tag, true),
        enter: (text) => ((byId("add-input").value = ""), this.#say(text.replaceAll(" ", "_"), true)),
        path: "/page/tags/suggest",
      }),
    );
  }

  /** Opens the picture with this id; null closes. */
  async show(id) {
    if (id === this.#shown) return;
    this.#shown = id;
    this.#zoom(false);
    if (id === null) {
      this.#dialog.close();
      this.#image.removeAttribute("src");
      return;
    }
    const found = await this.#ask(id);
    if (this.#shown !== id) return;
    this.#fill(id, found);
    if (!this.#dialog.open) this.#dialog.showModal();
  }

  async #ask(id) {
    try {
      return await getJson(`/page/pictures/${id}`);
    } catch {
      return { path: t("gone"), tags: [] };
    }
  }

  #fill(id, { path, tags }) {
    byId("name").textContent = path;
    byId("size").textContent = "";
    byId("original").href = `/picture/${id}`;
    byId("again").textContent = t("tagAgain");
    byId("again").disabled = false;
    this.#image.alt = path;
    this.#image.style.backgroundImage = `url("/thumb/${id}")`;
    this.#image.src = NOT_SHOWN_BY_BROWSERS.test(path) ? `/thumb/${id}?size=large` : `/picture/${id}`;
    this.#list(tags);
  }

  #list(tags) {
    const groups = Map.groupBy?.(tags, (entry) => entry.category) ?? group(tags);
    const rank = (name) => (ORDER.indexOf(name) + ORDER.length) % ORDER.length;
    const names = [...groups.keys()].sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
    byId("all-tags").replaceChildren(
      ...names.map((name) => this.#category(name, groups.get(name))),
      ...(tags.length ? [] : [make("p", { class: "none" }, t("noTags"))]),
    );
  }

  #category(category, tags) {
    const rows = tags.map(({ tag, name, score, verdict, counts, models }) => {
      const bar = make("i");
      bar.style.width = `${(score ?? 0) * 100}%`;
      const opinions = Object.entries(models).map(([model, of]) => `${model || "—"}: ${of.toFixed(3)}`).join("\n");
      const mark = (value, sign, title) =>
        make("button", { class: "verdict", "aria-pressed": String(verdict === value), title: t(title), "aria-label": `${t(title)}: ${name}`, click: () => this.#say(tag, verdict === value ? null : value) }, sign);
      return make(
        "li",
        { class: `${colour(category)}${counts ? "" : " out"}`, "data-tag": tag },
        make("button", { class: "tag", title: `${t("searchFor", tag)}\n${opinions}`, click: () => this.#search(quoted(tag)) },
          make("span", {}, name, name !== tag && make("i", {}, tag)),
          make("small", {}, verdict === true ? t("said") : score === null ? "" : score.toFixed(3)), make("span", { class: "track" }, bar)),
        mark(true, "✓", "yes"), mark(false, "✗", "no"),
      );
    });
    return make("section", {}, make("h3", { class: colour(category) }, called(category)), make("ul", {}, ...rows));
  }

  /** A person's word on a tag: true, false, or nothing any more. */
  async #say(tag, value) {
    const id = this.#shown;
    const key = value === true ? "yes" : value === false ? "no" : "clear";
    try {
      await postJson("/page/edits", { pictures: [id], [key]: [tag], who: who() });
    } catch (error) {
      return toast(error.message);
    }
    const found = await this.#ask(id);
    if (this.#shown === id) this.#list(found.tags);
    return undefined;
  }

  async #tagAgain() {
    const id = this.#shown;
    let said = t("willTag");
    try {
      await postJson(`/page/pictures/${id}/again`, {});
    } catch (error) {
      said = error.status === 404 ? t("gone") : error.message;
    }
    if (this.#shown !== id) return;
    byId("again").textContent = said;
    byId("again").disabled = true;
  }

  get #actual() {
    return this.#pane.classList.contains("actual");
  }

  /** One pixel of the picture on one of the screen, with the point that was clicked in the middle; or all of it. */
  #zoom(actual, { clientX, clientY } = {}) {
    const { naturalWidth, naturalHeight, style } = this.#image;
    if (actual && !naturalWidth) return;
    const before = this.#image.getBoundingClientRect();
    this.#pane.classList.toggle("actual", actual);
    byId("zoom").setAttribute("aria-pressed", String(actual));
    style.width = actual ? `${naturalWidth / devicePixelRatio}px` : "";
    style.height = actual ? `${naturalHeight / devicePixelRatio}px` : "";
    if (!actual) return;
    const { clientWidth, clientHeight, scrollWidth, scrollHeight } = this.#pane;
    const fitted = Math.min(before.width / naturalWidth, before.height / naturalHeight);
    const at = (click, from, length, natural) =>
      click === undefined ? 0.5 : 0.5 + (click - from - length / 2) / (natural * fitted);
    this.#pane.scrollTo(
      at(clientX, before.left, before.width, naturalWidth) * scrollWidth - clientWidth / 2,
      at(clientY, before.top, before.height, naturalHeight) * scrollHeight - clientHeight / 2,
    );
  }

  /** With a mouse; a finger scrolls without help. */
  #drag(down) {
    this.#dragged = false;
    if (!this.#actual || down.pointerType !== "mouse" || down.button !== 0) return;
    const { scrollLeft, scrollTop } = this.#pane;
    const move = ({ clientX, clientY }) => {
      const [x, y] = [clientX - down.clientX, clientY - down.clientY];
      if (Math.hypot(x, y) > 4) this.#dragged = true;
      this.#pane.classList.toggle("dragged", this.#dragged);
      this.#pane.scrollTo(scrollLeft - x, scrollTop - y);
    };
    const up = () => {
      this.#pane.classList.remove("dragged");
      removeEventListener("pointermove", move);
    };
    addEventListener("pointermove", move);
    addEventListener("pointerup", up, { once: true });
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
