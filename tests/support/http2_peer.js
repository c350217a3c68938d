// An HTTP/2 server by Node's own stack, scripted as APNs. `node http2_peer.js < options`, where options is one
// line of JSON: {cert, key, publicKey?, keyId?, teamId?, topic?, settings?, http1?, quiet?}. It prints its port, then
// answers one line of JSON for each line of JSON on its standard input: {script: {token: action}}, {requests: true},
// {settings: {...}}, {goaway: {code?, last?, text?}}, {destroy: true}, {count: true}. It ends with its input.
//
// An action is {status?, reason?, timestamp?, headers?, raw?, reset?, stall?, goaway?, bomb?, large?, destroy?, times?, then?};
// after `times` requests the action `then` holds. Without one a token is as any other, which is answered as APNs answers,
// after the checks that APNs makes. What stands for the token is the last part of the path.
"use strict";
const crypto = require("node:crypto");
const http2 = require("node:http2");
const https = require("node:https");
const readline = require("node:readline");

const sessions = new Set();
const requests = [];
let options = {};
let script = {};
let count = 0;

function decode(part) {
  return JSON.parse(Buffer.from(part, "base64url").toString());
}

// Why APNs would refuse the provider's token, or null.
function tokenProblem(value) {
  if (!options.publicKey) return null;
  const [head, body, signature] = (value || "").replace(/^bearer /, "").split(".");
  if (!signature) return "MissingProviderToken";
  let header, claims;
  try {
    header = decode(head);
    claims = decode(body);
  } catch {
    return "InvalidProviderToken";
  }
  const key = { key: options.publicKey, dsaEncoding: "ieee-p1363" };
  const isSigned = crypto.verify("sha256", Buffer.from(`${head}.${body}`), key, Buffer.from(signature, "base64url"));
  if (!isSigned || header.alg !== "ES256" || header.kid !== options.keyId || claims.iss !== options.teamId) {
    return "InvalidProviderToken";
  }
  return Math.abs(Date.now() / 1000 - claims.iat) > 3600 ? "ExpiredProviderToken" : null;
}

// [status, reason] of the first thing wrong with the request, or null: what Apple documents.
function problem(headers, body) {
  if (headers[":method"] !== "POST") return [405, "MethodNotAllowed"];
  const path = /^\/3\/device\/(.*)$/.exec(headers[":path"]);
  if (!path) return [404, "BadPath"];
  if (!path[1]) return [400, "MissingDeviceToken"];
  if (!/^[0-9a-f]{64,200}$/.test(path[1])) return [400, "BadDeviceToken"];
  const unproven = tokenProblem(headers.authorization);
  if (unproven) return [403, unproven];
  if (!headers["apns-topic"]) return [400, "MissingTopic"];
  if (options.topic && headers["apns-topic"] !== options.topic) return [400, "DeviceTokenNotForTopic"];
  if (Buffer.byteLength(headers["apns-collapse-id"] || "") > 64) return [400, "BadCollapseId"];
  if (!["10", "5", "1"].includes(headers["apns-priority"] || "10")) return [400, "BadPriority"];
  if (!/^\d+$/.test(headers["apns-expiration"] || "0")) return [400, "BadExpirationDate"];
  const id = headers["apns-id"];
  if (id && !/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(id)) return [400, "BadMessageId"];
  if (body.length === 0) return [400, "PayloadEmpty"];
  if (body.length > 4096) return [413, "PayloadTooLarge"];
  try {
    if (typeof JSON.parse(body).aps !== "object") return [400, "PayloadEmpty"];
  } catch {
    return [400, "PayloadEmpty"];
  }
  return null;
}

function say(stream, status, id, reason, more) {
  if (stream.destroyed) return;
  stream.respond({ ":status": status, ...(id ? { "apns-id": id } : {}), ...more?.headers });
  if (more?.raw !== undefined) stream.end(more.raw);
  else if (reason) stream.end(JSON.stringify({ reason, ...(more?.timestamp ? { timestamp: more.timestamp } : {}) }));
  else stream.end();
}

function act(stream, action, id) {
  if (action.goaway) stream.session?.goaway(action.goaway.code || 0, action.goaway.last, text(action.goaway.text));
  // Not while Node reads from it: that has it free memory twice now and then.
  if (action.destroy) setImmediate((session) => session?.destroy(), stream.session);
  else if (action.reset !== undefined) stream.close(action.reset);
  else if (action.bomb) {
    const headers = { ":status": 200 };
    for (let number = 0; number < 30; number += 1) headers[`x-${number}`] = "x".repeat(1000);
    stream.respond(headers, { endStream: true });
  } else if (action.large) {
    stream.respond({ ":status": 200 });
    stream.end("x".repeat(action.large));
  } else if (!action.stall) say(stream, action.status || 200, id, action.reason, action);
}

function text(value) {
  return value === undefined ? undefined : Buffer.from(value);
}

function onStream(stream, headers) {
  const parts = [];
  stream.on("error", () => {});
  stream.on("data", (part) => parts.push(part));
  stream.on("end", () => {
    const body = Buffer.concat(parts);
    count += 1;
    if (!options.quiet) requests.push({ headers: { ...headers }, body: body.toString() });
    const token = headers[":path"].split("/").pop();
    const action = script[token];
    if (action && (action.times === undefined || action.times-- > 0)) {
      act(stream, action, headers["apns-id"]);
      return;
    }
    if (action?.then) {
      act(stream, action.then, headers["apns-id"]);
      return;
    }
    const wrong = problem(headers, body);
    if (wrong) say(stream, wrong[0], headers["apns-id"], wrong[1]);
    else say(stream, 200, headers["apns-id"]);
  });
}

function command(line) {
  const order = JSON.parse(line);
  if (order.script) script = order.script;
  for (const session of sessions) {
    if (order.settings) session.settings(order.settings);
    if (order.goaway) session.goaway(order.goaway.code || 0, order.goaway.last, text(order.goaway.text));
    if (order.destroy) session.destroy();
  }
  console.log(JSON.stringify(order.requests ? requests.splice(0) : { count, sessions: sessions.size }));
}

function start() {
  const tls = { cert: options.cert, key: options.key };
  const server = options.http1
    ? https.createServer(tls, (_, reply) => reply.end("HTTP/1.1 it is"))
    : http2.createSecureServer({ ...tls, settings: options.settings || {} });
  server.on("session", (session) => {
    sessions.add(session);
    session.on("close", () => sessions.delete(session));
    session.on("error", () => {});
  });
  server.on("stream", onStream);
  server.on("error", () => {});
  server.on("tlsClientError", () => {});
  server.listen(0, "127.0.0.1", () => console.log(server.address().port));
}

const lines = readline.createInterface({ input: process.stdin });
lines.once("line", (first) => {
  options = JSON.parse(first);
  start();
  lines.on("line", command);
});
lines.on("close", () => process.exit(0));
