/**
 * Clients that write and read registers of a real cluster through all its managers, and note what they saw: each
 * register is a label of a service without replicas, changed only from the version that was read.
 */
import { HistoryRecorder, judge, keyValueModel, toOperations, type Verdict } from '#libs/sim';
import type { TestCluster } from './cluster.js';

interface ApiService {
  ID: string;
  Version: { Index: number };
  Spec: { Name: string; Labels: Record<string, string> };
}

export interface RegisterResult {
  acknowledged: number;
  unknown: number;
  refused: number;
  reads: number;
  verdict: Verdict<unknown, unknown>;
}

const callWaitMs = 6_000;
const label = 'register';

export class RegisterClients {
  readonly #cluster: TestCluster;
  readonly #nodes: readonly number[];
  readonly #names: readonly string[];
  readonly #recorder = new HistoryRecorder();
  readonly #loops: Promise<void>[] = [];
  readonly #counts = { acknowledged: 0, unknown: 0, refused: 0, reads: 0 };
  readonly #ending = new AbortController();

  constructor(cluster: TestCluster, options: { nodes: readonly number[]; registers: number }) {
    this.#cluster = cluster;
    this.#nodes = options.nodes;
    this.#names = Array.from({ length: options.registers }, (_, index) => `register-${index}`);
  }

  get acknowledged(): number {
    return this.#counts.acknowledged;
  }

  /** Makes the registers and sets off one client per node. */
  async start(): Promise<this> {
    for (const Name of this.#names) {
      const made = await this.#cluster.ask(this.#nodes[0]!, 'POST', '/services/create', {
        body: {
          Name,
          Labels: {},
          TaskTemplate: { ContainerSpec: { Image: 'enxame/demo:1' } },
          Mode: { Replicated: { Replicas: 0 } },
        },
      });
      if (made.status !== 201) throw new Error(`register ${Name}: ${made.status}`);
    }
    this.#nodes.forEach((node, index) => this.#loops.push(this.#client(node, index)));
    return this;
  }

  /** Ends the clients, reads every register once more, and judges all that was seen. */
  async stop(): Promise<RegisterResult> {
    this.#ending.abort();
    await Promise.all(this.#loops);
    for (const node of this.#nodes) {
      for (const name of this.#names) await this.#read(`last-${node}`, node, name);
    }
    const verdict = judge(keyValueModel, toOperations(this.#recorder.events));
    return { ...this.#counts, verdict: verdict as Verdict<unknown, unknown> };
  }

  async #client(node: number, index: number): Promise<void> {
    for (let turn = 0; !this.#ending.signal.aborted; turn++) {
      const name = this.#names[(turn + index) % this.#names.length]!;
      const client = `c${index}`;
      const service = await this.#read(client, node, name);
      if (service !== undefined) await this.#write(client, node, service, `${client}-${turn}`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  async #read(client: string, node: number, name: string): Promise<ApiService | undefined> {
    const id = this.#recorder.call(client, { op: 'get', key: name });
    const answer = await this.#cluster
      .ask<ApiService>(node, 'GET', `/services/${name}`, { waitMs: callWaitMs })
      .catch(() => undefined);
    if (answer?.status !== 200) {
      // A read that failed has changed nothing.
      this.#recorder.refused(id);
      return undefined;
    }
    this.#counts.reads += 1;
    this.#recorder.answer(id, answer.body.Spec.Labels[label] ?? null);
    return answer.body;
  }

  async #write(client: string, node: number, service: ApiService, value: string): Promise<void> {
    const { Name: key, Labels } = service.Spec;
    const expected = Labels[label] ?? null;
    const id = this.#recorder.call(client, { op: 'cas', key, expected, value });
    const answer = await this.#cluster
      .ask<{ message?: string }>(
        node,
        'POST',
        `/services/${service.ID}/update?version=${service.Version.Index}`,
        { body: { ...service.Spec, Labels: { ...Labels, [label]: value } }, waitMs: callWaitMs },
      )
      .catch(() => undefined);
    if (answer?.status === 200) {
      this.#counts.acknowledged += 1;
      this.#recorder.answer(id, true);
    } else if (answer?.body?.message?.includes('out of sequence')) {
      // The version was another one: for certain nothing was written.
      this.#counts.refused += 1;
      this.#recorder.refused(id);
    } else this.#counts.unknown += 1;
  }
}
