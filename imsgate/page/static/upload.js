// One file on its way into an image, by the IETF draft for resumable uploads. Knows no DOM.

import { NetworkFailure, Refusal, idempotencyKey } from "./api.js";
import { unfinished } from "./unfinished.js";
import { pause } from "./waiting.js";

const MIB = 1 << 20;
/** The server has enough of it to refuse most bad images. */
const FIRST_SLICE = MIB / 4;
const SMALLEST_SLICE = MIB / 16;
const LARGEST_SLICE = 16 * MIB;
const SLICE_MS = { short: 2000, long: 15_000 };
const LONGEST_PAUSE_MS = 30_000;
const POLL_MS = 1500;

export class Upload {
  #aborter = null;
  #key = idempotencyKey();
  #slice = 8 * MIB;
  #failures = 0;

  /**
   * `fields` are the attributes of the record, `changed` is called whenever anything has changed.
   * `state` is ready, queued, running, waiting (for the network), verifying, paused, done, refused
   * or failed.
   */
  constructor({ api, file, print, image = null, changed }) {
    Object.assign(this, { api, file, print, image, changed });
    this.fields = {};
    this.store = "";
    this.state = "ready";
    this.sent = 0;
    this.offset = 0;
    this.problem = null;
    /** Where this run of the upload began, to measure its rate. */
    this.began = { at: 0, offset: 0 };
  }

  get isActive() {
    return ["running", "waiting", "verifying"].includes(this.state);
  }

  get done() {
    return Math.min(this.file.size, this.offset + this.sent);
  }

  /** Bytes per second. */
  get rate() {
    const seconds = (performance.now() - this.began.at) / 1000;
    return seconds > 0 ? (this.done - this.began.offset) / seconds : 0;
  }

  /** Returns when the upload is done, paused, refused or has failed. */
  async run() {
    this.#aborter = new AbortController();
    this.problem = null;
    this.#enter("running");
    try {
      await this.#patiently(() => this.#begin());
      this.began = { at: performance.now(), offset: this.offset };
      while (!this.complete) await this.#patiently(() => this.#append());
      await this.#verified();
      unfinished.forget(this.image);
      this.#enter("done");
    } catch (error) {
      await this.#ended(error);
    }
  }

  pause() {
    this.#aborter?.abort();
  }

  /** Ends the upload for good: neither its data nor its record is left. */
  async cancel() {
    this.pause();
    if (this.image) await this.#discard();
  }

  async #discardRefused(error) {
    // An upload that has ended may have been followed by another one, in another window.
    const status = error.status === 410 ? (await this.api.json(this.#path)).status : "queued";
    if (status === "queued") await this.#discard();
  }

  async #discard() {
    await discard(this.api, this.image);
    this.image = null;
    this.#key = idempotencyKey();
  }

  #enter(state) {
    this.state = state;
    this.changed(this);
  }

  async #ended(error) {
    this.sent = 0;
    if (error.name === "AbortError") {
      this.#enter("paused");
      await this.#settle();
      return;
    }
    this.problem = error;
    // Whoever else changes the image keeps it; what this page made for a refused file goes.
    const isRefused = error instanceof Refusal && ![403, 404, 409].includes(error.status);
    if (isRefused && this.image) await this.#discardRefused(error).catch(() => {});
    this.#enter(isRefused ? "refused" : "failed");
  }

  /** Asks how much of what was sent is stored. Nothing depends on the answer. */
  async #settle() {
    const paused = this.#aborter;
    if (!this.image) return;
    const response = await this.api.call("HEAD", `${this.#path}/upload`).catch(() => null);
    if (!response || this.#aborter !== paused) return;
    this.offset = Number(response.headers.get("Upload-Offset") ?? this.offset);
    this.changed(this);
  }

  /** Repeats the step while the network or the server is away. */
  async #patiently(step) {
    for (;;) {
      try {
        const value = await step();
        this.#failures = 0;
        if (this.state === "waiting") this.#enter("running");
        return value;
      } catch (error) {
        const passes = error instanceof NetworkFailure || (error instanceof Refusal && error.isPassing);
        if (!passes) throw error;
        this.problem = error;
        this.sent = 0;
        this.#enter("waiting");
        await this.#pauseAfter(error);
        this.recovering = true;
      }
    }
  }

  async #pauseAfter(error) {
    const asked = 1000 * Number(error.headers?.get("Retry-After") ?? 0);
    const grown = Math.min(LONGEST_PAUSE_MS, 500 * 2 ** this.#failures);
    this.#failures += 1;
    await pause(asked > 0 ? Math.min(asked, LONGEST_PAUSE_MS) : grown * (0.5 + Math.random() / 2), this.#signal);
  }

  get #signal() {
    return this.#aborter.signal;
  }

  get #path() {
    return `v2/images/${this.image}`;
  }

  /** Finds out where to go on, or begins. */
  async #begin() {
    this.complete = false;
    this.plain = false;
    this.offset = 0;
    this.recovering = false;
    const status = this.image ? await this.#status() : await this.#create();
    if (status === "active" || status === "deactivated") {
      this.complete = true;
      this.offset = this.file.size;
    } else if (status === "queued" || !(await this.#found())) {
      await this.#announce();
    }
  }

  async #status() {
    try {
      return (await this.api.json(this.#path, { signal: this.#signal })).status;
    } catch (error) {
      if (!(error instanceof Refusal) || error.status !== 404) throw error;
      // Somebody deleted it, or it belongs to another project than the user's.
      unfinished.forget(this.image);
      return this.#create();
    }
  }

  async #create() {
    const response = await this.api.call("POST", "v2/images", {
      json: this.fields,
      headers: { "Idempotency-Key": this.#key },
      signal: this.#signal,
    });
    this.image = (await response.json()).id;
    const { name, size } = this.file;
    unfinished.keep({ print: this.print, image: this.image, file: name, size, name: this.fields.name });
    this.changed(this);
    return "queued";
  }

  async #announce() {
    const headers = {
      "Content-Type": "application/octet-stream",
      "Upload-Complete": this.file.size === 0 ? "?1" : "?0",
      "Upload-Length": String(this.file.size),
    };
    if (this.store) headers["X-Image-Meta-Store"] = this.store;
    const body = new Blob([]);
    try {
      const response = await this.api.call("PUT", `${this.#path}/file`, { body, headers, signal: this.#signal });
      this.#take(response.headers);
    } catch (error) {
      if (!(error instanceof Refusal) || error.reason !== "not_resumable") throw error;
      this.plain = true;
    }
  }

  /** Whether there is an upload to continue. */
  async #found() {
    try {
      const response = await this.api.call("HEAD", `${this.#path}/upload`, { signal: this.#signal });
      this.#take(response.headers);
      return true;
    } catch (error) {
      if (error instanceof Refusal && error.status === 410 && !this.recovering) return false;
      throw error;
    }
  }

  #take(headers) {
    this.offset = Number(headers.get("Upload-Offset") ?? this.offset);
    this.complete = headers.get("Upload-Complete") === "?1" || this.file.size === 0;
    this.sent = 0;
  }

  /** For a store that takes an upload in one piece only: after a cut, it begins anew. */
  async #sendWhole() {
    if (this.recovering) {
      const status = await this.#status();
      // The server may not have noticed yet that the connection is gone.
      if (!["queued", "active", "deactivated"].includes(status)) throw new NetworkFailure();
      this.complete = status !== "queued";
      this.recovering = false;
      if (this.state === "waiting") this.#enter("running");
      if (this.complete) return;
    }
    const headers = { "Content-Type": "application/octet-stream" };
    if (this.store) headers["X-Image-Meta-Store"] = this.store;
    const request = { body: this.file, headers, signal: this.#signal, progress: (sent) => this.#progressed(sent) };
    await this.api.send("PUT", `${this.#path}/file`, request);
    this.complete = true;
  }

  #progressed(sent) {
    this.sent = sent;
    this.changed(this);
  }

  async #append() {
    if (this.plain) {
      await this.#sendWhole();
      return;
    }
    if (this.recovering) {
      await this.#found();
      this.recovering = false;
      if (this.state === "waiting") this.#enter("running");
      if (this.complete) return;
    }
    const length = this.offset === 0 ? Math.min(FIRST_SLICE, this.#slice) : this.#slice;
    const end = Math.min(this.file.size, this.offset + length);
    const began = performance.now();
    try {
      const response = await this.api.send("PATCH", `${this.#path}/upload`, {
        body: await this.#read(end),
        headers: {
          "Content-Type": "application/partial-upload",
          "Upload-Offset": String(this.offset),
          "Upload-Complete": end === this.file.size ? "?1" : "?0",
        },
        signal: this.#signal,
        progress: (sent) => this.#progressed(sent),
      });
      if (length === this.#slice) this.#adapt(performance.now() - began);
      this.#take(response.headers);
      if (response.status === 202) this.complete = true;
      this.changed(this);
    } catch (error) {
      this.sent = 0;
      this.#smallerOrElsewhere(error);
    }
  }

  /** A file that was changed or removed after it was chosen cannot be read any more. */
  async #read(end) {
    const slice = this.file.slice(this.offset, end);
    try {
      await slice.slice(0, 1).arrayBuffer();
    } catch {
      throw new Error("The file was changed or removed. Choose it again.");
    }
    return slice;
  }

  #adapt(took) {
    if (took < SLICE_MS.short) this.#slice = Math.min(LARGEST_SLICE, this.#slice * 2);
    else if (took > SLICE_MS.long) this.#slice = Math.max(MIB, this.#slice / 2);
  }

  /** Goes on after a refusal that says how; throws any other error. */
  #smallerOrElsewhere(error) {
    if (!(error instanceof Refusal)) throw error;
    if (error.isProxyLimit && this.#slice > SMALLEST_SLICE) {
      this.#slice /= 2;
    } else if (["mismatching_upload_offset", "completed_upload"].includes(error.reason)) {
      this.recovering = true;
    } else {
      throw error;
    }
  }

  /** Waits until the server has verified the data. */
  async #verified() {
    for (;;) {
      const { status } = await this.#patiently(() => this.api.json(this.#path, { signal: this.#signal }));
      if (status === "active" || status === "deactivated") return;
      const progress = await this.#patiently(() => this.api.json(`${this.#path}/upload`, { signal: this.#signal }));
      if (progress.state === "ended") throw new Refusal(410, "upload_ended", { message: progress.reason }, null);
      if (this.state !== "verifying") this.#enter("verifying");
      await pause(POLL_MS, this.#signal);
    }
  }
}

/** Removes an image of which an upload is not complete. Throws Refusal and NetworkFailure. */
export async function discard(api, image) {
  unfinished.forget(image);
  try {
    await api.call("DELETE", `v2/images/${image}`);
  } catch (error) {
    if (!(error instanceof Refusal) || error.status !== 404) throw error;
  }
}
