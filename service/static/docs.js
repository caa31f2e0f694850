// /openapi.json for people: the usual documentation pages load their scripts from the network, this one does not.

import { byId, getJson, make } from "./dom.js";

const document_ = await getJson("/openapi.json");

const resolved = (schema = {}) => (schema.$ref ? document_.components.schemas[schema.$ref.split("/").at(-1)] : schema);

function kind(schema) {
  const { type, anyOf, items, minimum, maximum, const: only } = resolved(schema);
  if (anyOf) return anyOf.map(kind).join(" or ");
  if (type === "array") return `list of ${schema.items?.$ref ? schema.items.$ref.split("/").at(-1) : kind(items)}`;
  if (only !== undefined) return JSON.stringify(only);
  const bounds = minimum === undefined ? "" : maximum > 1e15 ? ` ≥ ${minimum}` : ` ${minimum} – ${maximum}`;
  return `${type}${bounds}`;
}

function example(schema) {
  const { type, properties, items, examples, const: only } = resolved(schema);
  if (examples) return examples[0];
  if (only !== undefined) return only;
  if (type === "array") return [example(items)];
  if (!properties) return type === "integer" ? 1 : "…";
  return Object.fromEntries(Object.entries(properties).map(([key, value]) => [key, example(value)]));
}

function fields(schema) {
  const whole = resolved(schema);
  const { properties = {}, required = [] } = resolved(whole.type === "array" ? whole.items : whole);
  return make(
    "table",
    {},
    ...Object.entries(properties).map(([name, value]) =>
      make(
        "tr",
        {},
        make("td", {}, name),
        make("td", {}, kind(value) + (required.includes(name) ? "" : ", optional")),
        make("td", {}, value.description ?? ""),
      ),
    ),
  );
}

const json = (content) => content?.["application/json"]?.schema;

function call(path, method, { description, requestBody, responses, parameters = [] }) {
  const request = json(requestBody?.content);
  const answers = Object.entries(responses).map(([status, answer]) =>
    make("tr", {}, make("td", {}, status), make("td", {}, answer.description), make("td", {})),
  );
  const headers = parameters.map(({ name, required, schema }) =>
    make("tr", {}, make("td", {}, name), make("td", {}, required ? "header" : "header, optional"), make("td", {}, schema.description ?? "")),
  );
  return make(
    "section",
    {},
    make("h2", {}, make("b", {}, method.toUpperCase()), path),
    make("p", {}, description ?? ""),
    make("h3", {}, resolved(request).type === "array" ? "Request: a list of" : "Request"),
    request || !requestBody ? fields(request) : make("p", {}, requestBody.description),
    headers.length ? make("table", {}, ...headers) : null,
    request || !requestBody ? make("pre", {}, JSON.stringify(example(request))) : null,
    make("h3", {}, "Answer"),
    make("table", {}, ...answers),
    fields(json(responses["200"].content)),
  );
}

byId("calls").append(
  ...Object.entries(document_.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, about]) => call(path, method, about)),
  ),
);
