/** Turns what happens to this node's containers and images into Docker's events, for this node's API and the cluster. */
import type { ImageEvent, ImageStore } from '#libs/images';
import type { ClusterEvent, NodeId } from '#libs/model';
import { signalNumber, type ContainerRuntime, type ContainerState, type RuntimeEvent } from '#libs/runtime';
import type { Telemetry } from '#libs/telemetry';
import type { EngineNotice } from '../containers/notices.js';

export interface NodeEventsOptions {
  nodeId(): NodeId | undefined;
  runtime: Pick<ContainerRuntime, 'watch' | 'get' | 'list'>;
  images: Pick<ImageStore, 'watch'>;
  /** Keeps what has happened lately. */
  telemetry: Telemetry;
  nowMs(): number;
}

export class NodeEvents {
  readonly #options: NodeEventsOptions;
  readonly #listeners = new Set<(event: ClusterEvent) => void>();
  /** By container id: a container that is gone is not to be asked any more. */
  readonly #attributes = new Map<string, Record<string, string>>();
  #stops: (() => void)[] = [];

  constructor(options: NodeEventsOptions) {
    this.#options = options;
  }

  start(): void {
    for (const state of this.#options.runtime.list()) this.#remember(state);
    this.#stops = [
      this.#options.runtime.watch((event) => this.#onContainer(event)),
      this.#options.images.watch((event) => this.publish(imageEvent(event, this.#options.nodeId()))),
    ];
  }

  stop(): void {
    for (const stop of this.#stops.splice(0)) stop();
  }

  /** Hands every event of this node to `listener`, as it happens. Returns the way to stop. */
  watch(listener: (event: ClusterEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  publish(event: ClusterEvent): void {
    this.#options.telemetry.publishEvent(event);
    for (const listener of this.#listeners) listener(event);
  }

  /** Of what clients did and the runtime does not tell of itself. */
  notice({ type, action, id, attributes = {} }: EngineNotice): void {
    const own = type === 'container' ? (this.#attributes.get(id) ?? {}) : {};
    this.publish(
      clusterEvent(
        type,
        action,
        id,
        { ...own, ...attributes },
        this.#options.nowMs(),
        this.#options.nodeId(),
      ),
    );
  }

  #onContainer(event: RuntimeEvent): void {
    const state = this.#options.runtime.get(event.id);
    if (state !== undefined) this.#remember(state);
    const attributes = this.#attributes.get(event.id) ?? {};
    if (event.type === 'destroy') this.#attributes.delete(event.id);
    const shown = containerEvent(event, attributes, this.#options.nodeId());
    if (event.type === 'die' && state?.startedAtMs !== undefined) {
      const seconds = Math.max(0, Math.floor((event.exit.finishedAtMs - state.startedAtMs) / 1_000));
      shown.Actor.Attributes['execDuration'] = String(seconds);
    }
    this.publish(shown);
  }

  #remember({ config }: ContainerState): void {
    this.#attributes.set(config.id, {
      ...config.labels,
      image: config.image.reference,
      name: config.name,
    });
  }
}

export function containerEvent(
  event: RuntimeEvent,
  attributes: Readonly<Record<string, string>>,
  nodeId: NodeId | undefined,
): ClusterEvent {
  const { action, more } = describe(event);
  return clusterEvent('container', action, event.id, { ...attributes, ...more }, event.atMs, nodeId);
}

function describe(event: RuntimeEvent): { action: string; more: Record<string, string> } {
  switch (event.type) {
    case 'die':
      return { action: 'die', more: { exitCode: String(event.exit.exitCode) } };
    case 'kill':
      return { action: 'kill', more: { signal: String(signalNumber(event.signal)) } };
    case 'health':
      return { action: `health_status: ${event.status}`, more: {} };
    case 'rename':
      return { action: 'rename', more: { oldName: `/${event.oldName}` } };
    case 'exec_start':
      return { action: `${event.type}: ${event.argv.join(' ')}`, more: { execID: event.execId } };
    case 'exec_die':
      return { action: 'exec_die', more: { execID: event.execId, exitCode: String(event.exitCode) } };
    case 'create':
    case 'start':
    case 'stop':
    case 'restart':
    case 'pause':
    case 'unpause':
    case 'update':
    case 'destroy':
    case 'oom':
      return { action: event.type, more: {} };
  }
}

export function imageEvent(event: ImageEvent, nodeId: NodeId | undefined): ClusterEvent {
  return clusterEvent('image', event.type, event.id, { name: event.name }, event.atMs, nodeId);
}

function clusterEvent(
  Type: string,
  Action: string,
  ID: string,
  Attributes: Record<string, string>,
  atMs: number,
  nodeId: NodeId | undefined,
): ClusterEvent {
  return {
    Type,
    Action,
    Actor: { ID, Attributes },
    scope: 'local',
    time: Math.floor(atMs / 1000),
    timeNano: atMs * 1_000_000,
    ...(nodeId === undefined ? {} : { nodeId }),
  };
}
