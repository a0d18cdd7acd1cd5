// Which file belongs to which image while its upload is not complete. Survives a reload: it is in
// localStorage, without any token.

const KEY = "imsgate.uploads";
const MOST = 50;
const HEAD_BYTES = 64 * 1024;

/** A text that is the same for the same file, chosen again. Works without a secure context. */
export async function fingerprint(file) {
  const head = new Uint8Array(await file.slice(0, HEAD_BYTES).arrayBuffer());
  return JSON.stringify([file.name, file.size, file.lastModified, fnv1a(head)]);
}

/** FNV-1a with 64 bits. It tells files apart; it does not protect anything. */
function fnv1a(bytes) {
  let hash = 0xcbf29ce484222325n;
  for (const byte of bytes) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  return hash.toString(16);
}

function read() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY));
    return Array.isArray(kept) ? kept : [];
  } catch {
    return [];
  }
}

function write(entries) {
  try {
    localStorage.setItem(KEY, JSON.stringify(entries.slice(-MOST)));
  } catch {
    // Without storage, uploads go on after a cut, but not after a reload.
  }
}

/** Entries: `{print, image, file, size, name}`, oldest first. */
export const unfinished = {
  all: read,
  find: (print) => read().find((entry) => entry.print === print),
  keep: (entry) => write([...read().filter(({ print }) => print !== entry.print), entry]),
  forget: (image) => write(read().filter((entry) => entry.image !== image)),
};
