/**
 * The manager process, put together: the replicated store, what only its leader runs, and the API. Whatever is made
 * here is started in the order of the fields and stopped the other way round.
 */
import type { Route } from '#libs/docker-api';
import {
  EnxameError,
  objectIdFromBytes,
  type ClusterStore,
  type IdSource,
  type NodeConfig,
} from '#libs/model';
import { createRaftNode, systemClock, type RaftNode } from '#libs/raft';
import { createClusterStore, StoreMachine } from '#libs/store';
import { createTelemetry, type Telemetry } from '#libs/telemetry';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { ApiListener } from './api/api-listener.js';
import { EventPublisher } from './api/events/event-publisher.js';
import { LeaderLoops } from './leader/index.js';
import { Membership, type Clock, type Log, type Random } from './membership/index.js';
import { readOrMakeRaftId } from './raft-id.js';
import { SessionServer } from './sessions/index.js';

const clock: Clock = { nowMs: () => Date.now() };
const random: Random = { bytes: (length) => randomBytes(length), fraction: () => Math.random() };
const newId: IdSource = () => objectIdFromBytes(randomBytes(16));

export class Manager {
  readonly #config: NodeConfig;
  readonly #log: Log;
  readonly #raft: RaftNode;
  readonly #store: ClusterStore;
  readonly #telemetry: Telemetry;
  readonly #membership: Membership;
  readonly #sessions: SessionServer;
  readonly #loops: LeaderLoops;
  readonly #events: EventPublisher;
  #listener: ApiListener | undefined;
  /** Changes of leadership follow each other: one has ended before the next begins. */
  #turn: Promise<void> = Promise.resolve();
  #leads = false;

  /** `fail` is called when the process can do nothing but end and start again. */
  constructor(config: NodeConfig, log: Log, fail: (error: unknown) => void) {
    this.#config = config;
    this.#log = log;
    const raftId = readOrMakeRaftId(config.stateDir, random);
    const machine = new StoreMachine();
    this.#raft = createRaftNode({
      id: raftId,
      origin: { kind: 'bootstrap', members: [raftId] },
      dir: join(config.stateDir, 'raft'),
      stateMachine: machine,
      clock: systemClock,
      random: () => random.fraction(),
      onFailure: fail,
    });
    const store = createClusterStore({ raft: this.#raft, machine, clock });
    this.#store = store;
    this.#telemetry = createTelemetry({
      // Clusters may share one Redis.
      keyPrefix: `enxame:${config.clusterName}`,
      ...(config.telemetryUrl === undefined ? {} : { url: config.telemetryUrl }),
    });
    this.#membership = new Membership({ store, config, raftId, clock, random, log });
    this.#sessions = new SessionServer({
      store,
      config,
      membership: this.#membership,
      telemetry: this.#telemetry,
      clock,
      log,
    });
    this.#loops = new LeaderLoops({ store, clock, newId, log });
    this.#events = new EventPublisher(store, this.#telemetry);
    this.#raft.watchLeadership(({ isLeader }) => {
      this.#turn = this.#turn.then(() => this.#take(isLeader)).catch(fail);
    });
  }

  /** Resolves when the API answers. */
  async start(): Promise<void> {
    await this.#telemetry.start();
    await this.#raft.start();
    const { torn } = this.#raft.status();
    if (torn !== undefined) this.#log('warn', 'an unfinished write was cut off the log', { ...torn });
    // Nothing can be answered before there is a cluster, and a lone member is its leader at once.
    await this.#raft.readIndex();
    await this.#turn;
    // Loading the framework takes longer than all before it: the nodes have their sessions back by then.
    const { createApiListener } = await import('./api/api-listener.js');
    this.#listener = await createApiListener(
      {
        store: this.#store,
        config: this.#config,
        clock,
        newId,
        randomBytes: (length) => random.bytes(length),
        leadership: { leaderId: () => this.#raft.status().leader },
        telemetry: this.#telemetry,
        engines: {
          engineAddress: (nodeId) => this.#sessions.engineAddress(nodeId),
          tls: () => this.#membership.tls(),
        },
        log: this.#log,
      },
      [this.#localCertificateRoute()],
    );
    await this.#listener.listen(this.#config.managerSocket);
    this.#log('info', 'manager started', { socket: this.#config.managerSocket });
  }

  async stop(): Promise<void> {
    await this.#listener?.close();
    await this.#turn;
    await this.#take(false);
    await this.#raft.stop();
    await this.#telemetry.close();
  }

  async #take(leads: boolean): Promise<void> {
    if (leads === this.#leads) return;
    this.#leads = leads;
    if (leads) {
      // The store must show all that earlier leaders wrote before anything is decided from it.
      await this.#raft.readIndex();
      await this.#membership.start();
      await this.#sessions.start();
      this.#loops.start();
      this.#events.start();
      this.#log('info', 'this manager leads the cluster', { term: this.#raft.status().term });
      return;
    }
    this.#events.stop();
    await this.#loops.stop();
    await this.#sessions.stop();
    this.#membership.stop();
  }

  /** The agent beside this manager comes through the private socket: only this machine's root can. */
  #localCertificateRoute(): Route {
    return {
      method: 'POST',
      path: '/_enxame/local-certificate',
      handler: async (request, response) => {
        const body = (await request.json()) as { requestPem?: unknown } | undefined;
        if (typeof body?.requestPem !== 'string') {
          throw new EnxameError(
            'invalid-argument',
            'invalid requestPem: must be a certificate request in PEM form',
          );
        }
        response.json(200, await this.#membership.issueLocal(body.requestPem));
      },
    };
  }
}
