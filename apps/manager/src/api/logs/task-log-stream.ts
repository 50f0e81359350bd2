/**
 * The logs of many tasks as one stream. Each task's log comes from the node that has its container; a node that
 * cannot be reached costs its own lines and a note in their place, never the others.
 */
import { Demultiplexer, multiplexFrame } from '#libs/docker-api';
import { EnxameError, type ClusterView, type Task, type TaskId } from '#libs/model';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import type { Writable } from 'node:stream';
import type { EngineClient } from '../engine/engine-client.js';
import { taskName } from '../tasks/task-filters.js';
import { detailsOf, noteLine, withDetails } from './log-lines.js';

/** Streams open at the same time towards the nodes; more than this wait their turn unless they are followed. */
const streamsMax = 64;

export interface LogStreamOptions {
  /** The query for the nodes: `follow`, `tail`, `since`, `until`, `stdout`, `stderr`, `timestamps`. */
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

  constructor(client: EngineClient, output: Writable, options: LogStreamOptions) {
    this.#client = client;
    this.#output = output;
    this.#options = options;
  }

  /** Starts the log of a task that has a container and was not seen before. */
  add(view: ClusterView, task: Readonly<Task>): void {
    const containerId = task.status.container?.id;
    if (containerId === undefined || task.nodeId === undefined || this.#seen.has(task.id)) return;
    this.#seen.add(task.id);
    const name = taskName(view, task);
    const run: Promise<void> = this.#copy(task, task.nodeId, containerId, name).finally(() =>
      this.#running.delete(run),
    );
    this.#running.add(run);
  }

  /** Resolves when no more than `streamsMax` streams are open. */
  async room(): Promise<void> {
    while (this.#running.size >= streamsMax) await Promise.race(this.#running);
  }

  async finished(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }

  async #copy(
    task: Readonly<Task>,
    nodeId: NonNullable<Task['nodeId']>,
    containerId: string,
    name: string,
  ): Promise<void> {
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
      await this.#copyLines(task, answer);
    } catch (error) {
      if (signal.aborted) return;
      const why = error instanceof Error ? error.message : String(error);
      await this.#write(task, 2, this.#note(`enxame: the log of ${name} is not available: ${why}`));
    }
  }

  async #copyLines(task: Readonly<Task>, answer: IncomingMessage): Promise<void> {
    // With a TTY the node sends the bytes as they are.
    const frames = this.#options.tty ? undefined : new Demultiplexer();
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      const parts = frames?.push(chunk) ?? [{ stream: 1 as const, data: chunk }];
      for (const { stream, data } of parts) await this.#write(task, stream, data);
    }
  }

  #note(text: string): Buffer {
    return noteLine(text, this.#options.nowMs(), this.#options.timestamps);
  }

  async #write(task: Readonly<Task>, stream: 0 | 1 | 2, data: Buffer): Promise<void> {
    const { details, timestamps, tty, signal } = this.#options;
    if (this.#output.destroyed || this.#output.writableEnded) return;
    const line = details && !tty ? withDetails(data, detailsOf(task), timestamps) : data;
    const mayGoOn = this.#output.write(tty ? line : multiplexFrame(stream, line));
    if (!mayGoOn) await once(this.#output, 'drain', { signal });
  }
}
