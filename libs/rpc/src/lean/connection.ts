/**
 * One HTTP/2 connection (RFC 7540) for gRPC, either side of it, over any socket. Node's own costs more for one short
 * call than a replicated write does: an object, a stream and a turn of the event loop for every step of it. Here a
 * frame is a few bytes that are read where they lie, and everything that one turn has to say is one write.
 *
 * It speaks the whole of the protocol that a peer may count on: flow control both ways, header compression, settings,
 * pings, resets, going away. It has no priorities and no server push, which are for browsers.
 */
import type { Duplex } from 'node:stream';
import { FrameWriter } from './frame-writer.js';
import { type Header, HpackDecoder, HpackError } from './hpack.js';
import {
  ConnectionError,
  defaultFrameBytesMax,
  defaultWindow,
  errorCode,
  flag,
  frameHeadBytes,
  frameKind,
  preface,
  setting,
  unpadded,
  windowMax,
} from './protocol.js';

const leaveMs = 1_000;

export interface ConnectionLimits {
  /** That the other side may have open at once. */
  streamsMax: number;
  /** What the other side may send before it is told that there is room again. */
  streamWindowBytes: number;
  connectionWindowBytes: number;
  frameBytesMax: number;
  headerBytesMax: number;
  /** After a silence of so long the other side is asked for a sign of life; without one it is gone after as long again. */
  silenceMs: number;
  /** Streams that the other side may take back within `silenceMs`: each costs it nothing and this side work. */
  resetsMax: number;
  /** Written and not taken by the socket: a peer that asks and never reads is cut off. */
  backlogBytesMax: number;
}

export const defaultConnectionLimits: ConnectionLimits = {
  streamsMax: 1_000,
  streamWindowBytes: 1024 * 1024,
  connectionWindowBytes: 16 * 1024 * 1024,
  frameBytesMax: 64 * 1024,
  headerBytesMax: 64 * 1024,
  silenceMs: 10_000,
  resetsMax: 1_000,
  backlogBytesMax: 256 * 1024 * 1024,
};

/** What belongs to one stream. Data are views that are good for the time of the call. */
export interface StreamReceiver {
  headers(headers: readonly Header[]): void;
  data(bytes: Buffer): void;
  /** The other side has said all. */
  end(): void;
  /** It is over before its time. */
  broken(error: Error): void;
  /** All that was written has left for the socket, after `write` had returned false. */
  drained?(): void;
}

export interface ConnectionHandlers {
  /** The other side has opened a stream. */
  opened?(stream: H2Stream): StreamReceiver;
  /** Called once. */
  closed(error: Error | undefined): void;
}

interface Pending {
  bytes: Buffer;
  endsStream: boolean;
  /** Trailers that follow when the data are gone. */
  trailers: Buffer | undefined;
}

export class H2Stream {
  receiver: StreamReceiver | undefined;
  sendWindow: number;
  /** Received and not yet given back to the sender's window. */
  unreturnedBytes = 0;
  isLocalEnd = false;
  isRemoteEnd = false;
  isReset = false;
  pending: Pending[] = [];
  mustDrain = false;

  constructor(
    readonly connection: H2Connection,
    readonly id: number,
    sendWindow: number,
  ) {
    this.sendWindow = sendWindow;
  }

  /** `block` is a header block as `encodeHeaders` makes it. */
  sendHeaders(block: Buffer, { end = false } = {}): void {
    this.connection.sendHeaders(this, block, end);
  }

  /** False when it would be better to wait for `drained`. Trailers end the stream as `end` does. */
  sendData(bytes: Buffer, { end = false, trailers = undefined as Buffer | undefined } = {}): boolean {
    return this.connection.sendData(this, { bytes, endsStream: end, trailers });
  }

  reset(code: number = errorCode.cancel): void {
    this.connection.resetStream(this, code);
  }
}

export class H2Connection {
  private readonly streams = new Map<number, H2Stream>();
  private readonly decoder = new HpackDecoder();
  private readonly writer: FrameWriter;
  private rest: Buffer | undefined;
  private hasEnded = false;
  private isGoingAway = false;
  private needsPreface: boolean;
  private nextStreamId: number;
  private lastPeerStreamId = 0;
  sendWindow = defaultWindow;
  private peerInitialWindow = defaultWindow;
  private peerFrameBytesMax = defaultFrameBytesMax;
  private peerStreamsMax = Number.POSITIVE_INFINITY;
  private unreturnedBytes = 0;
  private headerBlock: { id: number; flags: number; parts: Buffer[]; bytes: number } | undefined;
  private blocked: H2Stream[] = [];
  private ownStreams = 0;
  private hasHeard = true;
  private isAsked = false;
  private resets = 0;
  private readonly watch: NodeJS.Timeout;
  private pings: (() => void)[] = [];

  constructor(
    readonly socket: Duplex,
    private readonly role: 'client' | 'server',
    private readonly handlers: ConnectionHandlers,
    private readonly limits: ConnectionLimits = defaultConnectionLimits,
  ) {
    this.needsPreface = role === 'server';
    this.nextStreamId = role === 'client' ? 1 : 2;
    this.writer = new FrameWriter(socket, (wantsMore) => this.written(wantsMore));
    if (role === 'client') this.writer.bytes(preface);
    this.sendSettings();
    this.watch = setInterval(() => this.watchSilence(), limits.silenceMs).unref();
    socket.on('data', (chunk: Buffer) => this.take(chunk));
    socket.on('drain', () => this.drained());
    socket.on('error', (error: Error) => this.finish(error));
    socket.on('end', () => this.finish(undefined));
    socket.on('close', () => this.finish(undefined));
  }

  get isOpen(): boolean {
    return !this.hasEnded && !this.isGoingAway;
  }

  /** As a client. Undefined when the other side takes no more streams now. */
  open(receiver: StreamReceiver): H2Stream | undefined {
    if (!this.isOpen || this.ownStreams >= this.peerStreamsMax || this.nextStreamId > windowMax)
      return undefined;
    const stream = new H2Stream(this, this.nextStreamId, this.peerInitialWindow);
    this.nextStreamId += 2;
    this.ownStreams++;
    stream.receiver = receiver;
    this.streams.set(stream.id, stream);
    return stream;
  }

  /** Calls back when the other side has answered. */
  ping(answered: () => void): void {
    this.pings.push(answered);
    this.writer.frame(frameKind.ping, 0, 0, Buffer.alloc(8));
  }

  /** Ends the connection; streams that are open break. */
  close(code: number = errorCode.none): void {
    if (this.hasEnded) return;
    const body = Buffer.alloc(8);
    body.writeUInt32BE(this.lastPeerStreamId, 0);
    body.writeUInt32BE(code, 4);
    this.writer.frame(frameKind.goAway, 0, 0, body);
    this.writer.flush();
    this.finish(undefined);
  }

  sendHeaders(stream: H2Stream, block: Buffer, end: boolean): void {
    if (this.hasEnded || stream.isReset || stream.isLocalEnd) return;
    const max = this.peerFrameBytesMax;
    const flags = end ? flag.endStream : 0;
    if (block.length <= max) this.writer.frame(frameKind.headers, flags | flag.endHeaders, stream.id, block);
    else {
      this.writer.frame(frameKind.headers, flags, stream.id, block.subarray(0, max));
      for (let at = max; at < block.length; at += max) {
        const last = at + max >= block.length ? flag.endHeaders : 0;
        this.writer.frame(frameKind.continuation, last, stream.id, block.subarray(at, at + max));
      }
    }
    if (end) this.endLocal(stream);
  }

  sendData(stream: H2Stream, data: Pending): boolean {
    if (this.hasEnded || stream.isReset || stream.isLocalEnd) return true;
    if (stream.pending.length > 0) stream.pending.push(data);
    else if (!this.sendNow(stream, data)) {
      stream.pending.push(data);
      this.blocked.push(stream);
    }
    if (stream.pending.length === 0 && this.writer.waitingBytes < 4 * this.limits.frameBytesMax) {
      return true;
    }
    stream.mustDrain = true;
    return false;
  }

  /** True when all of it went out; otherwise `data` holds the rest. */
  private sendNow(stream: H2Stream, data: Pending): boolean {
    for (;;) {
      const { bytes } = data;
      const room = Math.min(stream.sendWindow, this.sendWindow, this.peerFrameBytesMax);
      const count = Math.min(bytes.length, Math.max(0, room));
      if (count === 0 && bytes.length > 0) return false;
      const isAll = count === bytes.length;
      const ends = isAll && data.endsStream && data.trailers === undefined;
      if (count > 0 || ends) {
        const part = isAll ? bytes : bytes.subarray(0, count);
        this.writer.frame(frameKind.data, ends ? flag.endStream : 0, stream.id, part);
        stream.sendWindow -= count;
        this.sendWindow -= count;
      }
      if (!isAll) {
        data.bytes = bytes.subarray(count);
        continue;
      }
      if (data.trailers !== undefined) this.sendHeaders(stream, data.trailers, true);
      else if (ends) this.endLocal(stream);
      return true;
    }
  }

  resetStream(stream: H2Stream, code: number): void {
    if (this.hasEnded || stream.isReset) return;
    stream.isReset = true;
    const body = Buffer.alloc(4);
    body.writeUInt32BE(code, 0);
    this.writer.frame(frameKind.resetStream, 0, stream.id, body);
    this.forget(stream);
  }

  private endLocal(stream: H2Stream): void {
    stream.isLocalEnd = true;
    if (stream.isRemoteEnd) this.forget(stream);
    // A call is over with its status: the caller need not say the rest (RFC 7540, 8.1).
    else if (this.role === 'server') this.resetStream(stream, errorCode.none);
  }

  private forget(stream: H2Stream): void {
    stream.pending = [];
    if (this.streams.delete(stream.id) && this.isOwn(stream.id)) this.ownStreams--;
  }

  private isOwn(id: number): boolean {
    return id % 2 === (this.role === 'client' ? 1 : 0);
  }

  // Writing

  private sendSettings(): void {
    const { streamsMax, streamWindowBytes, frameBytesMax, connectionWindowBytes } = this.limits;
    const pairs: [number, number][] = [
      [setting.initialWindowSize, streamWindowBytes],
      [setting.maxFrameSize, frameBytesMax],
      this.role === 'server' ? [setting.maxConcurrentStreams, streamsMax] : [setting.enablePush, 0],
    ];
    const body = Buffer.alloc(6 * pairs.length);
    for (const [i, [id, value]] of pairs.entries()) {
      body.writeUInt16BE(id, 6 * i);
      body.writeUInt32BE(value, 6 * i + 2);
    }
    this.writer.frame(frameKind.settings, 0, 0, body);
    this.sendWindowUpdate(0, connectionWindowBytes - defaultWindow);
  }

  private sendWindowUpdate(streamId: number, bytes: number): void {
    const body = Buffer.alloc(4);
    body.writeUInt32BE(bytes, 0);
    this.writer.frame(frameKind.windowUpdate, 0, streamId, body);
  }

  private written(wantsMore: boolean): void {
    if (wantsMore) this.drained();
    else if (this.socket.writableLength > this.limits.backlogBytesMax) {
      this.fail(errorCode.enhanceYourCalm, 'the peer reads nothing of what it asked for');
    }
  }

  private drained(): void {
    if (this.hasEnded) return;
    for (const stream of this.streams.values()) {
      if (!stream.mustDrain || stream.pending.length > 0) continue;
      stream.mustDrain = false;
      stream.receiver?.drained?.();
    }
  }

  // Reading

  private take(chunk: Buffer): void {
    if (this.hasEnded) return;
    this.hasHeard = true;
    let bytes = this.rest === undefined ? chunk : Buffer.concat([this.rest, chunk]);
    this.rest = undefined;
    if (this.needsPreface) {
      const length = Math.min(bytes.length, preface.length);
      if (!bytes.subarray(0, length).equals(preface.subarray(0, length))) {
        return this.fail(errorCode.protocol, 'this is not HTTP/2');
      }
      if (bytes.length < preface.length) {
        this.rest = bytes;
        return;
      }
      this.needsPreface = false;
      bytes = bytes.subarray(preface.length);
    }
    let at = 0;
    while (bytes.length - at >= frameHeadBytes && !this.hasEnded) {
      const length = bytes.readUIntBE(at, 3);
      if (length > this.limits.frameBytesMax)
        return this.fail(errorCode.frameSize, `a frame of ${length} bytes`);
      const end = at + frameHeadBytes + length;
      if (end > bytes.length) break;
      const kind = bytes[at + 3] as number;
      const flags = bytes[at + 4] as number;
      const id = bytes.readUInt32BE(at + 5) & windowMax;
      try {
        this.takeFrame(kind, flags, id, bytes.subarray(at + frameHeadBytes, end));
      } catch (error) {
        if (error instanceof ConnectionError) return this.fail(error.code, error.message);
        if (error instanceof HpackError) return this.fail(errorCode.compression, error.message);
        throw error;
      }
      at = end;
    }
    if (at < bytes.length && !this.hasEnded) this.rest = at === 0 ? bytes : bytes.subarray(at);
    this.returnWindow();
  }

  private takeFrame(kind: number, flags: number, id: number, body: Buffer): void {
    if (this.headerBlock !== undefined && (kind !== frameKind.continuation || id !== this.headerBlock.id)) {
      throw new ConnectionError(errorCode.protocol, 'a header block that was cut off');
    }
    switch (kind) {
      case frameKind.data:
        return this.takeData(flags, id, body);
      case frameKind.headers:
        return this.takeHeaders(flags, id, body);
      case frameKind.continuation:
        return this.takeContinuation(flags, body);
      case frameKind.resetStream:
        return this.takeReset(id, body);
      case frameKind.settings:
        return this.takeSettings(flags, body);
      case frameKind.ping:
        return this.takePing(flags, body);
      case frameKind.goAway:
        return this.takeGoAway(body);
      case frameKind.windowUpdate:
        return this.takeWindowUpdate(id, body);
      case frameKind.pushPromise:
        throw new ConnectionError(errorCode.protocol, 'a pushed stream');
      default:
      // Priorities, and whatever is newer than this code (RFC 7540, 4.1).
    }
  }

  private takeData(flags: number, id: number, body: Buffer): void {
    this.unreturnedBytes += body.length;
    const stream = this.streams.get(id);
    if (stream === undefined || stream.isRemoteEnd) {
      // A stream that was reset here may still be spoken to for a while.
      if (id === 0 || this.isIdle(id)) throw new ConnectionError(errorCode.protocol, 'data for no stream');
      return;
    }
    stream.unreturnedBytes += body.length;
    const data = unpadded(flags, body);
    if (data.length > 0) stream.receiver?.data(data);
    if ((flags & flag.endStream) !== 0) this.endRemote(stream);
    else if (stream.unreturnedBytes >= this.limits.streamWindowBytes / 2 && !stream.isReset) {
      this.sendWindowUpdate(id, stream.unreturnedBytes);
      stream.unreturnedBytes = 0;
    }
  }

  /** Whoever receives takes everything at once, so what has come is room again. */
  private returnWindow(): void {
    if (this.unreturnedBytes < this.limits.connectionWindowBytes / 2 || this.hasEnded) return;
    this.sendWindowUpdate(0, this.unreturnedBytes);
    this.unreturnedBytes = 0;
  }

  private isIdle(id: number): boolean {
    return this.isOwn(id) ? id >= this.nextStreamId : id > this.lastPeerStreamId;
  }

  private takeHeaders(flags: number, id: number, body: Buffer): void {
    let block = unpadded(flags, body);
    if ((flags & flag.priority) !== 0) block = block.subarray(5);
    this.headerBlock = { id, flags, parts: [block], bytes: block.length };
    if ((flags & flag.endHeaders) !== 0) this.finishHeaders();
  }

  private takeContinuation(flags: number, body: Buffer): void {
    const { headerBlock } = this;
    if (headerBlock === undefined) throw new ConnectionError(errorCode.protocol, 'a continuation of nothing');
    headerBlock.parts.push(body);
    headerBlock.bytes += body.length;
    if (headerBlock.bytes > this.limits.headerBytesMax || headerBlock.parts.length > 64) {
      throw new ConnectionError(errorCode.enhanceYourCalm, 'headers without end');
    }
    if ((flags & flag.endHeaders) !== 0) this.finishHeaders();
  }

  private finishHeaders(): void {
    const { id, flags, parts } = this.headerBlock as NonNullable<typeof this.headerBlock>;
    this.headerBlock = undefined;
    const block = parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);
    // Also for streams that are gone: the table must follow.
    const headers = this.decoder.decode(block);
    const stream = this.streams.get(id) ?? this.accept(id);
    if (stream === undefined) return;
    stream.receiver?.headers(headers);
    if ((flags & flag.endStream) !== 0) this.endRemote(stream);
  }

  private accept(id: number): H2Stream | undefined {
    const { handlers, limits } = this;
    if (id === 0 || (this.isOwn(id) && this.isIdle(id))) {
      throw new ConnectionError(errorCode.protocol, 'headers for no stream');
    }
    // Of one that was reset here.
    if (!this.isIdle(id)) return undefined;
    if (handlers.opened === undefined)
      throw new ConnectionError(errorCode.protocol, 'a stream of the server');
    this.lastPeerStreamId = id;
    const stream = new H2Stream(this, id, this.peerInitialWindow);
    if (this.streams.size >= limits.streamsMax || this.isGoingAway) {
      this.resetStream(stream, errorCode.refusedStream);
      return undefined;
    }
    this.streams.set(id, stream);
    stream.receiver = handlers.opened(stream);
    return stream;
  }

  private endRemote(stream: H2Stream): void {
    if (stream.isRemoteEnd || stream.isReset) return;
    stream.isRemoteEnd = true;
    if (stream.isLocalEnd) this.forget(stream);
    stream.receiver?.end();
  }

  private takeReset(id: number, body: Buffer): void {
    if (body.length !== 4) throw new ConnectionError(errorCode.frameSize, 'a reset of a wrong size');
    if (++this.resets > this.limits.resetsMax) {
      throw new ConnectionError(errorCode.enhanceYourCalm, 'too many streams are opened and taken back');
    }
    const stream = this.streams.get(id);
    if (stream === undefined) return;
    stream.isReset = true;
    this.forget(stream);
    stream.receiver?.broken(new Error(`the other side reset the stream with code ${body.readUInt32BE(0)}`));
  }

  private takeSettings(flags: number, body: Buffer): void {
    if ((flags & flag.ack) !== 0) return;
    if (body.length % 6 !== 0) throw new ConnectionError(errorCode.frameSize, 'settings of a wrong size');
    for (let at = 0; at < body.length; at += 6) this.heed(body.readUInt16BE(at), body.readUInt32BE(at + 2));
    this.writer.frame(frameKind.settings, flag.ack, 0);
    this.sendBlocked();
  }

  private heed(id: number, value: number): void {
    if (id === setting.maxConcurrentStreams) this.peerStreamsMax = value;
    if (id === setting.maxFrameSize) {
      if (value < defaultFrameBytesMax || value > 2 ** 24 - 1) {
        throw new ConnectionError(errorCode.protocol, `frames of ${value} bytes`);
      }
      // Larger ones would hold up others for no gain.
      this.peerFrameBytesMax = Math.min(value, this.limits.frameBytesMax);
    }
    if (id === setting.initialWindowSize) {
      if (value > windowMax) throw new ConnectionError(errorCode.flowControl, 'a window that is too large');
      // Streams that are open gain or lose the difference (RFC 7540, 6.9.2).
      for (const stream of this.streams.values()) stream.sendWindow += value - this.peerInitialWindow;
      this.peerInitialWindow = value;
    }
  }

  private takePing(flags: number, body: Buffer): void {
    if (body.length !== 8) throw new ConnectionError(errorCode.frameSize, 'a ping of a wrong size');
    if ((flags & flag.ack) !== 0) this.pings.shift()?.();
    else this.writer.frame(frameKind.ping, flag.ack, 0, Buffer.from(body));
  }

  private takeGoAway(body: Buffer): void {
    if (body.length < 8) throw new ConnectionError(errorCode.frameSize, 'a farewell of a wrong size');
    this.isGoingAway = true;
    const last = body.readUInt32BE(0) & windowMax;
    for (const stream of this.streams.values()) {
      if (!this.isOwn(stream.id) || stream.id <= last) continue;
      stream.isReset = true;
      this.forget(stream);
      stream.receiver?.broken(new Error('the other side takes no more streams'));
    }
  }

  private takeWindowUpdate(id: number, body: Buffer): void {
    if (body.length !== 4) throw new ConnectionError(errorCode.frameSize, 'a window update of a wrong size');
    const bytes = body.readUInt32BE(0) & windowMax;
    const holder = id === 0 ? this : this.streams.get(id);
    if (holder === undefined) return;
    if (bytes === 0 || holder.sendWindow + bytes > windowMax) {
      throw new ConnectionError(errorCode.flowControl, 'a window update that cannot be');
    }
    holder.sendWindow += bytes;
    this.sendBlocked();
  }

  /** Streams that waited for room, each in its turn. */
  private sendBlocked(): void {
    const { blocked } = this;
    if (blocked.length === 0) return;
    this.blocked = [];
    for (const stream of blocked) {
      while (stream.pending[0] !== undefined && this.sendNow(stream, stream.pending[0]))
        stream.pending.shift();
      if (stream.pending.length > 0) this.blocked.push(stream);
    }
    process.nextTick(() => this.drained());
  }

  private fail(code: number, words: string): void {
    if (this.hasEnded) return;
    const error = new Error(`HTTP/2: ${words}`);
    const body = Buffer.alloc(8);
    body.writeUInt32BE(this.lastPeerStreamId, 0);
    body.writeUInt32BE(code, 4);
    this.writer.frame(frameKind.goAway, 0, 0, body);
    this.writer.flush();
    this.finish(error);
  }

  /** A machine that went away says nothing of it. */
  private watchSilence(): void {
    if (this.hasHeard) this.isAsked = false;
    else if (this.isAsked) return this.fail(errorCode.none, 'the other side has fallen silent');
    else {
      this.isAsked = true;
      this.ping(() => undefined);
    }
    this.hasHeard = false;
    this.resets = 0;
  }

  /** What was written still goes out, but nobody is waited for without end. */
  private leave(): void {
    const { socket } = this;
    if (socket.destroyed) return;
    socket.end();
    const timer = setTimeout(() => socket.destroy(), leaveMs);
    timer.unref();
    socket.once('close', () => clearTimeout(timer));
  }

  private finish(error: Error | undefined): void {
    if (this.hasEnded) return;
    this.hasEnded = true;
    clearInterval(this.watch);
    this.rest = undefined;
    const open = [...this.streams.values()];
    this.streams.clear();
    const reason = error ?? new Error('the connection is gone');
    for (const stream of open) {
      stream.isReset = true;
      stream.receiver?.broken(reason);
    }
    this.leave();
    this.handlers.closed(error);
  }
}
