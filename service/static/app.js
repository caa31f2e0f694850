// The page's state lives in its address (?q=…&order=…&picture=…), so that back, reload and a sent link work.

import { byId, getJson, make, number, quoted } from "./dom.js";
import { Edit } from "./edit.js";
import { Facets } from "./facets.js";
import { Grid } from "./grid.js";
import { Picture } from "./picture.js";
import { Search } from "./search.js";
import { Similar } from "./similar.js";
import { choose, language, LANGUAGES, t, translate } from "./words.js";

const SUMMARY_EVERY_MS = 5000;
const EVERY = "id:0.."; // an empty query edits nothing
const ORDERS = ["best", "new", "old", "score", "random"];

translate();
let state = fromAddress();
let shownQuery = null;
let summary = null;

const search = new Search({ change: (q) => go({ q }) });
const facets = new Facets({ search, changed: () => show(true) });
const grid = new Grid({
  clear: () => go({ q: "" }),
  told: (answer) => {
    const hidden = facets.restrictions.split(" ");
    search.show({ ...answer, parts: answer.parts.filter((part) => !hidden.includes(part.text)) });
    facets.show(answer.asked, summary?.ratings ?? []);
  },
  selected: () => {
    byId("selection").hidden = grid.selected.length === 0;
    byId("selected").textContent = t("selected", grid.selected.length);
  },
});
const picture = new Picture({ close, search: (q) => go({ q, picture: null }), step });
const edit = new Edit({ done: () => show(true) });
new Similar({
  restrictions: () => facets.restrictions,
  show: (pictures, title) => {
    shownQuery = null;
    grid.showList(pictures, title);
  },
});

function fromAddress() {
  const query = new URLSearchParams(location.search);
  const former = query.getAll("tag").map(quoted); // links that were sent before there were queries
  return {
    q: [...former, query.get("q") ?? ""].filter(Boolean).join(" "),
    order: ORDERS.includes(query.get("order")) ? query.get("order") : "best",
    picture: /^\d+$/.test(query.get("picture") ?? "") ? Number(query.get("picture")) : null,
  };
}

function address({ q, order, picture: id }) {
  const query = new URLSearchParams();
  if (q) query.set("q", q);
  if (order !== "best") query.set("order", order);
  if (id !== null) query.set("picture", id);
  return query.size ? `/?${query}` : "/";
}

/** Moves to a changed state; a step that back undoes. */
function go(change, { replace = false, opened = false } = {}) {
  const next = { ...state, ...change };
  if (address(next) === address(state)) return;
  state = next;
  history[replace ? "replaceState" : "pushState"]({ opened }, "", address(state));
  show();
}

/** Closing is going back if the picture was opened from the grid, so that back does not open it again. */
function close() {
  if (history.state?.opened) history.back();
  else go({ picture: null }, { replace: true });
}

async function step(by) {
  const from = state.picture;
  const id = await grid.neighbour(from, by);
  if (id === null || state.picture !== from) return; // the last one, or it was faster than the answer
  go({ picture: id }, { replace: true, opened: history.state?.opened ?? false });
}

/** What is asked for: the query, what the sidebar restricts it to, and the order. */
function query() {
  const q = facets.restrictions && / or /i.test(state.q) ? `(${state.q})` : state.q;
  return [q, facets.restrictions, state.order === "best" ? "" : `order:${state.order}`].filter(Boolean).join(" ");
}

function show(anew = false) {
  const asked = query();
  if (anew || asked !== shownQuery) {
    shownQuery = asked;
    grid.show(asked, summary);
  }
  byId("order").value = state.order;
  picture.show(state.picture);
  document.title = [state.q, summary?.library ?? t("library")].filter(Boolean).join(" · ");
}

async function refresh() {
  let fresh;
  try {
    fresh = await getJson("/page/summary");
  } catch {
    return; // the service is away; the next look tells
  }
  const changed = JSON.stringify(fresh) !== JSON.stringify(summary);
  summary = fresh;
  if (!changed) return;
  byId("library").textContent = summary.library;
  for (const counter of ["pictures", "tagged", "tags"]) byId(counter).textContent = number(summary[counter]);
  if (window.scrollY < 100 && state.picture === null) shownQuery = null; // nobody is looking further down
  show();
}

byId("home").addEventListener("click", (event) => {
  event.preventDefault();
  shownQuery = null;
  go({ q: "", order: "best", picture: null });
  show();
});

byId("grid").addEventListener("click", (event) => {
  const card = event.target.closest("a");
  if (!card) return;
  const id = Number(card.dataset.id);
  if (event.ctrlKey || event.metaKey || grid.selected.length) {
    event.preventDefault();
    grid.select(id);
  } else if (!event.shiftKey) {
    event.preventDefault();
    go({ picture: id }, { opened: true });
  }
});

byId("order").replaceChildren(...ORDERS.filter((one) => one !== "score").map((one) => make("option", { value: one }, t(one))));
byId("order").addEventListener("change", ({ target }) => go({ order: target.value }));
byId("language").replaceChildren(...Object.entries(LANGUAGES).map(([code, name]) => make("option", { value: code, selected: code === language }, name)));
byId("language").addEventListener("change", ({ target }) => choose(target.value));
byId("select-none").addEventListener("click", () => grid.selectNone());
byId("select-edit").addEventListener("click", () => edit.open({ pictures: grid.selected }, t("selected", grid.selected.length)));
byId("edit-found").addEventListener("click", () => edit.open({ query: shownQuery || EVERY }, byId("edit-found").textContent));

const help = byId("help");
byId("help-keys").replaceChildren(...t("keys").flatMap?.(([key, what]) => [make("dt", {}, make("kbd", {}, key)), make("dd", {}, what)]));
byId("help-open").addEventListener("click", () => help.showModal());
byId("help-close").addEventListener("click", () => help.close());

addEventListener("popstate", () => {
  state = fromAddress();
  show();
});

addEventListener("keydown", (event) => {
  const typing = event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement;
  if (typing || document.querySelector("dialog[open]")) return;
  if (event.key === "/") {
    event.preventDefault();
    byId("input").focus();
  } else if (event.key === "?") help.showModal();
  else if (event.key === "Escape" && grid.selected.length) grid.selectNone();
  else if (event.key.startsWith("Arrow") && !byId("grid").contains(document.activeElement)) {
    event.preventDefault();
    byId("grid").firstElementChild?.focus();
  }
});

await refresh();
show();
// On a phone the focus would bring the keyboard up, over half of the pictures.
if (state.picture === null && matchMedia("(hover: hover) and (pointer: fine)").matches) byId("input").focus();
setInterval(() => document.visibilityState === "visible" && refresh(), SUMMARY_EVERY_MS);
