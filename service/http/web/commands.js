/** Shows a call as commands to copy. */

import { classifyPath } from "./api.js";

/** Maximum size of a request in one argument of a command. Linux allows 128 KiB. */
const LONGEST = 100_000;

/** Tells whether a request is short enough for a command. */
export const fits = (request) => new TextEncoder().encode(JSON.stringify(request)).length <= LONGEST;

/**
 * Returns the call as `{curl, grpcurl, python}`. A token is not written out: the commands read it from `$TOKEN`.
 *
 * @param {{url: URL, grpcPort: string, withToken: boolean}} server
 * @param {string} model
 * @param {{texts: string[], version?: number, top_k?: number}} request the body of the HTTP route
 */
export function commands(server, model, request) {
  return {
    curl: curl(server, model, request),
    grpcurl: grpcurl(server, model, request),
    python: python(server, model, request),
  };
}

function curl({ url, withToken }, model, request) {
  const token = withToken ? ` -H "Authorization: Bearer $TOKEN"` : "";
  return `curl -H 'Content-Type: application/json'${token} \\
    -d ${quoted(JSON.stringify(request))} \\
    ${quoted(new URL(classifyPath(model), url).href)}`;
}

function grpcurl({ url, grpcPort, withToken }, model, request) {
  const plaintext = encrypted(url) ? "" : " -plaintext";
  const token = withToken ? ` -H "authorization: Bearer $TOKEN"` : "";
  return `grpcurl${plaintext}${token} \\
    -d ${quoted(JSON.stringify({ model, ...request }))} \\
    ${url.hostname}:${grpcPort} text_classifier.v1.TextClassifier/Classify`;
}

function python({ url, grpcPort, withToken }, model, { texts, version, ...options }) {
  const imports = [];
  const client = [literal(`${url.hostname}:${grpcPort}`)];
  if (withToken) {
    imports.push("import os\n");
    client.push(`token=os.environ["TOKEN"]`);
  }
  if (encrypted(url)) {
    imports.push("import grpc\n");
    client.push("credentials=grpc.ssl_channel_credentials()");
  }
  const named = Object.entries({ model, version, ...options }).filter(([, value]) => value !== undefined);
  const call = [literal(texts), ...named.map(([name, value]) => `${name}=${literal(value)}`)];
  return `${imports.join("")}from text_classifier import Client

with Client(${client.join(", ")}) as client:
    for answer in client.classify(${call.join(", ")}):
        print(answer.label, answer.probability)`;
}

const encrypted = (url) => url.protocol === "https:";

/** Quotes text for a POSIX shell. */
const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

/** Writes a value in Python, whose strings and numbers look as in JSON. */
const literal = (value) => {
  if (value === true) return "True";
  return Array.isArray(value) ? `[${value.map(literal).join(", ")}]` : JSON.stringify(value);
};
