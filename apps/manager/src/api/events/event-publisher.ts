/** Tells telemetry what changes in the cluster. Runs on the leader alone, so that nothing is told twice. */
import type { ClusterStore } from '#libs/model';
import type { Telemetry } from '#libs/telemetry';
import { eventsOf } from './cluster-events.js';

export class EventPublisher {
  readonly #store: ClusterStore;
  readonly #telemetry: Telemetry;
  #unwatch: (() => void) | undefined;

  constructor(store: ClusterStore, telemetry: Telemetry) {
    this.#store = store;
    this.#telemetry = telemetry;
  }

  start(): void {
    this.#unwatch ??= this.#store.watch((event) => {
      for (const told of eventsOf(event)) this.#telemetry.publishEvent(told);
    });
  }

  stop(): void {
    this.#unwatch?.();
    this.#unwatch = undefined;
  }
}
