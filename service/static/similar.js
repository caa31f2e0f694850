// A picture that is dropped on the page, pasted or chosen: its tags, and the library's pictures that look like it.

import { byId, postFile, sentence, toast } from "./dom.js";
import { named, t } from "./words.js";

export class Similar {
  #show;

  /** `show(pictures, title)`: what was found. */
  constructor({ show }) {
    this.#show = show;
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
    const pictures = found.similar.map((one) => ({
      id: one.mediaId, path: one.storageUrl, tags: [], rating: null, note: `${one.copy ? "= " : ""}${Math.round(one.likeness * 100)} %`,
    }));
    return this.#show(pictures, `${t("similarTo")}${tags ? ` (${tags})` : ""}`);
  }

  #say(text, tags = "") {
    byId("found").textContent = tags ? `${text} (${t("tags")}: ${tags})` : text;
    toast(text);
  }
}
