// The search box: a chip for each thing that must hold, suggestions for what is being typed, mistakes at their place.

import { Complete } from "./complete.js";
import { byId, colour, make, quoted } from "./dom.js";
import { named, t } from "./words.js";

export class Search {
  #input = byId("input");
  #parts = [];
  #change;

  /** `change(q)`: the query is another one. */
  constructor({ change }) {
    this.#change = change;
    new Complete(this.#input, byId("suggestions"), {
      word: true,
      choose: ({ tag, negative, before }) => this.#add([before, `${negative ? "-" : ""}${quoted(tag)}`]),
      enter: (text) => text && this.#add([text]),
    });
    this.#input.addEventListener("keydown", (event) => {
      if (event.key !== "Backspace" || this.#input.value || !this.#parts.length) return;
      event.preventDefault();
      this.#change(this.#text(this.#parts.slice(0, -1)));
    });
    byId("search").addEventListener("click", ({ target }) => target.closest("button, li, details") || this.#input.focus());
  }

  /** What the service understood of the query. */
  show(answer) {
    this.#parts = answer.parts;
    byId("chips").replaceChildren(...answer.parts.map((part, at) => this.#chip(part, at)));
    this.#input.placeholder = t(answer.parts.length ? "and" : "search");
    const unknown = answer.names.filter((name) => name.found.length === 0);
    byId("wrong").replaceChildren(
      ...answer.mistakes.map(({ at, length, reason, code }) => make("li", {}, ...placed(answer.asked, at, length), `: ${named("mistakes", code, reason)}`)),
      ...unknown.map((name) =>
        make(
          "li", {}, t("unknown", name.text),
          ...(name.near.length ? [` ${t("meant")} `, ...name.near.map((near) => make("button", { class: "link", click: () => this.#instead(name.text, near) }, near))] : []),
        ),
      ),
    );
  }

  /** Adds what must hold too, or takes it away, or turns it round: a click adds, a second one excludes. */
  toggle(text) {
    const at = this.#parts.findIndex((part) => part.text === text || part.text === `-${text}`);
    if (at < 0) this.#add([text]);
    else if (this.#parts[at].negative) this.#without(at);
    else this.#replace(at, `-${text}`);
  }

  state(text) {
    const part = this.#parts.find((one) => one.text === text || one.text === `-${text}`);
    return part ? (part.negative ? "out" : "in") : "";
  }

  #add(texts) {
    this.#input.value = "";
    this.#change([this.#text(this.#parts), ...texts].filter(Boolean).join(" "));
  }

  #text = (parts) => parts.map((part) => part.text).join(" ");
  #without = (at) => this.#change(this.#text(this.#parts.filter((_, other) => other !== at)));
  #replace = (at, text) => this.#change(this.#parts.map((part, other) => (other === at ? text : part.text)).join(" "));

  #instead(wrong, right) {
    const at = this.#parts.findIndex((part) => part.name?.text === wrong);
    if (at >= 0) this.#replace(at, `${this.#parts[at].negative ? "-" : ""}${quoted(right)}`);
  }

  #chip(part, at) {
    const found = part.name?.found ?? [];
    const plain = part.negative ? part.text.slice(1) : part.text;
    const label = found.length === 1 ? found[0].name : part.name ? part.name.text : plain;
    const turn = () => this.#replace(at, part.negative ? plain : `-${part.text}`);
    const title = found.map((one) => `${one.name} (${one.concept})`).join("\n") || part.text;
    return make(
      "li", { class: `${colour(part.category)}${part.negative ? " not" : ""}`, "data-text": part.text },
      make("button", { class: "label", title, click: turn }, part.negative && make("small", {}, `${t("without")} `), label),
      found.length > 1 &&
        make(
          "details", {}, make("summary", { title: t("choose") }, `▾ ${found.length}`),
          make("ul", { class: "suggestions" }, ...found.map((one) =>
            make("li", { click: () => this.#replace(at, `${part.negative ? "-" : ""}${quoted(one.concept)}`) }, make("span", {}, one.name, make("i", {}, one.concept))))),
        ),
      make("button", { class: "off", "aria-label": `${t("remove")} ${label}`, click: () => this.#without(at) }, "×"),
    );
  }
}

function placed(text, at, length) {
  const [from, to] = [Math.max(0, at - 12), at + length + 12];
  return [`${from ? "…" : ""}${text.slice(from, at)}`, make("mark", {}, text.slice(at, at + length) || "…"), `${text.slice(at + length, to)}${to < text.length ? "…" : ""}`];
}
