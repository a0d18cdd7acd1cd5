// Sizes, rates and times as people read them.

const UNITS = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"];

export function size(bytes) {
  if (bytes === null || bytes === undefined) return "";
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : 1;
  return `${value.toFixed(digits)} ${UNITS[unit]}`;
}

export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "";
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

export function percent(done, total) {
  return total ? Math.floor((100 * done) / total) : 0;
}

export function day(text) {
  const when = new Date(text);
  return Number.isNaN(when.valueOf()) ? "" : when.toLocaleDateString([], { dateStyle: "medium" });
}

export function time(text) {
  const when = new Date(text);
  return Number.isNaN(when.valueOf()) ? "" : when.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
}
