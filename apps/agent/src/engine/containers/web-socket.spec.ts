import { expect } from 'chai';
import { once } from 'node:events';
import { duplexPair } from 'node:stream';
import { acceptHead, WebSocketStream } from './web-socket.js';

/** As a browser sends it: masked. */
function masked(opcode: number, data: Buffer): Buffer {
  const mask = Buffer.from([1, 2, 3, 4]);
  const head =
    data.length < 126
      ? Buffer.from([0x80 | opcode, 0x80 | data.length])
      : Buffer.from([0x80 | opcode, 0xfe, data.length >> 8, data.length & 0xff]);
  return Buffer.concat([head, mask, Buffer.from(data.map((byte, at) => byte ^ (mask[at & 3] ?? 0)))]);
}

describe('web sockets', () => {
  it('accept a key as the RFC computes it', () => {
    expect(acceptHead('dGhlIHNhbXBsZSBub25jZQ==')).to.contain(
      'Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n',
    );
  });

  it('unmask what comes, whatever pieces it comes in, and answer pings', async () => {
    const [ours, theirs] = duplexPair();
    const socket = new WebSocketStream(ours);
    const long = Buffer.alloc(300, 'x');
    const sent = Buffer.concat([
      masked(1, Buffer.from('typed')),
      masked(9, Buffer.from('?')),
      masked(2, long),
      masked(8, Buffer.alloc(0)),
    ]);
    for (let at = 0; at < sent.length; at += 7) theirs.write(sent.subarray(at, at + 7));
    const chunks: Buffer[] = [];
    for await (const chunk of socket.iterator({ destroyOnReturn: false })) chunks.push(chunk as Buffer);
    expect(Buffer.concat(chunks).toString()).to.equal(`typed${long.toString()}`);
    // The pong, and the answer to the close.
    expect(theirs.read()).to.deep.equal(Buffer.from([0x8a, 1, 0x3f, 0x88, 2, 0x03, 0xe8]));
  });

  it('send binary messages and a close at the end', async () => {
    const [ours, theirs] = duplexPair();
    const socket = new WebSocketStream(ours);
    socket.write('out');
    socket.end();
    await once(theirs, 'readable');
    const all: Buffer[] = [];
    for await (const chunk of theirs) all.push(chunk as Buffer);
    expect(Buffer.concat(all)).to.deep.equal(Buffer.from([0x82, 3, 0x6f, 0x75, 0x74, 0x88, 2, 0x03, 0xe8]));
  });

  it('end at a frame that no client may send', async () => {
    const [ours, theirs] = duplexPair();
    const socket = new WebSocketStream(ours);
    const closed = once(socket, 'close');
    theirs.write(Buffer.from([0x81, 1, 0x61]));
    await closed;
    expect(socket.destroyed).to.equal(true);
  });
});
