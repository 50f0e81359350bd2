/**
 * Keeps every connected node's assignment set equal to what the store says. Changes of one turn of the event loop
 * travel together; a node that reads slowly gets the newest state of what it missed, never a backlog.
 */
import {
  type AppliedChange,
  type AssignmentItem,
  type AssignmentKind,
  type ClusterStore,
  type ClusterView,
  type DesiredState,
  type NodeId,
  type StoreEvent,
  type Task,
  type TaskId,
} from '#libs/model';
import type { session } from '#libs/rpc';
import type { Clock, Log } from '../membership/ports.js';
import { isEndpoint, keyOf, ownItems, sharedItem, sharedItems, type ItemKey } from './assignment-items.js';
import { mustLeaveFirst, RemovalGate, type GateNode } from './removal-gate.js';
import { encodeItem } from './wire.js';

/** One message stays well under the transport's limit. */
const messageBytesMax = 1024 * 1024;

/**
 * Generations of one leader are above all those of earlier ones, however many each of them made: the term is their
 * upper part. Both parts fit a double's 53 bits.
 */
const generationsPerTerm = 2 ** 32;
const termMax = 2 ** 21 - 1;

export function firstGeneration(term: number): number {
  if (!Number.isInteger(term) || term < 0 || term > termMax) {
    throw new Error(`term ${term} is beyond ${termMax}, the last that generations have room for`);
  }
  return term * generationsPerTerm;
}

/** A connected node. */
export interface Feed {
  readonly nodeId: NodeId;
  /** Newest generation the node has acknowledged in this session. */
  acknowledged: number;
}

interface FeedState extends Feed {
  /** False: the stream is full; nothing is sent until `drained`. */
  send(message: session.Assignment): boolean;
  /** Keys of shared items that changed since they were last sent. */
  stale: Set<ItemKey>;
  own: Map<ItemKey, Encoded>;
  ownStale: boolean;
  /** A generation the node has to acknowledge though nothing in its set changes. */
  announce: boolean;
  congested: boolean;
}

interface Encoded {
  item: session.Item;
  text: string;
}

function encode(item: AssignmentItem): Encoded {
  const encoded = encodeItem(item);
  return { item: encoded, text: encoded.body.toString('latin1') };
}

export class Dispatcher {
  readonly #store: ClusterStore;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #gate: RemovalGate;
  readonly #shared = new Map<ItemKey, Encoded>();
  readonly #feeds = new Map<NodeId, FeedState>();
  readonly #dirtyShared = new Map<ItemKey, { kind: AssignmentKind; id: string }>();
  readonly #leaving = new Set<TaskId>();
  #generation = 0;
  #flushScheduled = false;
  #unwatch: (() => void) | undefined;

  constructor(options: { store: ClusterStore; clock: Clock; log: Log; gateWaitMsMax: () => number }) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#gate = new RemovalGate({ waitMsMax: options.gateWaitMsMax });
  }

  /** `term` is that of this leadership: no other leader ever has it, and later ones have higher ones. */
  start(term: number): void {
    this.#generation = firstGeneration(term);
    const view = this.#store.view();
    for (const item of sharedItems(view)) this.#shared.set(keyOf(item), encode(item));
    // An earlier leader may have been in the middle of a removal: begin it again.
    for (const task of view.tasks.all()) if (mustLeaveFirst(task)) this.#leaving.add(task.id);
    this.#unwatch = this.#store.watch((event) => this.#note(event));
    this.#schedule();
  }

  stop(): void {
    this.#unwatch?.();
    this.#unwatch = undefined;
    this.#feeds.clear();
  }

  /** A node has connected: it gets the whole set. An earlier feed of the same node gets nothing more. */
  attach(
    nodeId: NodeId,
    options: { appliedGeneration: number; send: (message: session.Assignment) => boolean },
  ): Feed {
    const feed: FeedState = {
      nodeId,
      acknowledged: 0,
      send: options.send,
      stale: new Set(),
      own: new Map(),
      ownStale: false,
      announce: false,
      congested: false,
    };
    this.#refreshShared(this.#store.view());
    this.#generation = Math.max(this.#generation, options.appliedGeneration) + 1;
    this.#feeds.set(nodeId, feed);
    feed.own = this.#ownOf(nodeId);
    const put = [...this.#shared.values(), ...feed.own.values()].map(({ item }) => item);
    this.#send(feed, { put, remove: [], complete: true });
    this.#schedule();
    return feed;
  }

  detach(feed: Feed): void {
    if (this.#feeds.get(feed.nodeId) === feed) this.#feeds.delete(feed.nodeId);
  }

  /** The node's kernel has a generation. */
  acknowledge(feed: Feed, generation: number): void {
    if (generation > this.#generation || generation <= feed.acknowledged) return;
    feed.acknowledged = generation;
    this.checkGates();
  }

  /** The node's stream takes messages again. */
  drained(feed: Feed): void {
    const state = this.#feeds.get(feed.nodeId);
    if (state !== feed || !state.congested) return;
    state.congested = false;
    this.#schedule();
  }

  /** Called when acknowledgements, node states or the time have moved on. */
  checkGates(): void {
    const waiting = this.#gate.waiting();
    if (waiting.length === 0) return;
    const view = this.#store.view();
    const nodes: GateNode[] = [...view.nodes.all()].map((node) => ({
      id: node.id,
      state: node.status.state,
      acknowledged: this.#feeds.get(node.id)?.acknowledged ?? 0,
    }));
    const nowMs = this.#clock.nowMs();
    for (const taskId of waiting) {
      if (!this.#gate.check(taskId, nodes, nowMs).open) continue;
      this.#markOwn(view.tasks.get(taskId)?.nodeId);
    }
  }

  #note(event: StoreEvent): void {
    for (const change of event.changes) this.#noteChange(change);
    this.#schedule();
  }

  #noteChange(change: AppliedChange): void {
    switch (change.table) {
      case 'clusters':
        this.#markShared('settings', 'settings');
        break;
      case 'networks':
        this.#markShared('network', change.id);
        break;
      case 'services':
        this.#markShared('balance', change.id);
        break;
      case 'revisions':
      case 'secrets':
      case 'configs':
        // They go with the tasks that need them, and what a node sees of them never changes.
        break;
      case 'nodes':
        this.#markShared('peer', change.id);
        if ((change.before?.status.state === 'down') !== (change.after?.status.state === 'down')) {
          for (const task of this.#store.view().tasksOfNode(change.id)) {
            this.#markShared('balance', task.serviceId);
          }
        }
        break;
      case 'tasks':
        this.#noteTask(change.before, change.after);
        break;
    }
  }

  #noteTask(before: Readonly<Task> | undefined, after: Readonly<Task> | undefined): void {
    const view = this.#store.view();
    const listed = (task: Readonly<Task> | undefined): boolean =>
      task?.nodeId !== undefined && isEndpoint(task, view.nodes.get(task.nodeId));
    const task = after ?? before;
    if (!task) return;
    if (listed(before) || listed(after)) this.#markShared('balance', task.serviceId);
    this.#markOwn(task.nodeId);
    if (after && mustLeaveFirst(after)) {
      if (!this.#gate.knows(after.id)) this.#leaving.add(after.id);
    } else {
      this.#leaving.delete(task.id);
      this.#gate.forget(task.id);
    }
  }

  #markShared(kind: AssignmentKind, id: string): void {
    this.#dirtyShared.set(`${kind}:${id}`, { kind, id });
  }

  #markOwn(nodeId: NodeId | undefined): void {
    const feed = nodeId === undefined ? undefined : this.#feeds.get(nodeId);
    if (!feed) return;
    feed.ownStale = true;
    this.#schedule();
  }

  #schedule(): void {
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    setImmediate(() => {
      this.#flushScheduled = false;
      if (this.#unwatch) this.#flush();
    });
  }

  #flush(): void {
    this.#refreshShared(this.#store.view());
    this.#generation += 1;
    if (this.#leaving.size > 0) {
      // The sets of this generation are without these tasks; every node has to say that it has them.
      for (const taskId of this.#leaving) {
        this.#gate.exclude(taskId, { generation: this.#generation, nowMs: this.#clock.nowMs() });
      }
      this.#leaving.clear();
      for (const feed of this.#feeds.values()) feed.announce = true;
    }
    for (const feed of this.#feeds.values()) this.#update(feed);
    this.checkGates();
  }

  /** Brings the shared items up to date and notes for every feed what changed. */
  #refreshShared(view: ClusterView): void {
    for (const [key, { kind, id }] of this.#dirtyShared) {
      const item = sharedItem(view, kind, id);
      const encoded = item && encode(item);
      if (encoded?.text === this.#shared.get(key)?.text) continue;
      if (encoded) this.#shared.set(key, encoded);
      else this.#shared.delete(key);
      for (const feed of this.#feeds.values()) feed.stale.add(key);
    }
    this.#dirtyShared.clear();
  }

  #ownOf(nodeId: NodeId): Map<ItemKey, Encoded> {
    const shown = (task: Readonly<Task>): DesiredState =>
      mustLeaveFirst(task) && !this.#gate.isOpen(task.id) ? 'running' : task.desiredState;
    const items = new Map<ItemKey, Encoded>();
    for (const item of ownItems(this.#store.view(), nodeId, shown)) items.set(keyOf(item), encode(item));
    return items;
  }

  #update(feed: FeedState): void {
    if (feed.congested) return;
    const put: session.Item[] = [];
    const remove: session.ItemKey[] = [];
    for (const key of feed.stale) {
      const encoded = this.#shared.get(key);
      if (encoded) put.push(encoded.item);
      else remove.push(splitKey(key));
    }
    feed.stale.clear();
    if (feed.ownStale) {
      const own = this.#ownOf(feed.nodeId);
      for (const [key, encoded] of own) if (feed.own.get(key)?.text !== encoded.text) put.push(encoded.item);
      for (const key of feed.own.keys()) if (!own.has(key)) remove.push(splitKey(key));
      feed.own = own;
      feed.ownStale = false;
    }
    if (put.length === 0 && remove.length === 0 && !feed.announce) return;
    feed.announce = false;
    this.#send(feed, { put, remove, complete: false });
  }

  #send(
    feed: FeedState,
    content: { put: session.Item[]; remove: session.ItemKey[]; complete: boolean },
  ): void {
    const parts: session.Item[][] = [[]];
    let partBytes = 0;
    for (const item of content.put) {
      if (partBytes > 0 && partBytes + item.body.length > messageBytesMax) {
        parts.push([]);
        partBytes = 0;
      }
      parts.at(-1)?.push(item);
      partBytes += item.body.length;
    }
    let writable = true;
    parts.forEach((put, index) => {
      writable = feed.send({
        generation: this.#generation,
        complete: content.complete,
        put,
        remove: index === 0 ? content.remove : [],
        more: index < parts.length - 1,
      });
    });
    if (!writable) feed.congested = true;
    this.#log('debug', 'assignment sent', {
      node: feed.nodeId,
      generation: this.#generation,
      put: content.put.length,
      remove: content.remove.length,
    });
  }
}

function splitKey(key: ItemKey): session.ItemKey {
  const at = key.indexOf(':');
  return { kind: key.slice(0, at), id: key.slice(at + 1) };
}
