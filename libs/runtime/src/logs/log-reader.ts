/** Reads a container's log across rotations, from the past into what is being written now. */
import { watch } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isMissing } from '../files/errno.js';
import type { RuntimeClock } from '../options.js';
import type { LogLine, LogQuery } from '../port.js';
import { findTail, LineReader, openLogFiles, openNextFile } from './log-files.js';
import { readLogRecord, timeOfNano } from './log-record.js';

export interface LogSource {
  path: string;
  clock: RuntimeClock;
  /** Whoever writes this log may still write. Its last words are on disk before this turns false. */
  isWritten(): boolean;
  /** Calls back when `isWritten` turns false. */
  onEnd(listener: () => void): () => void;
}

/** Where the kernel's notice of a change does not come (some file systems have none), this finds it. */
const lookAgainMs = 1_000;

/** In batches, none of them empty: what one look at the files found. */
export async function* readLog(
  source: LogSource,
  query: LogQuery,
): AsyncGenerator<readonly LogLine[], void, undefined> {
  const handles = await openLogFiles(source.path);
  const change = query.follow ? watchFolder(source) : undefined;
  const judge = new Judge(query);
  try {
    const starts = await tailStarts(handles, query.tail);
    let reader: LineReader | undefined;
    for (const [index, handle] of handles.entries()) {
      const position = starts[index];
      if (position === undefined) continue;
      reader = new LineReader(handle, position);
      yield* drain(reader, judge);
      if (judge.isOver) return;
    }
    if (change === undefined) return;
    while (!judge.isOver) {
      // Asked before reading: what is written until then is on disk.
      const isWritten = source.isWritten();
      if (reader !== undefined) yield* drain(reader, judge);
      const newer = await openNewer(source.path, handles.at(-1));
      if (newer !== undefined) {
        // The writer has let go of the old file, so its end is its end: read what came before the rotation first.
        if (reader !== undefined) yield* drain(reader, judge);
        for (const handle of handles.splice(0)) await handle.close();
        handles.push(newer);
        reader = new LineReader(newer);
        continue;
      }
      if (!isWritten || isUntilPast(source, query)) return;
      await change.next(query.signal);
    }
  } finally {
    change?.stop();
    for (const handle of handles) await handle.close();
  }
}

/** Which lines are wanted, and whether any more can be. */
class Judge {
  readonly #query: LogQuery;
  readonly #since: string | undefined;
  readonly #until: string | undefined;
  #isPastEnd = false;

  constructor(query: LogQuery) {
    this.#query = query;
    this.#since = query.sinceNano === undefined ? undefined : timeOfNano(query.sinceNano);
    this.#until = query.untilNano === undefined ? undefined : timeOfNano(query.untilNano);
  }

  get isOver(): boolean {
    return this.#isPastEnd || this.#query.signal?.aborted === true;
  }

  wanted(lines: readonly Buffer[]): LogLine[] {
    const wanted: LogLine[] = [];
    for (const line of lines) {
      const record = readLogRecord(line);
      if (record === undefined) continue;
      if (this.#until !== undefined && record.time > this.#until) {
        this.#isPastEnd = true;
        break;
      }
      if (this.#since !== undefined && record.time < this.#since) continue;
      if (this.#query[record.stream]) wanted.push(record);
    }
    return wanted;
  }
}

async function openNewer(path: string, current: FileHandle | undefined): Promise<FileHandle | undefined> {
  if (current !== undefined) return openNextFile(path, (await current.stat()).ino);
  const [oldest, ...newer] = await openLogFiles(path);
  for (const handle of newer) await handle.close();
  return oldest;
}

async function* drain(reader: LineReader, judge: Judge): AsyncGenerator<readonly LogLine[], void, undefined> {
  for (let lines = await reader.next(); lines.length > 0; lines = await reader.next()) {
    if (judge.isOver) return;
    const wanted = judge.wanted(lines);
    if (wanted.length > 0) yield wanted;
    if (judge.isOver) return;
  }
}

function isUntilPast(source: LogSource, query: LogQuery): boolean {
  return query.untilNano !== undefined && BigInt(source.clock.nowMs()) * 1_000_000n > query.untilNano;
}

/** Where to begin in each file, for the last `tail` lines of all; undefined: nothing of this file. */
async function tailStarts(
  handles: readonly FileHandle[],
  tail: number | undefined,
): Promise<(number | undefined)[]> {
  if (tail === undefined) return handles.map(() => 0);
  const starts: (number | undefined)[] = handles.map(() => undefined);
  let missing = tail;
  for (let index = handles.length - 1; index >= 0; index--) {
    const handle = handles[index];
    const isNewest = index === handles.length - 1;
    if (handle === undefined || (missing === 0 && !isNewest)) break;
    const { position, found } = await findTail(handle, missing);
    starts[index] = position;
    missing -= found;
  }
  return starts;
}

interface FolderWatch {
  /** Resolves after a change since the last call, or after a while. */
  next(signal: AbortSignal | undefined): Promise<void>;
  stop(): void;
}

function watchFolder(source: LogSource): FolderWatch {
  let changed = false;
  let wake: (() => void) | undefined;
  const notice = (): void => {
    changed = true;
    wake?.();
  };
  const stopWatching = tryWatch(dirname(source.path), notice);
  const stopEnd = source.onEnd(notice);
  return {
    async next(signal) {
      if (!changed) {
        await new Promise<void>((resolve) => {
          const cancel = source.clock.setTimeout(resolve, lookAgainMs);
          wake = () => {
            cancel();
            resolve();
          };
          signal?.addEventListener('abort', wake, { once: true });
        });
        if (wake !== undefined) signal?.removeEventListener('abort', wake);
        wake = undefined;
      }
      changed = false;
    },
    stop() {
      stopWatching();
      stopEnd();
    },
  };
}

/** Out of inotify instances or watches, the log is looked at from time to time instead. */
function tryWatch(folder: string, notice: () => void): () => void {
  try {
    const watcher = watch(folder, { persistent: false }, notice);
    watcher.on('error', () => watcher.close());
    return () => watcher.close();
  } catch (error) {
    if (isMissing(error) || (error instanceof Error && 'code' in error)) return () => undefined;
    throw error;
  }
}
