// A browser and its push service by another hand: npm's web-push-testing, on loopback only.
//
//   node webpush_peer.js MODULES
//
// Prints its port; ends with its standard input. Its own API: POST /subscribe, /expire-subscription/:hash,
// /get-notifications, and the endpoints themselves, /notify/:hash.
"use strict";
const http = require("node:http");
const path = require("node:path");

const source = path.join(process.argv[2], "web-push-testing", "src");
const { PushApiModel } = require(path.join(source, "PushApiModel.js"));
const WebPushTestingServer = require(path.join(source, "server.js"));

const model = new PushApiModel();
const peer = new WebPushTestingServer(model, 0);
peer.setRequestHandlers();
// It would listen on every interface.
const server = http.createServer(peer._app);
server.listen(0, "127.0.0.1", () => {
  const { port } = server.address();
  model.notifyUrl = `http://127.0.0.1:${port}/notify/`;
  console.log(port);
});
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
