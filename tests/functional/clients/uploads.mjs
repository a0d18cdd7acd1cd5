// Uploads that are refused early, sent by Node's HTTP client.
//
// Usage: uploads.mjs URL-OF-A-FILE TOKEN ROUNDS. It prints each outcome: the status and the reason,
// or the client's error.
import http from "node:http";
import { Readable } from "node:stream";

const MIB = 1 << 20;
const agent = new http.Agent({ keepAlive: true });

/** The first bytes and zeros after them. */
function* body(first, size) {
  const block = Buffer.alloc(MIB);
  yield Buffer.concat([first, block.subarray(first.length)]);
  for (let sent = 1; sent < size; sent++) yield block;
}

/** ``size`` is in MiB. */
function upload(url, token, first, size, chunked) {
  const headers = { "X-Auth-Token": token, "Content-Type": "application/octet-stream" };
  if (!chunked) headers["Content-Length"] = size * MIB;
  return new Promise((resolve) => {
    const request = http.request(url, { method: "PUT", headers, agent });
    request.on("error", (error) => resolve(`${error.code}`));
    request.on("response", (response) => {
      response.on("end", () =>
        resolve(`${response.statusCode} ${response.headers["x-imsgate-reason"]}`));
      response.on("error", (error) => resolve(`${error.code}`));
      response.resume();
    });
    Readable.from(body(first, size)).pipe(request);
  });
}

const [url, token, rounds] = process.argv.slice(2);
for (let round = 0; round < Number(rounds); round++) {
  const chunked = round % 2 === 1;
  const cases = {
    token: ["forged", "", 32],
    size: [token, "", 32],
    format: [token, "QFI\xfb", 12],
  };
  for (const [name, [credential, text, size]] of Object.entries(cases)) {
    const first = Buffer.from(text, "latin1");
    console.log(name, await upload(url, credential, first, size, chunked));
  }
}
agent.destroy();
