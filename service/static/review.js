// Review: one tag, one picture after the other, yes or no. The address holds the tag and the order.

import { box } from "./complete.js";
import { byId, colour, getJson, make, number, postJson, toast, who } from "./dom.js";
import { Learned } from "./learned.js";
import "./review-words.js";
import { category as named, choose, language, LANGUAGES, t, translate } from "./words.js";

const AT_ONCE = 20; // pictures on the page: the order has turns of twenty
const ORDERS = ["uncertain", "suspicious"];

translate();
document.title = t("review");

const address = new URLSearchParams(location.search);
const tag = address.get("tag");
const order = ORDERS.includes(address.get("order")) ? address.get("order") : "uncertain";
const learned = new Learned(byId("learned"), byId("brief"), tag);
const cards = new Map(); // by picture: {element, yes: true, false or null, edit: the journal's entry}
const done = []; // pictures in the order in which they were judged here
let at = null; // the picture that a key decides
let counts = { judged: 0, left: 0 };
let work = Promise.resolve(); // verdicts go one after the other
let waiting = 0; // verdicts on their way

/** Whatever is asked for happens after what was asked for before. */
const then = (act) => (work = work.then(act).catch((error) => toast(error.message)));

const go = (parameters) => location.assign(`/review?${new URLSearchParams(parameters)}`);

/* The queue. */

async function load() {
  const queue = await getJson("/page/review/queue", { tag, order, limit: AT_ONCE });
  byId("question").textContent = t("doesItHave", queue.name);
  byId("question").className = colour(queue.category);
  counts = { judged: queue.judged, left: queue.left };
  cards.clear();
  byId("grid").replaceChildren(...queue.pictures.map(card));
  byId("done").hidden = queue.pictures.length > 0;
  byId("done").textContent = t(order === "suspicious" && !done.length ? "noneSuspicious" : "allJudged");
  focus(queue.pictures[0]?.mediaId ?? null);
  progress();
  for (const one of queue.pictures.slice(0, 4)) new Image().src = `/thumb/${one.mediaId}?size=large`; // for a closer look
}

function card({ mediaId, storageUrl, score, doubt }) {
  const decide = (yes) => make("button", { class: `verdict ${yes ? "yes" : "no"}`, "aria-label": `${t(yes ? "is" : "isNot")}: ${storageUrl}`, click: () => judge(mediaId, yes) }, yes ? "✓" : "✗");
  const element = make(
    "article", { class: "card", tabindex: "0", "data-id": mediaId, title: storageUrl, focus: () => mark(mediaId) },
    make("img", { src: `/thumb/${mediaId}`, alt: storageUrl, decoding: "async", click: () => mark(mediaId), dblclick: () => look(mediaId) }),
    make("div", { class: "decide" }, decide(false), make("small", {}, score === null ? "–" : score.toFixed(2)), decide(true)),
    doubt !== null && make("span", { class: "note" }, t("doubt", Math.round(doubt * 100))),
  );
  cards.set(mediaId, { element, yes: null, edit: null });
  return element;
}

function mark(mediaId) {
  at = mediaId;
  for (const [id, { element }] of cards) element.setAttribute("aria-selected", String(id === at));
}

function focus(mediaId) {
  mark(mediaId);
  const element = cards.get(mediaId)?.element;
  element?.focus({ preventScroll: true });
  element?.scrollIntoView({ block: "nearest" });
  if (byId("look").open) mediaId === null ? byId("look").close() : look(mediaId);
}

function progress() {
  const all = counts.judged + counts.left;
  const bar = byId("progress");
  bar.setAttribute("aria-valuemax", all);
  bar.setAttribute("aria-valuenow", counts.judged);
  bar.firstElementChild.style.width = `${all ? (100 * counts.judged) / all : 100}%`;
  byId("left").textContent = t("leftToJudge", counts.judged, counts.left);
  byId("undo").disabled = done.length === 0;
  const idle = at === null || !cards.has(at);
  byId("yes").disabled = byId("no").disabled = idle;
}

function show(mediaId, yes) {
  const one = cards.get(mediaId);
  if (!one) return;
  one.yes = yes;
  one.element.classList.toggle("is", yes === true);
  one.element.classList.toggle("is-not", yes === false);
}

const next = () => {
  const ids = [...cards.keys()];
  const from = ids.indexOf(at);
  return [...ids.slice(from + 1), ...ids.slice(0, from)].find((id) => cards.get(id).yes === null && !cards.get(id).gone) ?? null;
};

/* Verdicts. */

function judge(mediaId, yes) {
  const one = cards.get(mediaId);
  if (!one || one.gone || one.yes === yes) return;
  const before = one.yes;
  at = mediaId;
  show(mediaId, yes);
  const following = next();
  if (following === null) mark(null); // until the next twenty are there, a key decides nothing
  else focus(following);
  waiting += 1;
  then(async () => {
    try {
      if (before !== null) await takeBack(mediaId);
      await send(mediaId, yes);
    } catch (error) {
      show(mediaId, null); // it was not kept
      throw error;
    } finally {
      waiting -= 1;
    }
    if (waiting === 0 && [...cards.values()].every((other) => other.yes !== null || other.gone)) await load();
  });
}

async function send(mediaId, yes) {
  const answer = await postJson("/page/review/verdicts", { tag, order, who: who(), verdicts: [{ mediaId, yes }] });
  const one = cards.get(mediaId);
  const [already] = answer.already;
  if (answer.gone.length) {
    one.gone = true;
    show(mediaId, null);
    one.element.classList.add("gone");
    toast(t("gone"));
  } else {
    one.edit = answer.id;
    done.push({ mediaId, edit: answer.id });
    if (already) {
      show(mediaId, already.yes);
      toast(t("judgedBy", already.who, already.yes));
    }
  }
  counts = { judged: counts.judged + answer.given, left: counts.left - 1 };
  progress();
  learned.ask();
}

/** Takes back what this page said of a picture; what others said stays. */
async function takeBack(mediaId) {
  const place = done.findLastIndex((one) => one.mediaId === mediaId);
  if (place < 0) return;
  const [{ edit }] = done.splice(place, 1);
  if (edit !== null) await postJson(`/page/edits/${edit}/undo`, { who: who() });
  counts = { judged: counts.judged - (edit === null ? 0 : 1), left: counts.left + 1 };
  show(mediaId, null);
}

function undo() {
  then(async () => {
    const last = done.at(-1);
    if (!last) return;
    await takeBack(last.mediaId);
    if (cards.has(last.mediaId)) focus(last.mediaId);
    else await load();
    progress();
    learned.ask();
  });
}

/* A closer look. */

function look(mediaId) {
  if (mediaId === null) return;
  byId("looked").src = `/thumb/${mediaId}?size=large`;
  byId("looked").alt = cards.get(mediaId).element.title;
  if (!byId("look").open) byId("look").showModal();
}

byId("look").addEventListener("click", () => byId("look").close());

/* Keys and buttons. */

function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement || byId("help").open) return;
  const ids = [...cards.keys()];
  const all = [...byId("grid").children];
  const across = all.filter((one) => one.offsetTop === all[0].offsetTop).length || 1;
  const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across }[event.key];
  const act = {
    y: () => judge(at, true), n: () => judge(at, false), u: undo, "?": () => byId("help").showModal(),
    " ": () => (byId("look").open ? byId("look").close() : look(at)),
    Escape: () => (byId("look").open ? byId("look").close() : location.assign("/review")),
  }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (by !== undefined && ids.length) focus(ids[Math.min(Math.max(ids.indexOf(at) + by, 0), ids.length - 1)]);
  else if (act && !(event.key === " " && event.target instanceof HTMLButtonElement)) act();
  else return;
  event.preventDefault();
}

if (tag) addEventListener("keydown", key);
byId("yes").addEventListener("click", () => judge(at, true));
byId("no").addEventListener("click", () => judge(at, false));
byId("undo").addEventListener("click", undo);

/* Without a tag: which ones there are. */

async function overview() {
  const [{ tags }, facets] = await Promise.all([getJson("/page/review/tags"), getJson("/page/facets")]);
  const share = (value) => (value === undefined ? "–" : `${Math.round(100 * value)} %`);
  const row = ({ tag: key, name, verdicts, yes, threshold, best }) =>
    make(
      "tr", {}, make("th", { scope: "row" }, make("a", { href: `/review?tag=${encodeURIComponent(key)}` }, name)),
      make("td", {}, `${number(verdicts)} (${number(yes)} ✓)`), make("td", {}, threshold ?? "–"), make("td", {}, best?.threshold ?? "–"), make("td", {}, share(best?.precision)), make("td", {}, share(best?.recall)),
    );
  const head = ["tags", "verdicts", "threshold", "bestThreshold", "precision", "recall"];
  byId("overview").replaceChildren(
    make("p", { class: "none" }, t("choosing")),
    ...(tags.length
      ? [make("h2", {}, t("reviewed")), make("div", { class: "scroll" }, make("table", {}, make("thead", {}, make("tr", {}, ...head.map((one) => make("th", { scope: "col" }, t(one))))), make("tbody", {}, ...tags.map(row))))]
      : []),
    ...facets.categories.map(({ category, tags: some }) =>
      make("section", {}, make("h3", { class: colour(category) }, named(category)), make("p", { class: "choices" }, ...some.map((one) => make("a", { class: "plain", href: `/review?tag=${encodeURIComponent(one.tag)}` }, one.name, make("small", {}, number(one.pictures))))))),
  );
  byId("overview").hidden = false;
}

byId("language").replaceChildren(...Object.entries(LANGUAGES).map(([code, name]) => make("option", { value: code, selected: code === language }, name)));
byId("language").addEventListener("change", ({ target }) => choose(target.value));
byId("who").value = localStorage.getItem("who") ?? "";
byId("who").addEventListener("change", ({ target }) => localStorage.setItem("who", target.value.trim()));
byId("order").replaceChildren(...ORDERS.map((one) => make("option", { value: one, selected: one === order }, t(one))));
byId("order").hidden = !tag;
byId("order").addEventListener("change", ({ target }) => go({ tag, order: target.value }));
byId("find").replaceChildren(box("find-input", "findTag", { choose: (one) => go({ tag: one.tag }), enter: (text) => text && go({ tag: text }) }));
byId("help-keys").replaceChildren(...t("reviewKeys").flatMap(([one, what]) => [make("dt", {}, make("kbd", {}, one)), make("dd", {}, what)]));
byId("help-open").addEventListener("click", () => byId("help").showModal());
byId("help-close").addEventListener("click", () => byId("help").close());

byId("told").textContent = "…";
try {
  if (tag) {
    await load();
    byId("told").textContent = "";
    byId("judging").hidden = false;
    focus(at);
    learned.ask();
  } else {
    await overview();
    byId("told").textContent = "";
  }
} catch (error) {
  byId("told").textContent = error.message;
}
