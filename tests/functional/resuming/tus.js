// Uploads a file with tus-js-client, which goes on by itself after each cut.
// usage: node tus.js URL IMAGE-ID FILE TOKEN ATTEMPTS PROTOCOL
const fs = require('fs')
const tus = require('tus-js-client')

const [url, image, file, token, attempts, protocol] = process.argv.slice(2)
const isTus1 = protocol === 'tus-v1'
// Not a stream of the file: of that, 4.3 never says that it is complete after a cut (issue 820).
const upload = new tus.Upload(fs.readFileSync(file), {
  protocol,
  endpoint: isTus1 ? `${url}/v2/uploads` : `${url}/v2/images/${image}/file`,
  metadata: isTus1 ? { image_id: image } : {},
  headers: { 'X-Auth-Token': token },
  retryDelays: new Array(Number(attempts)).fill(0),
  onError(error) {
    console.error(error)
    process.exit(1)
  },
  onSuccess() {
    process.exit(0)
  },
})
// So that it also fails if it ends without having called either.
process.exitCode = 1
upload.start()
