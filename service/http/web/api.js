/** Calls of the server's HTTP routes. */

class ServerError extends Error {
  /** An error of the server: its message, the HTTP status and the name of the gRPC code. */
  constructor({ message, code, status }) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

/** Returns the models that answer, by name and version: `{name, version, in_service, labels, ...}`. */
export async function listModels(token) {
  const { models } = await call("v1/models", { token });
  return models.filter((model) => model.state === "STATE_AVAILABLE");
}

/** The path of the route that classifies, from the server's root. */
export const classifyPath = (model) => `v1/models/${encodeURIComponent(model)}:classify`;

/** Classifies texts. `request` is the body of the route. */
export function classify(model, request, { token, signal }) {
  return call(classifyPath(model), { token, signal, body: JSON.stringify(request) });
}

async function call(path, { token, signal, body }) {
  const headers = { "Content-Type": "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  const method = body === undefined ? "GET" : "POST";
  let response;
  try {
    response = await fetch(path, { method, headers, body, signal });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Error("The server is unreachable.");
  }
  if (response.ok) return response.json();
  const answer = await response.json().catch(() => ({})); // a proxy may answer without JSON
  throw new ServerError(answer.error ?? { message: `The server answered with HTTP ${response.status}.`, code: response.status });
}
