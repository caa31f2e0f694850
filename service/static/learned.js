// What the verdicts tell of a tag: the best threshold with its interval, precision and recall, and what it would change.

import { getJson, make, postJson, toast } from "./dom.js";
import { t } from "./words.js";

const SOON_MS = 120;
const WIDTH = 320;
const HEIGHT = 150;

export class Learned {
  #place;
  #brief;
  #tag;
  #soon = null;
  #asked = 0;

  /** `brief`: where the threshold is told in one line, for small screens. */
  constructor(place, brief, tag) {
    this.#place = place;
    this.#brief = brief;
    this.#tag = tag;
  }

  /** Asks again, in a moment: several verdicts may come at once. */
  ask() {
    clearTimeout(this.#soon);
    this.#soon = setTimeout(() => this.#show(), SOON_MS);
  }

  async #show() {
    const mine = (this.#asked += 1);
    let told;
    try {
      told = await getJson("/page/review/estimate", { tag: this.#tag });
    } catch (error) {
      toast(error.message);
      return;
    }
    if (mine !== this.#asked) return; // a later answer is on its way
    this.#brief.textContent = told.best ? `${t("threshold")} ${told.best.threshold} (${told.best.low} – ${told.best.high})` : told.needed ? t("neededMore", told.needed) : "";
    this.#place.replaceChildren(...(told.best ? this.#estimate(told) : [this.#missing(told)]), ...this.#unscored(told));
  }

  #missing({ needed, verdicts, yes }) {
    return make("div", { class: "sum" }, make("b", {}, `${verdicts}`), make("p", {}, needed ? t("neededMore", needed) : t("noYes"), make("br"), make("small", {}, t("from", verdicts, yes))));
  }

  #estimate(told) {
    const { best, now, threshold, verdicts, yes } = told;
    const line = (name, value, before) =>
      make("tr", {}, make("th", { scope: "row", class: name }, t(name)), make("td", {}, before === undefined ? "" : `${percent(before)} →`), make("td", {}, make("b", {}, percent(value.value))), make("td", {}, make("small", {}, `${percent(value.low)} – ${percent(value.high)}`)));
    const same = told.lose.pictures + told.gain.pictures === 0;
    return [
      make("div", { class: "sum" }, make("b", { id: "best" }, String(best.threshold)),
        make("p", {}, t("bestThreshold"), make("br"), make("small", { id: "interval" }, t("interval", best.low, best.high)), make("br"), make("small", {}, t("inUse", threshold ?? t("whatModels"))))),
      make("table", { class: "shares" }, line("precision", best.precision, now?.precision), line("recall", best.recall, now?.recall)),
      plot(told),
      make("p", { class: "faint" }, t("from", verdicts, yes), best.lowest && ` ${t("lowest")}`),
      make("div", { class: "changes", id: "changes" }, ...(same ? [make("p", {}, `✓ ${t("nothingChanges")}`)] : [this.#changes("loses", told.lose), this.#changes("gains", told.gain)])),
      make("p", { class: "buttons" },
        !same && make("button", { class: "plain strong", id: "use", click: () => this.#use(best.lowest ? null : best.threshold, threshold) }, best.lowest ? t("unuse") : t("use", best.threshold)),
        same && threshold !== null && make("button", { class: "link", click: () => this.#use(null, threshold) }, t("unuse"))),
      make("p", { class: "faint" }, t("postIt")),
      make("p", { class: "command" }, make("code", { id: "command" }, told.command), make("button", { class: "link", click: () => this.#copy(told.command) }, t("copy"))),
    ];
  }

  #changes(word, { pictures, some }) {
    if (!pictures) return "";
    const thumbs = some.slice(0, 8).map((id) => make("a", { href: `/?picture=${id}`, target: "_blank", rel: "noopener" }, make("img", { src: `/thumb/${id}`, alt: `${id}`, decoding: "async" })));
    return make("div", { class: word }, make("p", {}, t(word, pictures)), make("div", { class: "thumbs" }, ...thumbs));
  }

  #unscored({ unscored: { looked, pictures, share } }) {
    if (!looked) return [];
    return [make("p", { class: "faint" }, `${t("unscored", looked, pictures)}: ${percent(share.value)} (${percent(share.low)} – ${percent(share.high)})`)];
  }

  async #use(threshold, before) {
    try {
      await postJson("/page/review/threshold", { tag: this.#tag, threshold });
    } catch (error) {
      toast(error.message);
      return;
    }
    toast(t("nowCounts", this.#tag, threshold ?? t("whatModels")), t("undo"), () => this.#use(before, threshold));
    await this.#show();
  }

  async #copy(text) {
    try {
      await navigator.clipboard.writeText(text);
      toast(t("copied"));
    } catch {
      getSelection().selectAllChildren(document.getElementById("command")); // no clipboard without https
    }
  }
}

const percent = (share) => `${Math.round(100 * share)} %`;

function svg(name, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** Precision, recall and F1 by threshold, with the best one, its interval, and the one in use. */
function plot({ best, curve, threshold }) {
  const left = Math.min(curve[0].threshold, threshold ?? 1);
  const right = Math.max(curve.at(-1).threshold, best.high, threshold ?? 0) + 0.01;
  const x = (value) => 30 + ((value - left) / (right - left)) * (WIDTH - 40);
  const y = (value) => 8 + (1 - value) * (HEIGHT - 30);
  const line = (name) => svg("path", { class: name, d: curve.map((point, at) => `${at ? "L" : "M"}${x(point.threshold).toFixed(1)} ${y(point[name]).toFixed(1)}`).join("") });
  const upright = (name, value) => svg("path", { class: name, d: `M${x(value)} ${y(1)}V${y(0)}` });
  const text = (at, of, value, anchor) => svg("text", { x: at, y: of, "text-anchor": anchor }, value);
  const drawn = svg(
    "svg", { class: "plot", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${t("threshold")}: ${t("precision")}, ${t("recall")}, F1` },
    svg("rect", { class: "band", x: x(best.low), y: y(1), width: Math.max(1, x(best.high) - x(best.low)), height: y(0) - y(1) }),
    svg("path", { class: "axis", d: `M${x(left)} ${y(1)}V${y(0)}H${x(right)}M${x(left)} ${y(0.5)}H${x(right)}` }),
    line("precision"), line("recall"), line("f1"), upright("best", best.threshold), ...(threshold === null ? [] : [upright("used", threshold)]),
    text(24, y(1) + 4, "1", "end"), text(24, y(0) + 4, "0", "end"), text(x(left), HEIGHT - 4, left.toFixed(2), "start"), text(x(right), HEIGHT - 4, right.toFixed(2), "end"),
  );
  const legend = ["precision", "recall", "f1"].map((name) => make("span", { class: name }, name === "f1" ? "F1" : t(name)));
  return make("figure", {}, drawn, make("figcaption", {}, ...legend));
}
