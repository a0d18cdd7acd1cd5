// Who is signed in. The token is in a variable of this module's object, and nowhere else.

import { byId } from "./dom.js";

export class Session {
  #token = null;
  #renewal = null;

  constructor(settings) {
    this.dialog = byId("sign-in");
    this.ways = { password: byId("with-password"), token: byId("with-token") };
    this.way = settings.keystone ? "password" : "token";
    byId("ways").hidden = !settings.keystone;
    for (const choice of byId("ways").querySelectorAll("input")) {
      choice.addEventListener("change", () => this.#show(choice.value));
    }
    for (const form of Object.values(this.ways)) {
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        this.#submit(form);
      });
    }
    this.dialog.addEventListener("cancel", (event) => event.preventDefault());
    // Some browsers let a second Escape close it all the same.
    this.dialog.addEventListener("close", () => this.#renewal && this.#open());
    byId("sign-out").addEventListener("click", () => location.reload());
  }

  get token() {
    return this.#token;
  }

  /** Asks the user for another token than `refused`, once for all requests that wait for it. */
  async renew(refused = null) {
    if (this.#token !== refused) return;
    const why = refused === null ? "" : "Your token is no longer valid. Sign in again to go on.";
    this.#renewal ??= this.#ask(why).finally(() => {
      this.#renewal = null;
    });
    await this.#renewal;
  }

  #ask(why) {
    byId("sign-in-why").textContent = why;
    byId("sign-in-why").hidden = !why;
    this.#open();
    return new Promise((resolve) => {
      this.signedIn = resolve;
    });
  }

  #open() {
    this.dialog.showModal();
    this.#show(this.way);
  }

  #show(way) {
    this.way = way;
    for (const [name, form] of Object.entries(this.ways)) form.hidden = name !== way;
    this.ways[way].querySelector("input").focus();
  }

  async #submit(form) {
    const submit = form.querySelector("[type=submit]");
    const problem = byId("sign-in-problem");
    problem.textContent = "";
    submit.disabled = true;
    try {
      const { token, who } = form === this.ways.token ? typed(form.elements) : await fromKeystone(form.elements);
      await checked(token);
      this.#token = token;
      byId("who").textContent = who;
      for (const field of form.querySelectorAll("[type=password]")) field.value = "";
      byId("sign-out").hidden = false;
      this.dialog.close();
      this.signedIn();
    } catch (error) {
      problem.textContent = error.message;
    } finally {
      submit.disabled = false;
    }
  }
}

function typed(fields) {
  const token = fields.token.value.trim();
  if (!token) throw new Error("Type in or paste a token.");
  if (!/^[\x21-\x7e]+$/.test(token)) throw new Error("A token has no spaces and only ASCII characters.");
  return { token, who: "" };
}

async function fromKeystone(fields) {
  const names = ["user", "password", "project", "user_domain", "project_domain"];
  const body = Object.fromEntries(names.map((name) => [name, fields[name].value]));
  if (!body.user || !body.password || !body.project) {
    throw new Error("User name, password and project are required.");
  }
  const response = await request("sign-in", {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/json" },
    body: JSON.stringify(body),
  });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.message || `The server answered ${response.status}.`);
  return { token: answer.token, who: `${answer.user}, project ${answer.project}` };
}

/** Throws if the service does not accept the token. */
async function checked(token) {
  const response = await request("../v2/info/stores", {
    headers: { "X-Auth-Token": token, Accept: "application/json" },
  });
  if (response.status === 401) throw new Error("The server does not accept this token.");
  if (!response.ok) throw new Error(`The server answered ${response.status}. Try again later.`);
}

async function request(path, init) {
  try {
    return await fetch(path, { ...init, cache: "no-store", credentials: "omit" });
  } catch {
    throw new Error("The server cannot be reached.");
  }
}
