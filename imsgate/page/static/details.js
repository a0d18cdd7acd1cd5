// What the list has no column for: the attributes of an image, and its jobs.

import { element } from "./dom.js";
import * as words from "./words.js";

const TASKS = 10;

export function details(image, tasks) {
  const rows = [
    ["Id", image.id],
    ["Container", image.container_format],
    ["Visibility", image.visibility],
    ["Project", image.owner],
    ["Virtual size", words.size(image.virtual_size)],
    [image.os_hash_algo || "Digest", image.os_hash_value],
    ["Created", words.time(image.created_at)],
    ["Changed", words.time(image.updated_at)],
    ["Tags", (image.tags ?? []).join(", ")],
  ].filter(([, text]) => text);
  const list = element("dl", {}, ...rows.flatMap(([name, text]) => [
    element("dt", {}, name),
    element("dd", {}, text),
  ]));
  if (tasks.length === 0) return list;
  const latest = tasks.slice(-TASKS).reverse();
  return element("div", {}, list, element("h3", {}, "Jobs"), element("ul", {}, ...latest.map(job)));
}

function job(task) {
  const { bytes, total } = task.progress ?? {};
  const amount = bytes ? `, ${words.size(bytes)}${total ? ` of ${words.size(total)}` : ""}` : "";
  const why = task.message ? element("span", { class: "problem" }, `: ${task.message}`) : null;
  return element("li", {}, `${task.type}, ${task.status}${amount}, ${words.time(task.created_at)}`, why);
}
