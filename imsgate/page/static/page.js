// Puts the page together: sign in, ask what the service offers, show it.

import { Api } from "./api.js";
import { byId } from "./dom.js";
import { Images } from "./images.js";
import { Imports } from "./imports.js";
import { Session } from "./session.js";
import { Uploads } from "./uploads.js";

async function settings() {
  const response = await fetch("settings.json", { cache: "no-store" });
  if (!response.ok) throw new Error(`The server answered ${response.status}. Reload the page.`);
  return response.json();
}

/** What people may choose: formats and stores. */
async function offersOf(api) {
  const [schema, { stores }] = await Promise.all([api.json("v2/schemas/image"), api.json("v2/info/stores")]);
  const named = (property) => schema.properties[property].enum.filter((name) => name !== null);
  const writable = stores.filter((store) => store["read-only"] !== "true");
  const text = ({ id, description }) => (description ? `${id} (${description})` : id);
  return {
    formats: named("disk_format"),
    containers: named("container_format"),
    stores: {
      choices: writable.map((store) => [store.id, text(store)]),
      preferred: writable.find((store) => store.default)?.id,
    },
  };
}

async function importSources(api, offered) {
  const { "import-methods": methods } = await api.json("v2/info/import");
  const sources = methods.value.includes("web-download") ? ["url"] : [];
  return offered.buckets ? [...sources, "bucket"] : sources;
}

async function start() {
  const offered = await settings();
  const session = new Session(offered);
  const api = new Api(session);
  await session.renew();
  const [offers, sources] = await Promise.all([offersOf(api), importSources(api, offered)]);
  const images = new Images(api);
  const changed = (image) => images.refresh(image);
  new Uploads(api, offers, changed);
  new Imports(api, offers, sources, changed);
  byId("main").hidden = false;
  await images.load();
}

start().catch((error) => {
  byId("who").textContent = error.message;
});
