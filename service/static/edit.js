// Editing many pictures at once: those that are selected, or all that were found; with a preview, a journal and undo.

import { box } from "./complete.js";
import { byId, getJson, make, postJson, sure, toast, who } from "./dom.js";
import { lang, t, titled } from "./words.js";

const MANY = 10; // pictures: an undo of more is asked about

export class Edit {
  #dialog = byId("edit");
  #scope = null;
  #add = new Set();
  #take = new Set();
  #done;

  /** `done()`: pictures have other tags now. */
  constructor({ done }) {
    this.#done = done;
    byId("edit-cancel").addEventListener("click", () => this.#dialog.close());
    byId("edit-preview").addEventListener("click", () => this.#send(true));
    byId("edit-apply").addEventListener("click", () => this.#send(false));
    byId("history-open").addEventListener("click", () => this.#history());
    byId("history-close").addEventListener("click", () => byId("history").close());
    for (const [id, tags, label] of [["edit-add", this.#add, "add"], ["edit-take", this.#take, "takeAway"]]) {
      const put = (tag) => {
        tags.add(tag);
        this.#show();
      };
      byId(id).replaceChildren(
        make("label", { for: `${id}-input` }, t(label)),
        make("ul", { class: "chips", id: `${id}-chips` }),
        box(`${id}-input`, "addTag", {
          choose: ({ tag }) => put(tag), path: "/page/tags/suggest",
          enter: (text) => ((byId(`${id}-input`).value = ""), put(text.replaceAll(" ", "_"))),
        }),
      );
    }
  }

  /** `scope`: {pictures: ids} or {query: text}; `title` says which. */
  open(scope, title) {
    this.#scope = scope;
    this.#add.clear();
    this.#take.clear();
    byId("edit-title").textContent = title;
    this.#show();
    this.#dialog.showModal();
  }

  #show() {
    for (const [id, tags] of [["edit-add", this.#add], ["edit-take", this.#take]]) {
      const off = (tag) => {
        tags.delete(tag);
        this.#show();
      };
      byId(`${id}-chips`).replaceChildren(
        ...[...tags].map((tag) => make("li", {}, make("span", { class: "label" }, tag), make("button", { class: "off", "aria-label": `${t("remove")} ${tag}`, click: () => off(tag) }, "×"))),
      );
    }
    byId("edit-told").replaceChildren();
    byId("edit-apply").disabled = byId("edit-preview").disabled = this.#add.size + this.#take.size === 0;
  }

  async #send(dryRun) {
    const body = { ...this.#scope, yes: [...this.#add], no: [...this.#take], who: who(), dryRun };
    let done;
    try {
      done = await postJson("/page/edits", body);
    } catch (error) {
      return byId("edit-told").replaceChildren(make("li", {}, error.message));
    }
    const counts = Object.entries(done.changed);
    if (dryRun) return byId("edit-told").replaceChildren(...counts.map(([tag, n]) => make("li", {}, t("wouldChange", tag, n))));
    this.#dialog.close();
    this.#done();
    const sum = counts.reduce((all, [, n]) => all + n, 0);
    const what = [...body.yes.map((tag) => `+${tag}`), ...body.no.map((tag) => `−${tag}`)].join(" ");
    return toast(t("changed", sum), done.id ? t("undoWhat", what) : null, () => this.#undo({ ids: [done.id], told: what, pictures: done.pictures }));
  }

  /** `told`: what is undone; of many pictures, it is asked before. */
  async #undo({ ids, told, pictures }) {
    if (pictures > MANY && !(await sure(t("undoSure", told), t("undoIn", pictures)))) return;
    let [back, left] = [0, 0];
    try {
      for (const id of ids) {
        const done = await postJson(`/page/edits/${id}/undo`, { who: who() });
        back += Object.values(done.changed).reduce((all, n) => all + n, 0);
        left += done.left;
      }
      toast(t("undone", back, left));
    } catch (error) {
      toast(error.message);
    }
    this.#done();
    if (byId("history").open) this.#history();
  }

  async #history() {
    const { entries } = await getJson("/page/edits", { limit: 200 }).catch(() => ({ entries: [] }));
    byId("history-list").replaceChildren(
      ...lines(entries).map((entry) =>
        make(
          "li", { class: entry.undone_by ? "out" : "" },
          make("span", {}, entry.told), make("small", {}, `${new Date(entry.at).toLocaleString(lang)} · ${entry.who}`),
          entry.undone_by ? make("small", {}, `✓ ${t("wasUndone")}`) : make("button", { class: "plain", "aria-label": `${t("undo")}: ${entry.told}`, click: () => this.#undo(entry) }, t(entry.kind === "undo" ? "redoIn" : "undoIn", entry.pictures)),
        ),
      ),
      ...(entries.length ? [] : [make("li", { class: "none" }, t("nothingYet"))]),
    );
    if (!byId("history").open) byId("history").showModal();
  }
}

/** A review is an entry of the journal for each key: those that follow each other are one line. */
function lines(entries) {
  const found = [];
  for (const entry of entries) {
    const of = entry.kind === "review" && !entry.undone_by ? entry.changes[0]?.tag : undefined;
    const last = found.at(-1);
    if (of !== undefined && last?.of === of && last.who === entry.who) {
      last.ids.push(entry.id);
      last.pictures += entry.pictures;
      last.told = titled(t("review"), of);
    } else found.push({ ...entry, of, told: told(entry), ids: [entry.id] });
  }
  return found;
}

/** What an entry did, in the page's language. An undo may have found nothing to put back. */
function told({ kind, changes }) {
  const tags = changes.map(({ tag }) => tag).join(", ");
  const counts = changes.map(({ tag, yes, no }) => `${tag} (✓ ${yes.toLocaleString(lang)}, ✗ ${no.toLocaleString(lang)})`);
  if (kind === "review") return titled(t("review"), counts.join(", "));
  if (kind !== "edit") return tags ? titled(t(kind), tags) : t(kind);
  const of = (part, say) => changes.filter((change) => change[part]).map(({ tag }) => say(tag));
  return [...of("yes", (tag) => `+${tag}`), ...of("no", (tag) => `−${tag}`), ...of("clear", (tag) => t("takenBack", tag))].join(" ");
}
