// Who is signed in. The token is in a variable of this module's object, and nowhere else.

import { byId } from "./dom.js";

export class Session {
  #token = null;
  #renewal = null;

  constructor(settings) {
    this.settings = settings;
    this.dialog = byId("sign-in");
    this.form = this.dialog.querySelector("form");
    this.dialog.addEventListener("cancel", (event) => event.preventDefault());
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    for (const way of this.form.elements.way) way.addEventListener("change", () => this.#show());
    byId("ways").hidden = !settings.keystone;
    if (!settings.keystone) this.form.elements.way.value = "token";
    byId("sign-out").addEventListener("click", () => location.reload());
    this.#show();
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
    this.dialog.showModal();
    this.#show();
    return new Promise((resolve) => {
      this.signedIn = resolve;
    });
  }

  #show() {
    const withPassword = this.form.elements.way.value === "password";
    byId("with-password").hidden = !withPassword;
    byId("with-token").hidden = withPassword;
    if (this.dialog.open) this.form.elements[withPassword ? "user" : "token"].focus();
  }

  async #submit() {
    const submit = this.form.querySelector("[type=submit]");
    const problem = byId("sign-in-problem");
    problem.textContent = "";
    submit.disabled = true;
    try {
      const { token, who } = await this.#obtained();
      await checked(token);
      this.#token = token;
      byId("who").textContent = who;
      this.form.elements.token.value = "";
      this.form.elements.password.value = "";
      this.dialog.close();
      byId("sign-out").hidden = false;
      this.signedIn();
    } catch (error) {
      problem.textContent = error.message;
    } finally {
      submit.disabled = false;
    }
  }

  async #obtained() {
    const fields = this.form.elements;
    if (fields.way.value === "token") {
      const token = fields.token.value.trim();
      if (!token) throw new Error("Type in or paste a token.");
      if (!/^[\x21-\x7e]+$/.test(token)) throw new Error("A token has no spaces and only ASCII characters.");
      return { token, who: "" };
    }
    const names = ["user", "password", "project", "user_domain", "project_domain"];
    const body = Object.fromEntries(names.map((name) => [name, fields[name].value]));
    for (const name of ["user", "password", "project"]) {
      if (!body[name]) throw new Error("User name, password and project are required.");
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
