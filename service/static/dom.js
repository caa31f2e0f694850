// Everything shown is made here. Text goes in as text nodes only, so no file name or tag can become markup.

import { lang, t } from "./words.js";

export const byId = (id) => document.getElementById(id);

/** make("a", {class: "card", href: "/"}, child, "text") */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A class that colours what belongs to a category of tags. */
export const colour = (category) =>
  ({ general: "general", character: "character", system: "system", rating: "system", copyright: "series" })[
    (category ?? "").toLowerCase()
  ] ?? "other";

export const number = (value) => value.toLocaleString(lang);

/** A tag as a query holds it, whatever is in it. */
export const quoted = (tag) => (/^[\p{L}\p{N}_]+$/u.test(tag) && tag.toLowerCase() !== "or" ? tag : `"${tag.replace(/[\\"]/g, "\\$&")}"`);

/** The service answered, but not with what was asked for; its message says why. */
export class Refused extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

export const sentence = (text) => (text ? `${text[0].toUpperCase()}${text.slice(1)}${/[.。!?]$/.test(text) ? "" : "."}` : text);

/** As fetch; a service that is away is an answer too. */
async function reached(...request) {
  try {
    return await fetch(...request);
  } catch (error) {
    throw error.name === "AbortError" ? error : new Refused(t("away"), 0);
  }
}

async function answered(response) {
  if (response.ok) return response;
  const said = await response.json().catch(() => ({}));
  throw new Refused(sentence(said.error ?? `The service answered ${response.status}`), response.status);
}

export async function getJson(path, parameters = {}, signal = undefined) {
  return (await getAnswer(path, parameters, signal)).json();
}

export async function getAnswer(path, parameters = {}, signal = undefined) {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries({ lang, ...parameters })) {
    if (value !== "" && value !== null && value !== undefined) query.append(key, value);
  }
  return answered(await reached(`${path}?${query}`, { signal }));
}

export async function postJson(path, body, headers = {}) {
  const response = await reached(path, {
    method: "POST", headers: { "Content-Type": "application/json", ...headers }, body: JSON.stringify(body),
  });
  return (await answered(response)).json();
}

export async function postFile(path, file) {
  return (await answered(await reached(path, { method: "POST", body: file }))).json();
}

/** Who changes something, for the journals. */
export function who() {
  return localStorage.getItem("who") || "somebody";
}

let toasting = null;

/** A sentence at the bottom for a while, perhaps with a button. */
export function toast(text, label = null, act = null) {
  const bar = byId("toast");
  clearTimeout(toasting);
  ([...document.querySelectorAll("dialog[open][id]")].at(-1) ?? document.body).append(bar); // what lies under a dialog cannot be clicked
  bar.replaceChildren(text, ...(label ? [make("button", { class: "plain", click: () => ((bar.hidden = true), act()) }, label)] : []));
  bar.hidden = false;
  toasting = setTimeout(() => (bar.hidden = true), 12000);
}

/** Asks in a dialog; true: go on. */
export function sure(question, label) {
  return new Promise((answer) => {
    const dialog = make(
      "dialog", { class: "small", role: "alertdialog", "aria-label": label, close: () => (dialog.remove(), answer(dialog.returnValue === "yes")) },
      make("p", {}, question),
      make("p", { class: "buttons" },
        make("button", { class: "plain strong", click: () => dialog.close("yes") }, label),
        make("button", { class: "link", click: () => dialog.close() }, t("cancel"))),
    );
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** What is typed in a box, without blanks around it; says so where that is nothing. */
export function typed(input) {
  const text = input.value.trim();
  if (!text) {
    toast(t("typeFirst"));
    input.focus();
  }
  return text;
}
