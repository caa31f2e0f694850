// Everything shown is made here. Text goes in as text nodes only, so no file name or tag can become markup.

export const byId = (id) => document.getElementById(id);

/** make("a", {class: "card", href: "/"}, child, "text") */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (value !== null && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** A class that colours what belongs to a category of tags. */
export const colour = (category) =>
  ({ General: "general", Character: "character", System: "system" })[category] ?? "other";

export const number = (value) => value.toLocaleString("en");

/** A tag as a query holds it, whatever is in it. */
export const quoted = (tag) => `"${tag.replace(/[\\"]/g, "\\$&")}"`;

/** The service answered, but not with what was asked for; its message says why. */
export class Refused extends Error {}

export async function getJson(path, parameters = {}, signal = undefined) {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(parameters)) {
    for (const one of [value].flat()) if (one !== "" && one !== null) query.append(key, one);
  }
  const response = await fetch(`${path}?${query}`, { signal });
  if (!response.ok) {
    const said = await response.json().catch(() => ({}));
    throw new Refused(said.error ?? `The service answered ${response.status}.`);
  }
  return response.json();
}
