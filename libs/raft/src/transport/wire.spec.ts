import { expect } from 'chai';
import { EnxameError } from '#libs/model';
import type { PeerMessage } from '../port.js';
import { Outbox } from './outbox.js';
import { decodeMessages, encodeMessage } from './wire.js';

const bytes = (text: string): Buffer => Buffer.from(text);
const membership = { voters: ['a'], outgoing: [], learners: [], learnersNext: [], autoLeave: false };

const messages: PeerMessage[] = [
  { kind: 'pre-vote-request', term: 2 ** 40, lastIndex: 2 ** 45, lastTerm: 7 },
  { kind: 'vote-request', term: 5, lastIndex: 4, lastTerm: 3, force: true },
  {
    kind: 'append-request',
    term: 9,
    prevIndex: 2 ** 33,
    prevTerm: 8,
    commit: 17,
    entries: [
      { kind: 'noop', index: 2 ** 33 + 1, term: 8, data: Buffer.alloc(0) },
      { kind: 'data', index: 2 ** 33 + 2, term: 2 ** 41, data: bytes('ação') },
      { kind: 'membership', index: 2 ** 33 + 3, term: 9, data: bytes('{}') },
    ],
  },
  { kind: 'append-request', term: 9, prevIndex: 3, prevTerm: 8, commit: 3, entries: [] },
  {
    kind: 'append-response',
    term: 9,
    result: { accepted: false, rejectedPrev: 8, hintIndex: 4, hintTerm: 1 },
  },
  { kind: 'heartbeat', term: 9, commit: 3, readSequence: 12 },
  { kind: 'snapshot', term: 9, snapshot: { index: 40, term: 8, membership } },
  { kind: 'forward', proposals: [bytes('one'), Buffer.alloc(0), bytes('three')] },
  { kind: 'forward-refused', sequences: [1, 5], reason: 'overloaded' },
  { kind: 'call', ref: 4, call: { kind: 'change-membership', changes: [{ kind: 'remove', id: 'b' }] } },
  { kind: 'answer', ref: 4, error: { code: 'failed-precondition', message: 'no' } },
  { kind: 'removed' },
];

const whole = (list: readonly PeerMessage[]): Buffer => Buffer.concat(list.flatMap(encodeMessage));

function refusalOf(work: () => unknown): EnxameError {
  try {
    work();
  } catch (error) {
    if (error instanceof EnxameError) return error;
    throw error;
  }
  throw new Error('was not refused');
}

describe('raft transport: messages as bytes', () => {
  it('reads what was written, one message or many in a row', () => {
    for (const message of messages) expect(decodeMessages(whole([message]))).to.deep.equal([message]);
    expect(decodeMessages(whole(messages))).to.deep.equal(messages);
  });

  it('takes nothing of a message that ends too soon, wherever it is cut', () => {
    for (const message of messages) {
      const encoded = whole([message]);
      for (let end = 1; end < encoded.length; end++) {
        expect(refusalOf(() => decodeMessages(encoded.subarray(0, end))).code).to.equal('invalid-argument');
      }
    }
  });

  it('refuses kinds of messages and entries that it does not know, and parts that belong to nothing', () => {
    const head = (json: string, parts = 0): Buffer => {
      const prefix = Buffer.alloc(8);
      prefix.writeUInt32LE(Buffer.byteLength(json), 0);
      prefix.writeUInt32LE(parts, 4);
      return Buffer.concat([prefix, bytes(json)]);
    };
    const refusals = [
      head('{"kind":"surrender"}'),
      head('{"kind":7}'),
      head('null'),
      head('{"kind":'),
      head('{"kind":"heartbeat"}', 3),
      Buffer.concat([head('{"kind":"append-request","prevIndex":1}', 1), Buffer.alloc(11, 9)]),
    ].map((encoded) => refusalOf(() => decodeMessages(encoded)).message);
    expect(refusals).to.deep.equal([
      'raft message: a message of unknown kind surrender',
      'raft message: a head without a kind',
      'raft message: a head without a kind',
      'raft message: a head that is not JSON',
      'raft message: 3 parts in a message of kind heartbeat',
      'raft message: an entry of unknown kind',
    ]);
  });
});

describe('raft transport: outbox', () => {
  const append = (size: number, term = 1, prevIndex = 0, commit = 0): PeerMessage => ({
    kind: 'append-request',
    term,
    prevIndex,
    prevTerm: prevIndex === 0 ? 0 : term,
    commit,
    entries: size === 0 ? [] : [{ kind: 'data', index: prevIndex + 1, term, data: Buffer.alloc(size, term) }],
  });
  const heartbeat: PeerMessage = { kind: 'heartbeat', term: 1, commit: 0, readSequence: 0 };

  /** Every envelope in short, and the messages that the receiver puts together from them. */
  function drain(
    outbox: Outbox,
    between: (envelopes: number) => void = () => undefined,
  ): { envelopes: string[]; received: PeerMessage[] } {
    const envelopes: string[] = [];
    const received: PeerMessage[] = [];
    let pieces: Buffer[] = [];
    for (let envelope = outbox.take(); envelope !== undefined; envelope = outbox.take()) {
      const { body } = envelope;
      if (body?.$case === 'messages') received.push(...decodeMessages(body.messages));
      if (body?.$case === 'piece') {
        pieces.push(body.piece.bytes);
        if (body.piece.last) {
          received.push(...decodeMessages(Buffer.concat(pieces)));
          pieces = [];
        }
      }
      envelopes.push(body?.$case ?? 'nothing');
      between(envelopes.length);
    }
    return { envelopes, received };
  }

  it('sends all that fits in one envelope, the small messages first', () => {
    const outbox = new Outbox({ outboxBytesMax: 10_000, envelopeBytesMax: 2_000 });
    for (const message of [append(100), heartbeat, append(200, 2)]) outbox.add(message);
    expect(drain(outbox)).to.deep.equal({
      envelopes: ['messages'],
      received: [heartbeat, append(100), append(200, 2)],
    });
    expect(outbox.isEmpty).to.equal(true);
  });

  it('joins requests that follow each other, and acknowledgements of which the last says all', () => {
    const accept = (match: number, term = 1): PeerMessage => ({
      kind: 'append-response',
      term,
      result: { accepted: true, match },
    });
    const outbox = new Outbox({ outboxBytesMax: 10_000, envelopeBytesMax: 2_000 });
    const requests = [append(10), append(20, 1, 1), append(0, 1, 2, 2), append(30, 2, 2), append(40, 2, 7)];
    for (const message of [...requests, accept(3), accept(7), accept(5), accept(9, 2)]) outbox.add(message);
    const { received } = drain(outbox);
    expect(received).to.deep.equal([
      accept(7),
      accept(5),
      accept(9, 2),
      {
        ...append(10, 1, 0, 2),
        entries: [append(10), append(20, 1, 1)].flatMap((each) =>
          each.kind === 'append-request' ? each.entries : [],
        ),
      },
      append(30, 2, 2),
      append(40, 2, 7),
    ]);
  });

  it('joins no more than fits in one envelope', () => {
    const outbox = new Outbox({ outboxBytesMax: 10_000, envelopeBytesMax: 2_000 });
    for (let i = 0; i < 4; i++) outbox.add(append(600, 1, i));
    expect(
      drain(outbox).received.map((each) => (each.kind === 'append-request' ? each.entries.length : 0)),
    ).to.deep.equal([2, 2]);
  });

  it('cuts a large message in pieces, which small messages pass and entries do not', () => {
    const outbox = new Outbox({ outboxBytesMax: 100_000, envelopeBytesMax: 1_000 });
    outbox.add(append(2_500, 1));
    outbox.add(append(10, 2));
    const { envelopes, received } = drain(outbox, (count) => {
      if (count === 1) outbox.add(heartbeat);
    });
    expect(envelopes).to.deep.equal(['piece', 'messages', 'piece', 'piece', 'messages']);
    expect(received).to.deep.equal([heartbeat, append(2_500, 1), append(10, 2)]);
  });

  it('drops entries when too much is waiting, small messages only when twice as much is', () => {
    const outbox = new Outbox({ outboxBytesMax: 1_000, envelopeBytesMax: 10_000 });
    expect(outbox.add(append(2_500))).to.equal(true);
    expect(outbox.add(append(1))).to.equal(false);
    expect(outbox.add(heartbeat)).to.equal(false);
    drain(outbox);
    expect(outbox.add(append(1_500))).to.equal(true);
    expect(outbox.add(heartbeat)).to.equal(true);
    expect(outbox.add(append(1))).to.equal(false);
    drain(outbox);
    expect(outbox.add(append(1))).to.equal(true);
  });
});
