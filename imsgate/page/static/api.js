// Requests to the APIs, which are in the directory above this page, with the user's token.

const BASE = new URL("..", document.baseURI);
const STALL_MS = 60_000;
const ANSWER_MS = 120_000;

/** The service answered, and said no. */
export class Refusal extends Error {
  constructor(status, reason, details, headers) {
    super(details.message || `The server answered ${status}.`);
    this.status = status;
    this.reason = reason;
    this.check = details.check;
    this.problem = details.problem;
    this.hint = details.hint;
    this.offset = details.offset;
    this.headers = headers;
  }

  /** Whether the same request can succeed later. */
  get isPassing() {
    const waits = this.status === 409 && this.headers?.has("Retry-After");
    return waits || this.status === 408 || this.status === 429 || this.status >= 500;
  }

  /** Whether a proxy in front of the service, which gives no reason, takes no body of this size. */
  get isProxyLimit() {
    return this.status === 413 && !this.reason;
  }
}

/** There was no answer. */
export class NetworkFailure extends Error {
  constructor() {
    super("The server cannot be reached.");
  }
}

export class Api {
  /** `session.token` is the token, and `session.renew()` gets another one from the user. */
  constructor(session) {
    this.session = session;
  }

  /** The response. `json` becomes the body. Throws Refusal, NetworkFailure and AbortError. */
  async call(method, path, { json, headers = {}, body, signal } = {}) {
    const fields = { Accept: "application/json", ...headers };
    if (json !== undefined) {
      body = JSON.stringify(json);
      fields["Content-Type"] = "application/json";
    }
    for (;;) {
      const token = this.session.token;
      const init = { method, body, signal, headers: { ...fields, "X-Auth-Token": token } };
      const response = await answered(new URL(path, BASE), init);
      if (response.ok) return response;
      if (response.status !== 401) throw await refusal(response);
      await this.session.renew(token);
    }
  }

  async json(path, options) {
    return (await this.call("GET", path, options)).json();
  }

  /** Sends a part of a file, and calls `progress` with the number of bytes that were sent. */
  async send(method, path, { body, headers, signal, progress }) {
    for (;;) {
      const token = this.session.token;
      const url = new URL(path, BASE);
      const fields = { Accept: "application/json", ...headers, "X-Auth-Token": token };
      const response = await sent({ method, url, body, headers: fields, signal, progress });
      if (response.ok) return response;
      if (response.status !== 401) throw await refusal(response);
      await this.session.renew(token);
    }
  }
}

async function answered(url, init) {
  try {
    return await fetch(url, { ...init, cache: "no-store", credentials: "omit", redirect: "error" });
  } catch (error) {
    throw error.name === "AbortError" ? error : new NetworkFailure();
  }
}

/** By XMLHttpRequest, because fetch does not tell how much it has sent. */
function sent({ method, url, body, headers, signal, progress }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    let stalled = 0;
    const wait = (ms) => {
      clearTimeout(stalled);
      stalled = setTimeout(() => request.abort(), ms);
    };
    const give_up = () => request.abort();
    const end = (settle, value) => {
      clearTimeout(stalled);
      signal.removeEventListener("abort", give_up);
      settle(value);
    };
    request.open(method, url);
    for (const [name, text] of Object.entries(headers)) request.setRequestHeader(name, text);
    request.upload.onprogress = (event) => {
      wait(STALL_MS);
      progress(event.loaded);
    };
    request.upload.onload = () => wait(ANSWER_MS);
    request.onload = () => end(resolve, responseOf(request));
    request.onerror = () => end(reject, new NetworkFailure());
    request.onabort = () => end(reject, signal.aborted ? signal.reason : new NetworkFailure());
    signal.addEventListener("abort", give_up);
    if (signal.aborted) return end(reject, signal.reason);
    wait(STALL_MS);
    return request.send(body);
  });
}

function responseOf(request) {
  const headers = new Headers();
  for (const line of request.getAllResponseHeaders().trim().split("\r\n")) {
    const [name, text] = line.split(/: (.*)/s);
    if (name) headers.append(name, text ?? "");
  }
  const empty = [204, 205, 304].includes(request.status);
  return new Response(empty ? null : request.responseText, { status: request.status, headers });
}

async function refusal(response) {
  let details = {};
  try {
    const body = await response.json();
    details = body.error && typeof body.error === "object" ? body.error : body;
    details.message ??= details.error_msg ?? details.detail;
  } catch {
    // A proxy's page, or no body at all: the status must do.
  }
  const reason = response.headers.get("X-Imsgate-Reason");
  return new Refusal(response.status, reason, details, response.headers);
}

/** A random key for one request that may have to be repeated. */
export function idempotencyKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return `"${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}"`;
}
