import {
  EnxameError,
  type Change,
  type ClusterStore,
  type ServiceId,
  type StoreEvent,
  type TaskId,
} from '#libs/model';
import { expect } from 'chai';
import { LeaderLoops, concernsLoops } from './leader-loops.js';
import type { LeaderLoop } from './loops.js';
import { World } from './simulation/world.js';

/** The tables of a world behind the store's interface, with a log that can fail. */
class WorldStore implements ClusterStore {
  readonly world = new World({ prepareMs: () => 0, startMs: () => 0, stopMs: () => 0, lifeMs: () => 0 });
  readonly #listeners = new Set<(event: StoreEvent) => void>();
  failNext: EnxameError | undefined;
  proposals = 0;

  view() {
    return this.world.view;
  }

  async propose(changes: Change[]): Promise<{ index: number }> {
    await new Promise((resolve) => setImmediate(resolve));
    this.proposals++;
    const failure = this.failNext;
    this.failNext = undefined;
    if (failure !== undefined) throw failure;
    this.world.commit(changes);
    this.tell();
    return { index: this.world.view.index };
  }

  tell(): void {
    const event: StoreEvent = {
      index: this.world.view.index,
      atMs: 0,
      changes: [{ table: 'services', id: 'web' as ServiceId }],
    };
    for (const listener of this.#listeners) listener(event);
  }

  watch(listener: (event: StoreEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

const clock = { nowMs: () => Date.now() };

async function until(holds: () => boolean): Promise<void> {
  const deadline = Date.now() + 5000;
  while (!holds()) {
    if (Date.now() > deadline) throw new Error(`never: ${holds.toString()}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

function start(store: WorldStore, loops?: readonly LeaderLoop[]) {
  const errors: string[] = [];
  const runner = new LeaderLoops({
    store,
    clock,
    newId: store.world.newId,
    log: (_level, message) => errors.push(message),
    ...(loops === undefined ? {} : { loops }),
  });
  runner.start();
  return { runner, errors };
}

/** Makes a service without letting the world's own loops act on it. */
function declare(store: WorldStore): void {
  const { world } = store;
  world.loseRest = () => 0;
  try {
    world.createService({ Name: 'web', TaskTemplate: {}, Mode: { Replicated: { Replicas: 3 } } });
  } catch {
    // The world gives up on loops whose plans are all lost: that is what was asked for.
  }
}

describe('the runner of the leader loops', () => {
  it('brings a new service to its nodes in one entry of the log', async () => {
    const store = new WorldStore();
    store.world.addNode('n1');
    declare(store);
    const { runner, errors } = start(store);
    await until(() => [...store.view().tasks.all()].length === 3);
    const tasks = [...store.view().tasks.all()];
    expect(tasks.map(({ nodeId, status }) => [nodeId, status.state])).to.deep.equal([
      ['n1', 'assigned'],
      ['n1', 'assigned'],
      ['n1', 'assigned'],
    ]);
    expect(store.proposals).to.equal(1);
    await runner.stop();
    expect(errors).to.deep.equal([]);
  });

  it('plans again at once when its picture was old, and later when there is no quorum', async () => {
    for (const code of ['version-mismatch', 'unavailable'] as const) {
      const store = new WorldStore();
      store.world.addNode('n1');
      declare(store);
      store.failNext = new EnxameError(code, code);
      const { runner, errors } = start(store);
      await until(() => [...store.view().tasks.all()].length === 3);
      await runner.stop();
      expect(errors.length).to.equal(code === 'unavailable' ? 1 : 0);
    }
  });

  it('does nothing any more once it has stopped', async () => {
    const store = new WorldStore();
    const { runner } = start(store);
    await runner.stop();
    store.world.addNode('n1');
    declare(store);
    store.tell();
    runner.kick();
    await new Promise((resolve) => setImmediate(resolve));
    expect(store.proposals).to.equal(0);
  });

  it('goes on with the other loops when one fails, says so once, and tries again', async () => {
    const store = new WorldStore();
    let tries = 0;
    let planned = 0;
    const { runner, errors } = start(store, [
      {
        name: 'broken loop',
        plan: () => {
          tries++;
          throw new Error('no');
        },
      },
      {
        name: 'other loop',
        plan: () => {
          planned++;
          return { changes: [] };
        },
      },
    ]);
    await until(() => tries >= 3);
    await runner.stop();
    expect(planned).to.be.at.least(3);
    expect(errors).to.deep.equal(['the broken loop could not make a plan']);
  });

  it('wakes at the time a loop asks for', async () => {
    const store = new WorldStore();
    let passes = 0;
    const { runner } = start(store, [
      {
        name: 'sleeper',
        plan: ({ nowMs }) => ({ changes: [], ...(passes++ === 0 ? { wakeAtMs: nowMs + 20 } : {}) }),
      },
    ]);
    await until(() => passes === 2);
    await runner.stop();
  });

  it('sleeps through the uneventful steps of tasks', () => {
    const world = new World({ prepareMs: () => 0, startMs: () => 0, stopMs: () => 0, lifeMs: () => 0 });
    world.addNode('n1');
    world.createService({ Name: 'web', TaskTemplate: {}, Mode: { Replicated: { Replicas: 1 } } });
    const [before] = world.view.tasks.all();
    if (before === undefined) throw new Error('no task');
    const told = (['accepted', 'preparing', 'ready', 'starting', 'running', 'failed'] as const).filter(
      (state) => {
        const after = { ...before, status: { ...before.status, state } };
        return concernsLoops({
          index: 1,
          atMs: 0,
          changes: [{ table: 'tasks', id: before.id as TaskId, before, after }],
        });
      },
    );
    expect(told).to.deep.equal(['ready', 'running', 'failed']);
  });
});
