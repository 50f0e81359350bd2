/** Joins a taken-over connection and a process: frames or raw bytes out, stdin and the detach keys in. */
import { multiplexFrame } from '#libs/docker-api';
import type { Duplex, Readable, Writable } from 'node:stream';
import { DetachKeys } from './detach-keys.js';

export interface BridgedProcess {
  stdin: Writable;
  stdout: Readable;
  stderr: Readable;
  /** Resolves when everything has been delivered to the two streams. */
  ended: Promise<unknown>;
}

export interface BridgeOptions {
  connection: Duplex;
  process: BridgedProcess;
  /** Stdout and stderr in frames of one stream; else raw, as a terminal is. */
  framed: boolean;
  /** The detach keys mean something: there is a terminal. */
  detachable: boolean;
  stdin: boolean;
  stdout: boolean;
  stderr: boolean;
  detachKeys: string;
}

/** Resolves when the process has ended, or the client has left: by hanging up, or by the detach keys. */
export async function bridge(options: BridgeOptions): Promise<'ended' | 'left'> {
  const { connection, process } = options;
  const stops: (() => void)[] = [];
  const left = new Promise<'left'>((resolve) => {
    connection.once('close', () => resolve('left'));
    // A reset connection closes as well; what it says beside that is of no use to anybody.
    connection.on('error', () => resolve('left'));
    stops.push(readInput(options, () => resolve('left')));
  });
  const outputs = [
    options.stdout
      ? pump(process.stdout, connection, options.framed ? 1 : undefined)
      : discard(process.stdout),
    options.stderr
      ? pump(process.stderr, connection, options.framed ? 2 : undefined)
      : discard(process.stderr),
  ];
  stops.push(...outputs.map(({ stop }) => stop));
  const ended = process.ended
    .then(() => Promise.all(outputs.map(({ done }) => done)))
    .then(() => 'ended' as const);
  const outcome = await Promise.race([ended, left]);
  for (const stop of stops) stop();
  connection.end();
  // Unread input would hold the connection open.
  connection.resume();
  return outcome;
}

function readInput(options: BridgeOptions, leave: () => void): () => void {
  const { connection, process, stdin } = options;
  const keys = options.detachable && stdin ? new DetachKeys(options.detachKeys) : undefined;
  const onData = (chunk: Buffer): void => {
    if (!stdin) return;
    const passed = keys === undefined ? { data: chunk, detach: false } : keys.filter(chunk);
    if (passed.data.length > 0 && process.stdin.writable && !process.stdin.write(passed.data)) {
      connection.pause();
      process.stdin.once('drain', () => connection.resume());
    }
    if (passed.detach) leave();
  };
  const onEnd = (): void => {
    if (stdin) process.stdin.end();
  };
  // A program that closed its stdin is no reason to stop showing its output.
  process.stdin.on('error', () => connection.resume());
  connection.on('data', onData);
  connection.once('end', onEnd);
  // A client may have ended its side before anybody listened.
  if (connection.readableEnded) onEnd();
  return () => {
    connection.off('data', onData);
    connection.off('end', onEnd);
  };
}

function pump(
  from: Readable,
  to: Duplex,
  stream: 1 | 2 | undefined,
): { done: Promise<void>; stop: () => void } {
  const onDrain = (): void => void from.resume();
  const onData = (chunk: Buffer): void => {
    if (!to.writable) return;
    if (!to.write(stream === undefined ? chunk : multiplexFrame(stream, chunk))) from.pause();
  };
  from.on('data', onData);
  to.on('drain', onDrain);
  return {
    done: endOf(from),
    stop() {
      from.off('data', onData);
      to.off('drain', onDrain);
      from.resume();
    },
  };
}

function discard(from: Readable): { done: Promise<void>; stop: () => void } {
  from.resume();
  return { done: endOf(from), stop: () => undefined };
}

function endOf(stream: Readable): Promise<void> {
  if (stream.readableEnded || stream.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    stream.once('end', resolve);
    stream.once('close', resolve);
    stream.once('error', () => resolve());
  });
}
