// A browser and its push service by another hand: npm's web-push-testing, on loopback only.
//
//   node webpush_peer.js MODULES
//
// Reads {cert, key} from a line of JSON and prints its port; ends with its standard input. Its own API: POST /subscribe, /expire-subscription/:hash,
// /get-notifications, and the endpoints themselves, /notify/:hash.
"use strict";
const https = require("node:https");
const path = require("node:path");
const readline = require("node:readline");

const source = path.join(process.argv[2], "web-push-testing", "src");
const { PushApiModel } = require(path.join(source, "PushApiModel.js"));
const WebPushTestingServer = require(path.join(source, "server.js"));

const model = new PushApiModel();
const peer = new WebPushTestingServer(model, 0);
peer.setRequestHandlers();

readline.createInterface({ input: process.stdin }).once("line", (tls) => {
  // It would listen on every interface, in clear text.
  const server = https.createServer(JSON.parse(tls), peer._app);
  server.listen(0, "127.0.0.1", () => {
    const { port } = server.address();
    model.notifyUrl = `https://localhost:${port}/notify/`;
    console.log(port);
  });
});
process.stdin.on("end", () => process.exit(0));
