// Groups of pictures that are copies of each other, side by side, the largest group first.

import { byId, getJson, make } from "./dom.js";
import "./review-words.js";
import { choose, lang, language, LANGUAGES, t, translate } from "./words.js";

const PAGE = 20;
const NAMED = 30; // pictures that a search names one by one

translate();
document.title = t("copies");
byId("language").replaceChildren(...Object.entries(LANGUAGES).map(([code, name]) => make("option", { value: code, selected: code === language }, name)));
byId("language").addEventListener("change", ({ target }) => choose(target.value));

let shown = 0;
let total = Infinity;
let loading = false;

const size = (bytes) => (bytes === null ? "" : bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3)).toLocaleString(lang)} kB` : `${(bytes / 1e6).toLocaleString(lang, { maximumFractionDigits: 1 })} MB`);
const search = (query) => `/?q=${encodeURIComponent(query)}`;

function group({ pictures }) {
  const query = pictures.slice(0, NAMED).map(({ mediaId }) => `id:${mediaId}`).join(" or ");
  return make(
    "section", { class: "copies" },
    make("div", { class: "line" }, make("h2", {}, t("pictures", pictures.length)), make("a", { href: search(query) }, t("searchThese")), make("a", { href: search(`similar:${pictures[0].mediaId}`) }, t("moreLike"))),
    make("div", { class: "grid" }, ...pictures.map(({ mediaId, storageUrl, size: bytes }) =>
      make(
        "a", { class: "card", href: `/?picture=${mediaId}`, title: storageUrl },
        make("img", { src: `/thumb/${mediaId}`, alt: storageUrl, loading: "lazy", decoding: "async" }),
        make("ul", {}, make("li", {}, make("span", {}, storageUrl.slice(storageUrl.lastIndexOf("/") + 1)), make("small", {}, size(bytes)))),
      ))),
  );
}

async function more() {
  if (loading || shown >= total) return;
  loading = true;
  try {
    const found = await getJson("/page/similar/copies", { offset: shown, limit: PAGE });
    total = found.total;
    shown += PAGE;
    byId("groups").append(...found.groups.map(group));
    byId("found").textContent = t("groupCount", total);
    byId("empty").hidden = total > 0;
    if (total === 0) byId("empty").replaceChildren(make("h2", {}, t("noCopies")), make("p", {}, t("noCopiesHint")));
  } catch (error) {
    byId("found").textContent = error.message;
  }
  loading = false;
}

new IntersectionObserver(([entry]) => entry.isIntersecting && more(), { rootMargin: "800px" }).observe(byId("more"));
await more();
