// An SMSC by another hand: npm's smpp, told what to do by lines of JSON on standard input.
//
//   node smsc_node.js MODULES
//
// Prints its port. Each order is answered with one line: {"script": {...}} sets what
// follows, {"submitted": true} gives what came in since the last time, {"deliver": {...}}
// sends a deliver_sm and gives the status of its answer, {"drop": true} cuts all connections.
'use strict';
const readline = require('readline');
const smpp = require(process.argv[2] + '/smpp');

let script = {};
let submitted = [];
let count = 0;
const sessions = [];

function receipt(pdu, id) {
  const text = `id:${id} sub:001 dlvrd:001 submit date:2611250712 done date:2611250713 ` +
    `stat:${script.stat || 'DELIVRD'} err:000 text:`;
  return { source_addr: pdu.destination_addr, source_addr_ton: pdu.dest_addr_ton, source_addr_npi: pdu.dest_addr_npi,
    destination_addr: pdu.source_addr, esm_class: 4, short_message: text };
}

const server = smpp.createServer((session) => {
  session.on('error', () => {});
  sessions.push(session);
  session.on('close', () => sessions.splice(sessions.indexOf(session), 1));
  session.on('pdu', (pdu) => {
    if (/^bind_(transceiver|transmitter|receiver)$/.test(pdu.command)) {
      const refused = script.password !== undefined && pdu.password !== script.password;
      const status = refused ? 0x0e : script.bind || 0;
      session.send(pdu.response({ command_status: status, system_id: 'node' }));
      if (!status) session.mode = pdu.command;
    } else if (pdu.command === 'submit_sm') {
      const message = pdu.short_message.message;
      submitted.push({
        source: pdu.source_addr, destination: pdu.destination_addr, ton: pdu.dest_addr_ton, npi: pdu.dest_addr_npi,
        data_coding: pdu.data_coding, esm_class: pdu.esm_class, validity_period: String(pdu.validity_period),
        registered_delivery: pdu.registered_delivery,
        text: Buffer.isBuffer(message) ? message.toString('hex') : message,
        udh: (pdu.short_message.udh || []).map((one) => one.toString('hex')),
      });
      if (script.silent) return;
      const status = script.statuses && script.statuses.length ? script.statuses.shift() : script.status || 0;
      const id = `node-${++count}`;
      session.send(pdu.response(status ? { command_status: status } : { message_id: id }));
      if (!status && script.receipts) session.deliver_sm(receipt(pdu, id));
    } else if (pdu.command === 'enquire_link' || pdu.command === 'unbind') {
      session.send(pdu.response());
    }
  });
});

function obey(order, answer) {
  if (order.script) script = order.script;
  if (order.drop) sessions.slice().forEach((session) => session.socket.destroy());
  if (order.deliver) {
    const session = sessions.find((one) => one.mode && one.mode !== 'bind_transmitter');
    session.deliver_sm(order.deliver, (pdu) => answer(pdu.command_status));
  } else if (order.submitted) {
    answer(submitted);
    submitted = [];
  } else {
    answer(sessions.filter((one) => one.mode).length);
  }
}

server.listen(0, '127.0.0.1', () => {
  console.log(server.address().port);
  readline.createInterface({ input: process.stdin })
    .on('line', (line) => obey(JSON.parse(line), (answer) => console.log(JSON.stringify(answer))))
    .on('close', () => process.exit(0));
});
