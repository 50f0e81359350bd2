/**
 * The logs of many tasks as one stream, in the order of their times. Each task's log comes from the node that has its
 * container; a node that cannot be reached costs its own lines and a note in their place, never the others.
 */
import { Demultiplexer, multiplexFrame } from '#libs/docker-api';
import { EnxameError, type ClusterView, type NodeId, type Task, type TaskId } from '#libs/model';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import type { Writable } from 'node:stream';
import type { EngineClient } from '../engine/engine-client.js';
import { taskName } from '../tasks/task-filters.js';
import { LineMerge } from './line-merge.js';
import { detailsOf, noteLine, withDetails, withoutTime } from './log-lines.js';

/** A line that is followed waits this long for an earlier one of another task. */
const followPatienceMs = 100;

/** One line of a task without a terminal. */
interface TaskLine {
  at: string;
  task: Readonly<Task>;
  stream: 0 | 1 | 2;
  /** Begins with its time. */
  data: Buffer;
}

type LineSource = ReturnType<LineMerge<TaskLine>['open']>;

export interface LogStreamOptions {
  /** The query for the nodes: `follow`, `tail`, `since`, `until`, `stdout`, `stderr`. */
  query: URLSearchParams;
  follow: boolean;
  details: boolean;
  timestamps: boolean;
  tty: boolean;
  signal: AbortSignal;
  nowMs(): number;
}

export class TaskLogStream {
  readonly #client: EngineClient;
  readonly #output: Writable;
  readonly #options: LogStreamOptions;
  readonly #seen = new Set<TaskId>();
  readonly #running = new Set<Promise<void>>();
  /** A terminal's bytes have no lines with times: they go as they come. */
  readonly #merge: LineMerge<TaskLine> | undefined;

  constructor(client: EngineClient, output: Writable, options: LogStreamOptions) {
    this.#client = client;
    this.#output = output;
    this.#options = options;
    if (options.tty) return;
    options.query.set('timestamps', '1');
    this.#merge = new LineMerge<TaskLine>({
      write: (line) => this.#writeLine(line),
      nowMs: () => performance.now(),
      ...(options.follow ? { patienceMs: followPatienceMs } : {}),
    });
  }

  /** Starts the log of a task that has a container and was not seen before. */
  add(view: ClusterView, task: Readonly<Task>): void {
    const containerId = task.status.container?.id;
    if (containerId === undefined || task.nodeId === undefined || this.#seen.has(task.id)) return;
    this.#seen.add(task.id);
    const name = taskName(view, task);
    const source = this.#merge?.open();
    const run: Promise<void> = this.#copy({ task, nodeId: task.nodeId, containerId, name }, source).finally(
      () => {
        source?.end();
        this.#running.delete(run);
      },
    );
    this.#running.add(run);
  }

  /** All tasks that are there from the beginning have been added. */
  start(): void {
    this.#merge?.start();
  }

  async finished(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
    await this.#merge?.finished();
  }

  async #copy(
    of: { task: Readonly<Task>; nodeId: NodeId; containerId: string; name: string },
    source: LineSource | undefined,
  ): Promise<void> {
    const { task, nodeId, containerId, name } = of;
    const { signal } = this.#options;
    try {
      const path = `/containers/${containerId}/logs?${this.#options.query.toString()}`;
      const answer = await this.#client.open(nodeId, path, signal);
      if (answer.statusCode === 404) {
        // The container is gone, and its log with it.
        answer.resume();
        return;
      }
      if (answer.statusCode !== 200) {
        answer.resume();
        throw new EnxameError('unavailable', `the node answered ${answer.statusCode}`);
      }
      await (source ? copyLines(task, answer, source) : this.#copyTerminal(answer));
    } catch (error) {
      if (signal.aborted) return;
      const why = error instanceof Error ? error.message : String(error);
      const note = noteLine(`enxame: the log of ${name} is not available: ${why}`, this.#options.nowMs());
      await (source ? source.add(lineOf(task, 2, note)) : this.#write(withoutTime(note))).catch(
        () => undefined,
      );
    }
  }

  async #copyTerminal(answer: IncomingMessage): Promise<void> {
    for await (const chunk of answer as AsyncIterable<Buffer>) await this.#write(chunk);
  }

  #writeLine({ task, stream, data }: TaskLine): Promise<void> {
    const { details, timestamps } = this.#options;
    const line = timestamps ? data : withoutTime(data);
    return this.#write(
      multiplexFrame(stream, details ? withDetails(line, detailsOf(task), timestamps) : line),
    );
  }

  async #write(data: Buffer): Promise<void> {
    if (this.#output.destroyed || this.#output.writableEnded) return;
    if (!this.#output.write(data)) await once(this.#output, 'drain', { signal: this.#options.signal });
  }
}

async function copyLines(task: Readonly<Task>, answer: IncomingMessage, source: LineSource): Promise<void> {
  const frames = new Demultiplexer();
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    for (const { stream, data } of frames.push(chunk)) await source.add(lineOf(task, stream, data));
  }
}

function lineOf(task: Readonly<Task>, stream: 0 | 1 | 2, data: Buffer): TaskLine {
  return { at: data.toString('latin1', 0, Math.max(0, data.indexOf(0x20))), task, stream, data };
}
