// The dictionary's editor: one concept with all its names, and the journal of every change with undo.

import { box } from "./complete.js";
import { byId, getAnswer, getJson, make, number, postJson, sure, toast, typed, who } from "./dom.js";
import { category, choose, lang, language, LANGUAGES, named, t, titled, translate } from "./words.js";

const SHOWN = [["zh-Hans", "简体中文"], ["ja", "日本語"], ["en", "English"]];
const KINDS = ["display", "synonym", "abbreviation", "former key"];

translate();
let shown = null; // the concept, and the ETag it came with

byId("language").replaceChildren(...Object.entries(LANGUAGES).map(([code, name]) => make("option", { value: code, selected: code === language }, name)));
byId("language").addEventListener("change", ({ target }) => choose(target.value));
byId("who").value = localStorage.getItem("who") ?? "";
byId("who").addEventListener("change", ({ target }) => localStorage.setItem("who", target.value.trim()));
byId("find").replaceChildren(
  box("find-input", "find", { path: "/page/tags/suggest", choose: ({ tag }) => open(tag), enter: (text) => resolve(text) }),
);
byId("new").addEventListener("submit", (event) => {
  event.preventDefault();
  const key = typed(byId("new-key"));
  if (key) change({ key, do: "add", category: "general" }, null);
});
byId("journal-open").addEventListener("click", () => journal());

async function resolve(text) {
  const { found, near } = await getJson("/page/tags/resolve", { name: text });
  const [first] = found;
  if (first) return open(first.concept);
  byId("told").replaceChildren(
    t("notFound"), ...(near.length ? [` ${t("meant")} `, ...near.map((one) => make("button", { class: "link", click: () => open(one.concept) }, `${one.name} (${one.concept})`))] : []),
  );
  return undefined;
}

async function open(key, push = true) {
  let answer;
  try {
    answer = await getAnswer("/page/tags/concept", { key });
  } catch (error) {
    byId("told").textContent = error.message;
    return;
  }
  shown = { etag: answer.headers.get("ETag"), concept: await answer.json() };
  if (push) history.pushState({}, "", `/dictionary?key=${encodeURIComponent(shown.concept.key)}`);
  byId("told").textContent = "";
  byId("journal").hidden = true;
  show();
}

/** One change; a conflict shows the concept as it is now. */
async function change(body, etag = shown?.etag) {
  try {
    const concept = await postJson("/page/tags/edit", { ...body, who: who() }, etag ? { "If-Match": etag } : {});
    await open(concept.key);
  } catch (error) {
    toast(error.status === 412 ? t("conflict") : error.message);
    if (error.status === 412) await open(body.key, false);
  }
}

function show() {
  const { concept } = shown;
  const of = (what) => ({ key: concept.key, ...what });
  const names = SHOWN.concat([["", "—"]]).map(([lang, label]) => {
    const some = concept.names.filter((name) => (lang ? name.lang.split("-")[0] === lang.split("-")[0] : !SHOWN.some(([known]) => name.lang.split("-")[0] === known.split("-")[0])));
    return make(
      "section", {}, make("h3", {}, label),
      make("ul", { class: "names" }, ...some.map((name) =>
        make(
          "li", {}, make("span", {}, name.text), make("small", {}, [t(name.kind), name.source].filter(Boolean).join(" · ")),
          name.kind !== "display" && lang && make("button", { class: "link", click: () => change(of({ do: "rename", name: name.text, lang })) }, t("display")),
          make("button", { class: "off", "aria-label": `${t("remove")} ${name.text}`, click: () => change(of({ do: "remove name", name: name.text })) }, "×"),
        ))),
      nameForm(of, lang),
    );
  });
  const list = (title, some, remove, add) =>
    make("section", {}, make("h3", {}, t(title)),
      make("ul", { class: "names" }, ...some.map((one) => make("li", {}, make("span", {}, one), make("button", { class: "off", "aria-label": `${t("remove")} ${one}`, click: () => remove(one) }, "×")))), add);
  byId("concept").replaceChildren(
    make("h2", {}, concept.key, make("small", {}, ` ${category(concept.category)} · ${number(concept.count)}`)),
    make("p", { class: "buttons" },
      make("a", { class: "plain", href: `/?q=${encodeURIComponent(`"${concept.key}"`)}` }, t("pictureCount")),
      make("button", { class: "plain", click: () => change(of({ do: "hide", remove: concept.hidden })) }, t(concept.hidden ? "showConcept" : "hideConcept")),
      make("button", { class: "plain", "aria-pressed": String((concept.weights.favourite ?? 1) > 1), click: () => change(of({ do: "weigh", weight: "favourite", value: (concept.weights.favourite ?? 1) > 1 ? null : 2 })) }, `★ ${t("favourite")}`)),
    ...names,
    list("keysOf", concept.keys, (name) => change(of({ do: "remove name", name })), null),
    list("implies", concept.implies, (broader) => change(of({ do: "relate", broader, remove: true })),
      box("broader", "implies", { path: "/page/tags/suggest", choose: ({ tag }) => change(of({ do: "relate", broader: tag })) })),
    list("groups", concept.groups, (path) => change(of({ do: "group", path, remove: true })), groupForm(of)),
    mergeForm(concept),
  );
  byId("concept").hidden = false;
}

function nameForm(of, lang) {
  const input = make("input", { placeholder: t("name"), "aria-label": `${t("add")} ${lang}`, maxlength: "500" });
  const kind = make("select", { "aria-label": t("kind") }, ...KINDS.map((one) => make("option", { value: one, selected: one === "synonym" }, t(one))));
  const submit = (event) => {
    event.preventDefault();
    const text = typed(input);
    if (text) change(of({ do: "add", names: [{ text, lang, kind: kind.value }] }));
  };
  return make("form", { class: "field", submit }, input, kind, make("button", { class: "link" }, t("add")));
}

function groupForm(of) {
  const choice = make("select", { "aria-label": t("groups") }, make("option", { value: "" }, "+"));
  getJson("/page/tags/groups").then(({ groups }) => {
    const shownName = (names) => names[{ zh: "zh-Hans" }[language] ?? language] ?? names.en ?? "";
    choice.append(...groups.map(({ path, names }) => make("option", { value: path }, `${path} ${shownName(names)}`)));
  });
  choice.addEventListener("change", () => choice.value && change(of({ do: "group", path: choice.value })));
  return choice;
}

/** What would be merged is shown side by side before it is. */
function mergeForm(concept) {
  const preview = make("div", { class: "told" });
  const look = async (into) => {
    let both;
    try {
      both = await postJson("/page/tags/merge", { source: concept.key, into, dryRun: true });
    } catch (error) {
      preview.textContent = error.message;
      return;
    }
    const merge = async () => {
      try {
        const done = await postJson("/page/tags/merge", { source: concept.key, into, who: who() });
        await open(done.into.key);
      } catch (error) {
        toast(error.message);
      }
    };
    preview.replaceChildren(
      make("p", {}, `${concept.key} → ${both.into.key}. ${t("mergeHint")}`),
      make("ul", {}, ...both.source.names.map((name) => make("li", {}, `+ ${name.text} (${name.lang || "—"})`))),
      make("button", { class: "plain strong", click: merge }, t("apply")),
    );
  };
  return make("section", {}, make("h3", {}, t("merge")), box("merge", "find", { path: "/page/tags/suggest", choose: ({ tag }) => look(tag) }), preview);
}

async function journal() {
  const { entries } = await getJson("/page/tags/journal", { limit: 100 });
  byId("concept").hidden = true;
  byId("journal").hidden = false;
  byId("journal").replaceChildren(
    ...entries.map((entry) =>
      make(
        "li", { class: entry.undone_by ? "out" : "" }, make("span", {}, told(entry)), make("small", { lang: "en" }, entry.summary), make("small", {}, `${new Date(entry.at).toLocaleString(lang)} · ${entry.who}`),
        entry.undone_by ? make("small", {}, `✓ ${t("wasUndone")}`) : make("button", { class: "plain", "aria-label": `${t("undo")}: ${told(entry)}`, click: () => undo(entry) }, t(entry.action === "undo" ? "redo" : "undo")),
      )),
    ...(entries.length ? [] : [make("li", { class: "none" }, t("nothingYet"))]),
  );
}

/** What an entry did, in the page's language; its summary says it in full, in English. */
function told({ action, keys, concepts, summary }) {
  const word = named("actions", action, action);
  if (!keys.length) return titled(word, summary);
  const more = concepts - keys.length;
  return titled(word, `${keys.join(", ")}${more ? ` +${more.toLocaleString(lang)}` : ""}`);
}

/** An import, or what undid one, may have changed thousands of concepts, so it is asked about before. */
async function undo({ id, action, ...entry }) {
  const label = t(action === "undo" ? "redo" : "undo");
  if (["import", "undo"].includes(action) && !(await sure(t("undoSure", told({ action, ...entry })), label))) return;
  try {
    const done = await postJson(`/page/tags/journal/${id}/undo`, { who: who() });
    toast(t("undone", done.restored, done.kept.length));
  } catch (error) {
    toast(error.message);
  }
  await journal();
}

const open_ = () => {
  const key = new URLSearchParams(location.search).get("key");
  if (key) open(key, false);
};
addEventListener("popstate", open_);
open_();
if (matchMedia("(hover: hover) and (pointer: fine)").matches) byId("find-input").focus();
