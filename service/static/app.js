// The page's state lives in its address (?tag=…&q=…&category=…&picture=…), so that back, reload and a sent link work.

import { byId, getJson, number, quoted } from "./dom.js";
import { Grid } from "./grid.js";
import { Picture } from "./picture.js";
import { Search } from "./search.js";

const SUMMARY_EVERY_MS = 5000;

let state = fromAddress();
let shownQuery = null;
let summary = null;

const PREFIXES = { System: "rating:" };

/** The query in the service's language. What is being typed is looked for anywhere in a tag. */
function query({ tags, q, category }) {
  const prefix = category && (PREFIXES[category] ?? `${category.toLowerCase()}:`);
  const words = q.split(/\s+/).filter(Boolean).map((word) => `${prefix}*${word}*`);
  return [...tags.map(quoted), ...words, ...(prefix && !words.length ? [`${prefix}*`] : [])].join(" ");
}

const grid = new Grid({ clear: () => go({ tags: [], q: "", category: "" }) });
const picture = new Picture({ close, search: (tag) => go({ tags: [tag], q: "", category: "", picture: null }), step });
const search = new Search({ change: go });

function fromAddress() {
  const query = new URLSearchParams(location.search);
  return {
    tags: query.getAll("tag"),
    q: query.get("q") ?? "",
    category: query.get("category") ?? "",
    picture: /^\d+$/.test(query.get("picture") ?? "") ? Number(query.get("picture")) : null,
  };
}

function address({ tags, q, category, picture: id }) {
  const query = new URLSearchParams(tags.map((tag) => ["tag", tag]));
  if (q) query.set("q", q);
  if (category) query.set("category", category);
  if (id !== null) query.set("picture", id);
  return query.size ? `/?${query}` : "/";
}

/** Moves to a changed state. What is typed replaces the address; all else is a step that back undoes. */
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

function show() {
  const query = JSON.stringify([state.tags, state.q, state.category]);
  if (query !== shownQuery) {
    shownQuery = query;
    search.show(state, summary);
    grid.show(query(state), state.tags.length > 0 || state.q !== "", summary);
  }
  picture.show(state.picture);
  document.title = [...state.tags, state.q, summary?.library ?? "Library"].filter(Boolean).join(" · ");
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
  search.showCategories(state, summary);
  show();
}

byId("home").addEventListener("click", (event) => {
  event.preventDefault();
  go({ tags: [], q: "", category: "", picture: null });
});

byId("grid").addEventListener("click", (event) => {
  const card = event.target.closest("a");
  if (!card || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  go({ picture: Number(card.dataset.id) }, { opened: true });
});

addEventListener("popstate", () => {
  state = fromAddress();
  show();
});

addEventListener("keydown", (event) => {
  if (event.key === "/" && state.picture === null && document.activeElement !== byId("input")) {
    event.preventDefault();
    byId("input").focus();
  }
});

await refresh();
show();
// On a phone the focus would bring the keyboard up, over half of the pictures.
if (state.picture === null && matchMedia("(hover: hover) and (pointer: fine)").matches) byId("input").focus();
setInterval(() => document.visibilityState === "visible" && refresh(), SUMMARY_EVERY_MS);
