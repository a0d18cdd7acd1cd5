// The section in which people drop files: a card for each file.

import { announce, button, byId, choice, element, field } from "./dom.js";
import { propose } from "./formats.js";
import { fingerprint, unfinished } from "./unfinished.js";
import { Upload, discard } from "./upload.js";
import * as words from "./words.js";

const AT_ONCE = 3;
const REDRAW_MS = 250;
/** Percents at which people who do not see the page are told how far an upload is. */
const SPOKEN = [25, 50, 75];

export class Uploads {
  #cards = [];

  /** `offers` are the formats and stores to choose from. `changed(image)` is called when an image
   * has changed. */
  constructor(api, offers, changed) {
    Object.assign(this, { api, offers, changed });
    const area = byId("drop");
    byId("files").addEventListener("change", (event) => {
      this.add([...event.target.files]);
      event.target.value = "";
    });
    byId("files").addEventListener("keydown", (event) => {
      // Not every browser opens the dialog with Enter as well as with the space bar.
      if (event.key !== "Enter") return;
      event.preventDefault();
      event.target.click();
    });
    for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
      // Everywhere: a file that misses the area must not replace the page.
      addEventListener(kind, (event) => event.preventDefault());
    }
    addEventListener("dragover", () => area.classList.add("over"));
    addEventListener("dragleave", (event) => event.relatedTarget || area.classList.remove("over"));
    addEventListener("drop", (event) => {
      area.classList.remove("over");
      if (!byId("sign-in").open) this.add([...event.dataTransfer.files]);
    });
    byId("upload-all").addEventListener("click", () => {
      for (const card of this.#cards) if (card.upload.state === "ready") card.start();
    });
    this.#showUnfinished();
  }

  async add(files) {
    for (const file of files) {
      const print = await fingerprint(file).catch(() => null);
      const same = this.#cards.find((card) => card.upload.print === print);
      if (print === null) announce(`${file.name} is a directory or cannot be read.`);
      else if (same && same.upload.state !== "done") announce(`${file.name} is already in the list of uploads.`);
      else await this.#addOne(file, print);
      if (same?.upload.state === "done") this.remove(same);
    }
    this.update();
  }

  async #addOne(file, print) {
    const known = unfinished.find(print);
    const upload = new Upload({ api: this.api, file, print, image: known?.image, changed: () => card.draw() });
    const card = new Card(upload, await propose(file), this.offers, this);
    this.#cards.push(card);
    byId("uploads").append(card.root);
    if (known) {
      upload.fields = { ...card.fields, name: known.name };
      card.name.value = known.name;
      card.start();
    }
  }

  remove(card) {
    this.#cards = this.#cards.filter((each) => each !== card);
    card.root.remove();
    byId("files").focus();
    this.update();
  }

  /** Starts what waits for its turn, and shows what there is. */
  update() {
    let free = AT_ONCE - this.#cards.filter((card) => card.upload.isActive).length;
    for (const card of this.#cards) {
      if (free > 0 && card.upload.state === "queued") {
        free -= 1;
        card.run();
      }
    }
    byId("upload-all").hidden = this.#cards.filter((card) => card.upload.state === "ready").length < 2;
    this.#showUnfinished();
  }

  #showUnfinished() {
    const shown = new Set(this.#cards.map((card) => card.upload.print));
    const entries = unfinished.all().filter((entry) => !shown.has(entry.print));
    byId("unfinished").hidden = entries.length === 0;
    byId("unfinished").querySelector("ul").replaceChildren(...entries.map((entry) => this.#unfinishedItem(entry)));
  }

  #unfinishedItem(entry) {
    const problem = element("span", { class: "problem", role: "alert" });
    const remove = async () => {
      try {
        await discard(this.api, entry.image);
        this.changed(entry.image);
        this.#showUnfinished();
      } catch (error) {
        problem.textContent = error.message;
      }
    };
    const text = `${entry.file} (${words.size(entry.size)}) `;
    return element("li", {}, text, button("Cancel", remove, { "aria-label": `Cancel ${entry.file}` }), problem);
  }
}

/** One file: its fields before the upload, then its progress. */
class Card {
  #drawn = 0;
  #timer = 0;
  #spoken = 0;
  #state = "";
  /** The image that the list shows for this file. */
  #image = null;

  constructor(upload, proposal, offers, uploads) {
    Object.assign(this, { upload, uploads });
    const { formats, containers, stores } = offers;
    const format = formats.includes(proposal.format) ? proposal.format : "raw";
    this.name = element("input", { name: "name", value: proposal.name, maxlength: 255, spellcheck: "false" });
    this.format = choice("disk_format", formats, format);
    this.container = choice("container_format", containers, "bare");
    this.store = choice("store", stores.choices, stores.preferred);
    this.form = element("form", { class: "fields", submit: (event) => this.#submit(event) },
      field("Name", this.name),
      field("Disk format", this.format),
      field("Container", this.container),
      stores.choices.length > 1 ? field("Store", this.store) : null,
      element("button", { type: "submit", class: "main" }, "Upload"),
      button("Remove", () => this.uploads.remove(this)),
    );
    this.note = element("p", { class: "note" }, proposal.note);
    this.title = element("h3", {}, upload.file.name, " ", element("small", {}, words.size(upload.file.size)));
    this.bar = element("progress", { max: 100, "aria-label": `Progress of ${upload.file.name}` });
    this.text = element("p", { class: "state" });
    this.problem = element("div", { class: "problem", role: "alert" });
    this.buttons = element("p", { class: "buttons" });
    this.root = element("li", { class: "card" },
      this.title, this.note, this.form, this.bar, this.text, this.problem, this.buttons);
    this.draw();
  }

  get fields() {
    return {
      name: this.name.value.trim() || this.upload.file.name,
      disk_format: this.format.value,
      container_format: this.container.value,
    };
  }

  #submit(event) {
    event.preventDefault();
    this.upload.fields = this.fields;
    this.upload.store = this.uploads.offers.stores.choices.length > 1 ? this.store.value : "";
    this.start();
  }

  /** Uploads it as soon as it is its turn. */
  start() {
    if (!this.upload.fields.name) this.upload.fields = this.fields;
    this.upload.state = "queued";
    this.draw();
    this.uploads.update();
  }

  async run() {
    await this.upload.run();
    this.uploads.changed(this.#image);
    this.uploads.update();
  }

  /** Shows the state now, or soon if nothing but numbers has changed. */
  draw() {
    const { image } = this.upload;
    if (image && image !== this.#image && this.upload.isActive) {
      this.#image = image;
      this.uploads.changed(image);
    }
    const wait = this.#drawn + REDRAW_MS - performance.now();
    if (this.upload.state === this.#state && wait > 0) {
      this.#timer ||= setTimeout(() => this.#drawNow(), wait);
    } else {
      this.#drawNow();
    }
  }

  #drawNow() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#drawn = performance.now();
    const { upload } = this;
    const { state } = upload;
    const editable = state === "ready" || state === "refused";
    this.root.dataset.state = state;
    this.form.hidden = !editable;
    this.note.hidden = !editable || !this.note.textContent;
    this.bar.hidden = editable;
    this.text.textContent = this.#words();
    if (state === "verifying") this.bar.removeAttribute("value");
    else this.bar.value = words.percent(upload.done, upload.file.size || 1);
    if (state === "done") this.bar.value = 100;
    if (state !== this.#state) this.#entered(state);
    this.#speak();
  }

  #entered(state) {
    const hadFocus = this.root.contains(document.activeElement);
    this.#state = state;
    this.#showButtons(this.#actions(state));
    this.problem.replaceChildren(...this.#explanation(state));
    if (["done", "paused", "waiting"].includes(state)) announce(`${this.upload.file.name}: ${this.text.textContent}`);
    // The button that had the focus may be gone or hidden.
    const hasFocus = this.root.contains(document.activeElement) && document.activeElement.checkVisibility();
    if (hadFocus && !hasFocus) this.#focusSomewhere();
  }

  #showButtons(buttons) {
    const labels = (nodes) => Array.from(nodes, (node) => node.textContent).join();
    // The same ones keep the focus while an upload breaks and goes on.
    if (labels(buttons) !== labels(this.buttons.children)) this.buttons.replaceChildren(...buttons);
  }

  #focusSomewhere() {
    (this.form.hidden ? this.buttons : this.form).querySelector("button")?.focus();
  }

  #words() {
    const { upload } = this;
    const total = upload.file.size;
    const amount = `${words.percent(upload.done, total)} %, ${words.size(upload.done)} of ${words.size(total)}`;
    switch (upload.state) {
      case "queued":
        return "Waits for the uploads before it.";
      case "running": {
        const left = (total - upload.done) / upload.rate;
        const rate = upload.rate > 0 ? `, ${words.size(upload.rate)}/s, ${words.duration(left)} left` : "";
        return amount + rate;
      }
      case "waiting":
        return `${amount}. ${upload.problem?.message ?? ""} Trying again …`;
      case "verifying":
        return "All of it is uploaded. The server verifies it …";
      case "paused":
        return `Paused at ${amount}.`;
      case "done":
        return "Complete: the image is active.";
      case "failed":
        return `Stopped at ${amount}.`;
      default:
        return "";
    }
  }

  #actions(state) {
    const named = (text, action) => button(text, action, { "aria-label": `${text} ${this.upload.file.name}` });
    const pause = named("Pause", () => this.upload.pause());
    const goOn = named("Continue", () => this.start());
    const cancel = named("Cancel", () => this.#cancel());
    const close = named("Close", () => this.uploads.remove(this));
    return {
      queued: [close],
      running: [pause, cancel],
      waiting: [pause, cancel],
      verifying: [],
      paused: [goOn, cancel],
      failed: [goOn, cancel],
      done: [close],
    }[state] ?? [];
  }

  async #cancel() {
    try {
      await this.upload.cancel();
      this.uploads.remove(this);
      this.uploads.changed(this.#image);
    } catch (error) {
      this.problem.textContent = error.message;
    }
  }

  #explanation(state) {
    const { problem } = this.upload;
    if (!problem || (state !== "refused" && state !== "failed")) return [];
    // For an image, the message also contains what follows it here.
    const text = problem.check ? sentence(problem.problem) : problem.message;
    const lines = [element("p", {}, element("strong", {}, state === "refused" ? "Refused: " : "Failed: "), text)];
    if (problem.hint) lines.push(element("p", {}, `What you can do: ${problem.hint}`));
    if (problem.check) {
      const place = problem.offset === undefined ? "" : `, at byte ${problem.offset}`;
      lines.push(element("p", { class: "note" }, `Check: ${problem.check}${place}. Nothing was kept.`));
    }
    return lines;
  }

  #speak() {
    const { upload } = this;
    if (upload.state !== "running") return;
    const reached = SPOKEN.filter((step) => words.percent(upload.done, upload.file.size) >= step).length;
    if (reached > this.#spoken) announce(`${upload.file.name}: ${SPOKEN[reached - 1]} %`);
    this.#spoken = reached;
  }
}

function sentence(text) {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
