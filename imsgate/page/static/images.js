// The list of images: in pages, with what happens to each of them.

import { announce, button, byId, element } from "./dom.js";
import { Refusal } from "./api.js";
import { details } from "./details.js";
import * as words from "./words.js";

const PAGE = 250;
/** Further pages are read without asking up to this many images. */
const AT_FIRST = 1000;
const POLL_MS = 3000;
const POLLED_AT_ONCE = 10;
const MOVING = new Set(["saving", "uploading", "importing"]);

export class Images {
  #rows = new Map();
  #next = null;
  #loading = 0;

  constructor(api) {
    this.api = api;
    this.body = byId("images");
    byId("filter").addEventListener("input", () => this.#filter());
    byId("refresh").addEventListener("click", () => this.load());
    byId("more").addEventListener("click", () => this.#readPages(AT_FIRST));
    this.#poll();
  }

  /** Reads the list anew. */
  async load() {
    this.#rows.clear();
    this.body.replaceChildren();
    this.#next = `v2/images?limit=${PAGE}&sort=created_at:desc`;
    await this.#readPages(AT_FIRST);
    await this.refresh();
  }

  /**
   * Shows the present state of an image, which may be new or gone; without an id, of some whose data
   * is on its way.
   */
  async refresh(id) {
    if (!id) {
      const moving = [...this.#rows.values()].filter((row) => row.isMoving && !row.root.hidden);
      for (const row of moving.slice(0, POLLED_AT_ONCE)) await this.refresh(row.image.id);
      return;
    }
    try {
      const image = await this.api.json(`v2/images/${id}`);
      const row = this.#rows.get(id);
      if (row) row.show(image);
      else this.#insert([image], true);
      await this.#rows.get(id).follow();
    } catch (error) {
      if (!(error instanceof Refusal) || error.status !== 404) return;
      this.#rows.get(id)?.root.remove();
      this.#rows.get(id)?.more?.remove();
      this.#rows.delete(id);
    }
    this.#count();
  }

  async #readPages(most) {
    const reading = ++this.#loading;
    const problem = byId("list-problem");
    problem.hidden = true;
    try {
      for (let read = 0; this.#next && read < most; ) {
        const page = await this.api.json(this.#next);
        if (reading !== this.#loading) return; // it was refreshed meanwhile
        this.#next = page.next ? page.next.replace(/^\//, "") : null;
        this.#insert(page.images, false);
        read += page.images.length;
      }
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
    }
    byId("more").hidden = this.#next === null;
    this.#count();
  }

  #insert(images, first) {
    const fragment = document.createDocumentFragment();
    const wanted = this.#wanted();
    for (const image of images) {
      if (this.#rows.has(image.id)) continue; // it moved to a later page while they were read
      const row = new Row(image, this);
      row.root.hidden = !row.matches(wanted);
      this.#rows.set(image.id, row);
      fragment.append(row.root);
    }
    if (first) this.body.prepend(fragment);
    else this.body.append(fragment);
    this.#count();
  }

  #wanted() {
    return byId("filter").value.trim().toLowerCase();
  }

  #filter() {
    const wanted = this.#wanted();
    for (const row of this.#rows.values()) row.hide(!row.matches(wanted));
    this.#count();
  }

  #count() {
    const all = this.#rows.size;
    const shown = [...this.#rows.values()].filter((row) => !row.root.hidden).length;
    const more = this.#next ? "; there are more" : "";
    byId("count").textContent = shown === all ? `${all} image${all === 1 ? "" : "s"}${more}` : `${shown} of ${all} images${more}`;
  }

  /** Follows the images whose data is on its way, while somebody looks. */
  async #poll() {
    if (!document.hidden) await this.refresh();
    setTimeout(() => this.#poll(), POLL_MS);
  }
}

class Row {
  constructor(image, images) {
    this.images = images;
    this.cells = ["Name", "Status", "Size", "Format", "Stores", "Created", "Actions"].map((label) =>
      element("td", { role: "cell", "data-label": label }));
    this.root = element("tr", { role: "row" }, ...this.cells);
    this.more = null;
    this.progress = null;
    this.show(image);
  }

  get isMoving() {
    return MOVING.has(this.image.status) || Boolean(this.image.os_glance_importing_to_stores);
  }

  get shownName() {
    return this.image.name || this.image.id;
  }

  matches(wanted) {
    return this.text.includes(wanted);
  }

  hide(hidden) {
    this.root.hidden = hidden;
    if (this.more) this.more.hidden = hidden;
  }

  show(image) {
    this.image = image;
    this.text = [image.name, image.id, image.status, image.disk_format, image.stores].join(" ").toLowerCase();
    const [name, status, size, format, stores, created] = this.cells;
    name.textContent = this.shownName;
    this.#showStatus(status);
    size.textContent = words.size(image.size);
    format.textContent = image.disk_format ?? "";
    stores.textContent = (image.stores ?? "").split(",").join(", ");
    created.textContent = words.day(image.created_at);
    this.#showActions();
  }

  #showStatus(cell) {
    const { image } = this;
    const label = element("span", { class: "status", "data-status": image.status }, image.status);
    const failure = image.os_glance_failed_import_message || (image.status === "queued" && this.failure);
    const why = failure ? element("span", { class: "problem" }, ` ${failure}`) : null;
    cell.replaceChildren(label, ...(why ? [why] : []), ...this.#progressNodes());
  }

  #progressNodes() {
    const { progress } = this;
    if (!this.isMoving || !progress) return [];
    const total = progress.size ? ` of ${words.size(progress.size)}` : "";
    const rate = progress.rate ? `, ${words.size(progress.rate)}/s` : "";
    const who = progress.user_id ? `, by ${progress.user_id}` : "";
    const bar = element("progress", {
      "aria-label": `Progress of ${this.shownName}`,
      ...(progress.size ? { max: progress.size, value: progress.received } : {}),
    });
    return [bar, element("small", {}, `${words.size(progress.received)}${total}${rate}${who}`)];
  }

  /** Asks how far the data is that comes in, or why none does. */
  async follow() {
    const wasMoving = this.progress !== null;
    if (!this.isMoving && !wasMoving && this.image.status !== "queued") return;
    try {
      const progress = await this.images.api.json(`v2/images/${this.image.id}/upload`);
      this.failure = progress.state === "ended" ? progress.reason : null;
      this.progress = this.isMoving ? progress : null;
    } catch {
      this.progress = null;
    }
    this.#showStatus(this.cells[1]);
    if (this.more) await this.#showDetails();
  }

  #showActions() {
    const cell = this.cells[6];
    const key = `${this.image.status} ${this.image.protected}`;
    if (cell.dataset.key === key) return; // keep the focus
    cell.dataset.key = key;
    const focused = cell.contains(document.activeElement) ? document.activeElement.textContent : null;
    const make = (text, action) => button(text, () => this.#act(action), { "aria-label": `${text} ${this.shownName}` });
    this.toggle = button("Details", () => this.#toggle(), {
      "aria-label": `Details of ${this.shownName}`,
      "aria-expanded": String(Boolean(this.more)),
    });
    const nodes = [this.toggle];
    if (this.image.status === "active") nodes.push(make("Deactivate", () => this.#post("deactivate")));
    if (this.image.status === "deactivated") nodes.push(make("Reactivate", () => this.#post("reactivate")));
    if (!this.image.protected) nodes.push(make("Delete", () => this.#delete()));
    cell.replaceChildren(...nodes);
    if (focused !== null) (nodes.find((node) => node.textContent === focused) ?? this.toggle).focus();
  }

  async #act(action) {
    const problem = byId("list-problem");
    problem.hidden = true;
    try {
      await action();
    } catch (error) {
      problem.textContent = `${this.shownName}: ${error.message}`;
      problem.hidden = false;
    }
    await this.images.refresh(this.image.id);
  }

  async #post(action) {
    await this.images.api.call("POST", `v2/images/${this.image.id}/actions/${action}`);
    announce(`${this.shownName}: ${action}d`);
  }

  async #delete() {
    if (!confirm(`Delete the image ${this.shownName}? Its data will be gone.`)) return;
    const neighbor = this.root.nextElementSibling ?? this.root.previousElementSibling;
    await this.images.api.call("DELETE", `v2/images/${this.image.id}`);
    announce(`${this.shownName} is deleted`);
    (neighbor?.querySelector("button") ?? byId("filter")).focus();
  }

  async #toggle() {
    if (this.more) {
      this.more.remove();
      this.more = null;
    } else {
      this.more = element("tr", { role: "row", class: "details" });
      this.root.after(this.more);
      await this.#showDetails();
    }
    this.toggle.setAttribute("aria-expanded", String(Boolean(this.more)));
  }

  async #showDetails() {
    let tasks = [];
    try {
      ({ tasks } = await this.images.api.json(`v2/images/${this.image.id}/tasks`));
    } catch {
      // Those who may see the image may not be allowed to see its tasks.
    }
    this.more?.replaceChildren(element("td", { role: "cell", colspan: 7 }, details(this.image, tasks)));
  }
}
