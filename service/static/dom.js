// Everything shown is made here. Text goes in as text nodes only, so no file name or tag can become markup.

import { lang } from "./words.js";

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

const sentence = (text) => (text ? `${text[0].toUpperCase()}${text.slice(1)}${/[.。!?]$/.test(text) ? "" : "."}` : text);

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
  return answered(await fetch(`${path}?${query}`, { signal }));
}

export async function postJson(path, body, headers = {}) {
  const response = await fetch(path, {
    method: "POST", headers: { "Content-Type": "application/json", ...headers }, body: JSON.stringify(body),
  });
  return (await answered(response)).json();
}

export async function postFile(path, file) {
  return (await answered(await fetch(path, { method: "POST", body: file }))).json();
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
  bar.replaceChildren(text, ...(label ? [make("button", { class: "plain", click: () => ((bar.hidden = true), act()) }, label)] : []));
  bar.hidden = false;
  toasting = setTimeout(() => (bar.hidden = true), 12000);
}
