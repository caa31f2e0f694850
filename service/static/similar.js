// A picture that is dropped on the page, pasted or chosen: its tags, and the library's pictures that look like it.

import { byId, getJson, postFile, sentence, toast } from "./dom.js";
import { lang, named, t } from "./words.js";

const MOST = 100; // terms of a query

export class Similar {
  #show;
  #restrictions;

  /** `show(pictures, title)`: what was found; `restrictions()`: what every search leaves out, as a query. */
  constructor({ show, restrictions }) {
    this.#show = show;
    this.#restrictions = restrictions;
    const veil = byId("drop");
    let depth = 0;
    addEventListener("dragenter", (event) => {
      if (![...event.dataTransfer.types].includes("Files")) return;
      depth += 1;
      veil.hidden = false;
    });
    addEventListener("dragleave", () => {
      depth = Math.max(0, depth - 1);
      veil.hidden = depth === 0;
    });
    addEventListener("dragover", (event) => event.preventDefault());
    addEventListener("drop", (event) => {
      event.preventDefault();
      depth = 0;
      veil.hidden = true;
      if (event.dataTransfer.files[0]) this.#ask(event.dataTransfer.files[0]);
    });
    addEventListener("paste", (event) => event.clipboardData.files[0] && this.#ask(event.clipboardData.files[0]));
    byId("camera").addEventListener("click", () => byId("file").click());
    byId("file").addEventListener("change", ({ target }) => target.files[0] && this.#ask(target.files[0]));
  }

  async #ask(file) {
    byId("found").textContent = "…";
    let found;
    try {
      found = await postFile("/page/similar", file);
    } catch (error) {
      return this.#say(error.status === 404 ? t("noModel") : named("dropped", error.status, error.message));
    }
    const tags = found.tags.slice(0, 12).map((one) => one.tag).join(", ");
    if (found.code) return this.#say(named("dropped", found.code, sentence(found.reason)), tags);
    const like = new Map(found.similar.slice(0, MOST).map((one) => [one.mediaId, one]));
    const cards = like.size ? await this.#cards([...like.keys()]) : [];
    const note = ({ copy, likeness }) => `${copy ? "= " : ""}${Math.round(likeness * 100)} %`;
    const pictures = cards.map((card) => ({ ...card, note: note(like.get(card.id)) }));
    pictures.sort((one, other) => like.get(other.id).likeness - like.get(one.id).likeness);
    return this.#show(pictures, `${t("similarTo")}${tags ? ` (${tags})` : ""}`);
  }

  /** These pictures as any search shows them: those of hidden ratings stay hidden. */
  async #cards(ids) {
    const q = `${this.#restrictions()} (${ids.map((id) => `id:${id}`).join(" or ")})`;
    return (await getJson("/page/pictures", { q, lang, limit: ids.length }).catch(() => ({ pictures: [] }))).pictures;
  }

  #say(text, tags = "") {
    byId("found").textContent = tags ? `${text} (${t("tags")}: ${tags})` : text;
    toast(text);
  }
}
