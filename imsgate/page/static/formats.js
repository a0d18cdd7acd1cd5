// Proposes a name and a format for a file by its first and last bytes. Only the server decides.

const HEAD_BYTES = 34 * 1024;
const TAIL_BYTES = 512;

/** Signatures: offset, text (latin-1), disk_format. */
const IMAGES = [
  [0, "QFI\xfb\0\0\0\x01", "qcow"],
  [0, "QFI\xfb", "qcow2"],
  [0, "KDMV", "vmdk"],
  [0, "COWD", "vmdk"],
  [0, "# Disk DescriptorFile", "vmdk"],
  [0, "conectix", "vhd"],
  [0, "vhdxfile", "vhdx"],
  [64, "\x7f\x10\xda\xbe", "vdi"],
  [0, "QED\0", "qed"],
  [0, "LUKS\xba\xbe", "luks"],
  [0, "WithoutFreeSpace", "ploop"],
  [0, "WithouFreSpacExt", "ploop"],
  [0, "z2strm", "zvhd2"],
  [32769, "CD001", "iso"],
];

/** What is often taken for an image. */
const OTHERS = [
  [0, "\x1f\x8b", "a gzip file; decompress it first"],
  [0, "\xfd7zXZ\0", "an xz file; decompress it first"],
  [0, "\x28\xb5\x2f\xfd", "a zstd file; decompress it first"],
  [0, "BZh", "a bzip2 file; decompress it first"],
  [0, "PK\x03\x04", "a zip file; unpack it first"],
  [0, "7z\xbc\xaf\x27\x1c", "a 7z file; unpack it first"],
  [257, "ustar", "a tar archive or an OVA; unpack it first"],
  [0, "<", "a text, such as an error page, instead of an image"],
];

/** `{name, format, note}`; `note` says why the server will probably refuse the file. */
export async function propose(file) {
  const head = await latin1(file.slice(0, HEAD_BYTES));
  const name = file.name.replace(/(\.(qcow2?|img|raw|iso|vmdk|vhdx?|vdi|qed|zvhd2?|bin))+$/i, "") || file.name;
  const matches = ([offset, text]) => head.startsWith(text, offset);
  let format = IMAGES.find(matches)?.[2];
  if (!format) {
    const tail = await latin1(file.slice(Math.max(0, file.size - TAIL_BYTES)));
    if (tail.startsWith("conectix")) format = "vhd";
  }
  const other = format ? undefined : OTHERS.find(matches);
  return { name, format: format ?? "raw", note: other ? `This looks like ${other[2]}.` : "" };
}

async function latin1(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) {
    text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  }
  return text;
}
