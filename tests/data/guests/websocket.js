// A WebSocket client, its frames made by hand (RFC 6455): node websocket.js SOCKET. Prints what came back.
'use strict';
const http = require('http');
const crypto = require('crypto');

const key = crypto.randomBytes(16).toString('base64');
const request = http.request({
  socketPath: process.argv[2],
  path: '/ws',
  headers: {
    Connection: 'Upgrade',
    Upgrade: 'websocket',
    'Sec-WebSocket-Version': '13',
    'Sec-WebSocket-Key': key,
    'X-PV-Client': 'evil',
  },
});

function frame(opcode, payload) {
  const mask = crypto.randomBytes(4);
  const long = payload.length > 125;
  const head = Buffer.from(long
    ? [0x80 | opcode, 0x80 | 126, payload.length >> 8, payload.length & 255]
    : [0x80 | opcode, 0x80 | payload.length]);
  return Buffer.concat([head, mask, payload.map((byte, at) => byte ^ mask[at & 3])]);
}

const accept = crypto.createHash('sha1').update(key + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64');

request.on('response', (answer) => {
  console.log(JSON.stringify({ error: `answered ${answer.statusCode}` }));
  process.exit(1);
});
request.on('upgrade', (answer, socket, first) => {
  const messages = [];
  let buffer = first;
  const take = () => {
    for (;;) {
      if (buffer.length < 2) return;
      let length = buffer[1] & 127;
      let at = 2;
      if (length === 126) {
        if (buffer.length < 4) return;
        length = buffer.readUInt16BE(2);
        at = 4;
      }
      if (buffer.length < at + length) return;
      const opcode = buffer[0] & 15;
      const payload = buffer.subarray(at, at + length);
      buffer = buffer.subarray(at + length);
      if (opcode === 8) {
        socket.end();
        console.log(JSON.stringify({ accepted: answer.headers['sec-websocket-accept'] === accept, messages }));
        return;
      }
      messages.push([opcode, payload.length, payload.toString('latin1', 0, 20)]);
    }
  };
  socket.on('data', (bytes) => { buffer = Buffer.concat([buffer, bytes]); take(); });
  socket.on('error', (error) => { console.log(JSON.stringify({ error: String(error) })); process.exit(1); });
  socket.write(frame(1, Buffer.from('hello')));
  socket.write(frame(2, Buffer.alloc(60000, 'x')));
  socket.write(frame(1, Buffer.from('bye')));
  socket.write(frame(8, Buffer.from([3, 232])));
  take();
});
request.on('error', (error) => { console.log(JSON.stringify({ error: String(error) })); process.exit(1); });
request.end();
