/// <reference lib="es2024.sharedmemory" />
/**
 * Between the driver's thread and the storage's: requests one way, replies the other, each in order and numbered.
 *
 * A message port costs more than the write itself: both ends serialize, and wake by way of an event loop. So what a
 * write needs lies in shared memory, and a counter is all that either side waits on: the storage's thread sleeps on it
 * (it has no event loop to keep), the driver's is called back. Whatever is large or rare goes through a port, and is
 * there before the counter says so.
 */
import { MessageChannel, type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import type { HardState } from '../core/types.js';
import type { StorageReply, StorageRequest } from './storage.js';

/** Of one write, payload and hard state; larger ones go through the port. */
const slotBytes = 512 * 1024;

/** Places in the counters. They run over after 2^32 requests, so they are compared for equality alone. */
const place = {
  requested: 0,
  answered: 1,
  /** The request that lies in the slot. */
  inSlot: 2,
  payloadBytes: 3,
  hardStateBytes: 4,
  /** The newest reply that went through the port. */
  repliedByPort: 5,
} as const;
const counterCount = 6;
const lastIndexOffset = 32;
const slotOffset = 64;

/** Goes to the storage's thread as part of its `workerData`. */
export interface MailboxEnd {
  memory: SharedArrayBuffer;
  port: MessagePort;
}

class Memory {
  readonly counters: Int32Array;
  private readonly lastIndex: Float64Array;
  private readonly slot: Uint8Array;

  constructor(memory: SharedArrayBuffer) {
    this.counters = new Int32Array(memory, 0, counterCount);
    this.lastIndex = new Float64Array(memory, lastIndexOffset, 1);
    this.slot = new Uint8Array(memory, slotOffset);
  }

  get(at: number): number {
    return Atomics.load(this.counters, at);
  }

  set(at: number, value: number): void {
    Atomics.store(this.counters, at, value);
  }

  /** False when it does not fit. The slot is free: one write is under way at a time. */
  put(number: number, { batch }: Extract<StorageRequest, { kind: 'append' }>): boolean {
    const hardState = Buffer.from(JSON.stringify(batch.hardState), 'utf8');
    const { payload } = batch;
    if (payload.length + hardState.length > this.slot.length) return false;
    this.slot.set(payload, 0);
    this.slot.set(hardState, payload.length);
    this.lastIndex[0] = batch.lastIndex;
    this.set(place.payloadBytes, payload.length);
    this.set(place.hardStateBytes, hardState.length);
    this.set(place.inSlot, number);
    return true;
  }

  take(): StorageRequest {
    const payloadBytes = this.get(place.payloadBytes);
    const end = payloadBytes + this.get(place.hardStateBytes);
    const hardState = Buffer.from(this.slot.subarray(payloadBytes, end)).toString('utf8');
    return {
      kind: 'append',
      batch: {
        payload: this.slot.slice(0, payloadBytes) as Uint8Array<ArrayBuffer>,
        lastIndex: this.lastIndex[0] ?? 0,
        hardState: JSON.parse(hardState) as HardState,
      },
    };
  }
}

/** The driver's end. */
export class Mailbox {
  readonly workerEnd: MailboxEnd;
  private readonly memory: Memory;
  private readonly port: MessagePort;
  /** Callers in the order of their requests, which is the order of the replies. */
  private waiting: ((reply: StorageReply) => void)[] = [];
  private requested = 0;
  private answered = 0;
  private slotHolds: number | undefined;
  private isWatching = false;

  constructor() {
    const { port1, port2 } = new MessageChannel();
    // Nobody waits for its events: messages are fetched.
    port1.unref();
    this.port = port1;
    this.workerEnd = { memory: new SharedArrayBuffer(slotOffset + slotBytes), port: port2 };
    this.memory = new Memory(this.workerEnd.memory);
  }

  send(request: StorageRequest, done: (reply: StorageReply) => void): void {
    const number = (this.requested + 1) | 0;
    this.requested = number;
    this.waiting.push(done);
    const isInSlot =
      request.kind === 'append' && this.slotHolds === undefined && this.memory.put(number, request);
    if (isInSlot) this.slotHolds = number;
    else this.port.postMessage(request, request.kind === 'append' ? [request.batch.payload.buffer] : []);
    this.memory.set(place.requested, number);
    Atomics.notify(this.memory.counters, place.requested);
    if (!this.isWatching) void this.watch();
  }

  /** Nothing is answered any more: everybody who waits gets this. */
  end(reply: StorageReply): void {
    for (const done of this.waiting.splice(0)) done(reply);
    this.answered = this.requested;
    Atomics.notify(this.memory.counters, place.answered);
    this.port.close();
  }

  /** While something is asked: called back, this thread goes on with its other work meanwhile. */
  private async watch(): Promise<void> {
    this.isWatching = true;
    while (this.waiting.length > 0) {
      const { async: isLater, value } = Atomics.waitAsync(
        this.memory.counters,
        place.answered,
        this.answered,
      );
      if (isLater) await value;
      this.takeReplies(this.memory.get(place.answered));
    }
    this.isWatching = false;
  }

  private takeReplies(through: number): void {
    const byPort = this.memory.get(place.repliedByPort);
    while (this.answered !== through && this.waiting.length > 0) {
      const number = (this.answered + 1) | 0;
      this.answered = number;
      if (this.slotHolds === number) this.slotHolds = undefined;
      this.waiting.shift()?.(this.replyOf(number, byPort));
    }
  }

  private fetched: { number: number; reply: StorageReply } | undefined;

  /** Every reply that is not just "done" is in the port, with its number. */
  private replyOf(number: number, lastByPort: number): StorageReply {
    if (this.fetched === undefined && ((lastByPort - number) | 0) >= 0) {
      const received = receiveMessageOnPort(this.port);
      this.fetched = received?.message as typeof this.fetched;
    }
    const { fetched } = this;
    if (fetched?.number !== number) return { kind: 'done' };
    this.fetched = undefined;
    return fetched.reply;
  }
}

/** The storage's end: carries out one request after the other until `handle` says that it was the last. */
export function serveMailbox(
  end: MailboxEnd,
  handle: (request: StorageRequest) => { reply: StorageReply; isLast: boolean },
): void {
  const memory = new Memory(end.memory);
  for (let number = 1; ; number = (number + 1) | 0) {
    const before = (number - 1) | 0;
    while (memory.get(place.requested) === before) Atomics.wait(memory.counters, place.requested, before);
    const request = memory.get(place.inSlot) === number ? memory.take() : received(end.port);
    const { reply, isLast } = handle(request);
    if (reply.kind !== 'done') {
      end.port.postMessage({ number, reply });
      memory.set(place.repliedByPort, number);
    }
    memory.set(place.answered, number);
    Atomics.notify(memory.counters, place.answered);
    if (isLast) return;
  }
}

function received(port: MessagePort): StorageRequest {
  const next = receiveMessageOnPort(port);
  if (next === undefined) throw new Error('a request was counted that is not there');
  return next.message as StorageRequest;
}
