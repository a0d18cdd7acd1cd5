// Imports from a URL and, where users have buckets, from a bucket.

import { announce, byId, choice, element, field } from "./dom.js";
import { idempotencyKey } from "./api.js";

const SOURCES = {
  url: { text: "a URL", label: "URL", hint: "https://example.org/disk.qcow2" },
  bucket: { text: "a bucket", label: "Bucket and object", hint: "bucket:object" },
};

export class Imports {
  /** `sources` are keys of SOURCES; `changed(image)` is called when an import has begun. */
  constructor(api, offers, sources, changed) {
    Object.assign(this, { api, offers, changed });
    if (sources.length === 0) return;
    byId("import").hidden = false;
    const { stores } = offers;
    this.source = choice("source", sources.map((key) => [key, SOURCES[key].text]), sources[0],
      { change: () => this.#show() });
    this.address = element("input", { name: "address", required: true, spellcheck: "false", autocomplete: "off" });
    this.label = element("span", {});
    this.name = element("input", { name: "name", maxlength: 255, required: true, spellcheck: "false" });
    this.format = choice("disk_format", offers.formats, "qcow2");
    this.store = choice("store", stores.choices, stores.preferred);
    this.storeField = stores.choices.length > 1 ? field("Store", this.store) : null;
    this.problem = element("p", { class: "problem", role: "alert" });
    this.form = element("form", { class: "fields", submit: (event) => this.#submit(event) },
      sources.length > 1 ? field("From", this.source) : null,
      element("label", { class: "wide" }, this.label, " ", this.address),
      field("Name", this.name),
      field("Disk format", this.format),
      this.storeField,
      element("button", { type: "submit", class: "main" }, "Import"));
    byId("import").querySelector("details").append(this.form, this.problem);
    this.#show();
  }

  #show() {
    const source = SOURCES[this.source.value];
    this.label.textContent = source.label;
    this.address.placeholder = source.hint;
    // A job that registers an object of a bucket always uses the default store.
    if (this.storeField) this.storeField.hidden = this.source.value !== "url";
  }

  async #submit(event) {
    event.preventDefault();
    const submit = this.form.querySelector("[type=submit]");
    this.problem.textContent = "";
    submit.disabled = true;
    let image = null;
    try {
      image = await this.#create();
      await this.#start(image);
      announce(`The import of ${this.name.value} has begun.`);
      this.form.reset();
      this.#show();
    } catch (error) {
      if (image) await this.api.call("DELETE", `v2/images/${image}`).catch(() => {});
      this.problem.textContent = error.message;
    } finally {
      submit.disabled = false;
    }
    if (image) this.changed(image);
  }

  async #create() {
    const response = await this.api.call("POST", "v2/images", {
      json: { name: this.name.value.trim(), disk_format: this.format.value, container_format: "bare" },
      headers: { "Idempotency-Key": idempotencyKey() },
    });
    return (await response.json()).id;
  }

  async #start(image) {
    const address = this.address.value.trim();
    const headers = { "Idempotency-Key": idempotencyKey() };
    if (this.source.value === "bucket") {
      await this.api.call("PUT", `v1/cloudimages/${image}/upload`, { json: { image_url: address }, headers });
      return;
    }
    if (this.storeField) headers["X-Image-Meta-Store"] = this.store.value;
    const json = { method: { name: "web-download", uri: address } };
    await this.api.call("POST", `v2/images/${image}/import`, { json, headers });
  }
}
