import { expect } from 'chai';
import { Mailbox, serveMailbox } from './mailbox.js';
import type { StorageReply, StorageRequest } from './storage.js';

const append = (payloadBytes: number, index: number): StorageRequest => ({
  kind: 'append',
  batch: {
    payload: new Uint8Array(payloadBytes).fill(index),
    lastIndex: index,
    hardState: { term: 2 ** 40, votedFor: 'é', commit: index },
  },
});

describe("raft: the mailbox of the storage's thread", () => {
  it('brings every request once and in order, whichever way it takes, and every reply to its caller', async () => {
    const mailbox = new Mailbox();
    const requests: StorageRequest[] = [
      append(300, 1),
      { kind: 'release', index: 7 },
      // While the first one lies in the shared memory, and larger than that.
      append(301, 2),
      append(3_000_000, 3),
      { kind: 'snapshot-read', handle: 1, number: 5 },
      { kind: 'key-ids' },
      append(0, 4),
      { kind: 'close' },
    ];
    const expected = structuredClone(requests);
    const answers: Record<string, StorageReply> = {
      'snapshot-read': { kind: 'chunk', chunk: Uint8Array.of(1, 2) },
      'key-ids': { kind: 'key-ids', ids: ['a'] },
    };
    const replies: [number, StorageReply][] = [];
    const all = requests.map(
      (request, i) =>
        new Promise<void>((resolve) => {
          mailbox.send(request, (reply) => {
            replies.push([i, reply]);
            resolve();
          });
        }),
    );
    const taken: StorageRequest[] = [];
    serveMailbox(mailbox.workerEnd, (request) => {
      taken.push(request);
      return { reply: answers[request.kind] ?? { kind: 'done' }, isLast: request.kind === 'close' };
    });
    expect(replies).to.deep.equal([]);
    await Promise.all(all);
    expect(taken).to.deep.equal(expected);
    expect(replies).to.deep.equal(expected.map(({ kind }, i) => [i, answers[kind] ?? { kind: 'done' }]));
    mailbox.end({ kind: 'done' });
  });

  it('tells everybody who waits that nothing is answered any more', async () => {
    const mailbox = new Mailbox();
    const death: StorageReply = { kind: 'failed', code: 'internal', message: 'it died', isFatal: true };
    const replies: StorageReply[] = [];
    mailbox.send(append(10, 1), (reply) => replies.push(reply));
    mailbox.send({ kind: 'key-ids' }, (reply) => replies.push(reply));
    mailbox.end(death);
    expect(replies).to.deep.equal([death, death]);
  });
});
