import { isTerminal, type NodeId, type ServiceId, type ServiceSpec, type UpdateConfig } from '#libs/model';
import { SeededRandom } from '#libs/sim';
import { expect } from 'chai';
import { allCheckers, serving } from './checkers.js';
import { World } from './world.js';

const second = 1_000_000_000;
const firstSeed = Number(process.env['SEED'] ?? 1);
const seeds = Number(process.env['SEEDS'] ?? 12);

function worldFor(random: SeededRandom, nodes: number): World {
  const upTo = (ms: number) => () => random.below(ms);
  const world = new World({
    prepareMs: upTo(3000),
    startMs: upTo(2000),
    stopMs: upTo(5000),
    lifeMs: upTo(20_000),
  });
  world.checkers.push(...allCheckers);
  for (let i = 1; i <= nodes; i++) world.addNode(`n${i}`);
  return world;
}

function drawUpdateConfig(random: SeededRandom): UpdateConfig {
  return {
    Parallelism: random.below(4),
    Order: random.pick(['stop-first', 'start-first'] as const),
    Delay: random.below(3) * second,
    Monitor: (1 + random.below(5)) * second,
    FailureAction: random.pick(['pause', 'continue', 'rollback'] as const),
    MaxFailureRatio: random.pick([0, 0, 0.3]),
  };
}

function drawSpec(random: SeededRandom, name: string): ServiceSpec {
  return {
    Name: name,
    Mode: random.chance(0.25) ? { Global: {} } : { Replicated: { Replicas: 1 + random.below(6) } },
    TaskTemplate: {
      ContainerSpec: { Image: 'demo:1' },
      RestartPolicy: {
        Condition: random.pick(['any', 'any', 'on-failure', 'none'] as const),
        Delay: random.below(3) * second,
        MaxAttempts: random.pick([0, 0, 2]),
      },
      ...(random.chance(0.3)
        ? { Resources: { Reservations: { MemoryBytes: 100 + random.below(300) } } }
        : {}),
    },
    UpdateConfig: drawUpdateConfig(random),
    RollbackConfig: drawUpdateConfig(random),
  };
}

function withImage(spec: ServiceSpec, image: string): ServiceSpec {
  return { ...spec, TaskTemplate: { ...spec.TaskTemplate, ContainerSpec: { Image: image } } };
}

/** One thing that users, machines or programs do to a cluster. */
function disturb(world: World, random: SeededRandom, version: number): void {
  const services = [...world.view.services.all()];
  const nodes = [...world.view.nodes.all()];
  const node = random.pick(nodes);
  const service = services.length === 0 ? undefined : random.pick(services);
  const tag = random.pick(['', '', '', 'bad', 'crash', 'flaky', 'done', 'slow']);
  switch (random.below(9)) {
    case 0:
      if (services.length < 4) world.createService(drawSpec(random, `s${version}`));
      return;
    case 1:
      if (service !== undefined && random.chance(0.3)) world.removeService(service.id);
      return;
    case 2:
    case 3:
      if (service !== undefined)
        world.updateService(service.id, withImage(service.spec, `demo:${tag}${version}`));
      return;
    case 4:
      if (service?.spec.Mode?.Replicated === undefined) return;
      world.updateService(service.id, {
        ...service.spec,
        Mode: { Replicated: { Replicas: random.below(8) } },
      });
      return;
    case 5: {
      const Availability = random.pick(['active', 'active', 'drain', 'pause'] as const);
      world.patchNode(node.id, { spec: { ...node.spec, Availability } });
      return;
    }
    case 6:
      if (world.agents.isDead(node.id)) world.reviveNode(node.id);
      else world.killNode(node.id);
      return;
    case 7:
      if (world.agents.isDead(node.id)) world.declareDown(node.id);
      return;
    case 8: {
      const running = [...world.view.tasks.all()].filter(({ status }) => status.state === 'running');
      if (running.length > 0) world.failTask(random.pick(running));
      return;
    }
  }
}

function heal(world: World, version: number): void {
  for (const node of world.view.nodes.all()) {
    world.reviveNode(node.id);
    world.patchNode(node.id, { spec: { ...node.spec, Availability: 'active' } });
  }
  for (const service of world.view.services.all()) {
    const spec = withImage(service.spec, `demo:${version}`);
    const { Resources: _, ...template } = spec.TaskTemplate;
    world.updateService(service.id, { ...spec, TaskTemplate: template });
  }
}

function expectConverged(world: World): void {
  const { view } = world;
  for (const service of view.services.all()) {
    const { Mode } = service.spec;
    const wanted = Mode?.Global === undefined ? (Mode?.Replicated?.Replicas ?? 1) : view.nodes.size;
    expect(serving(view, service.id), `${service.id} serves`).to.equal(wanted);
    const live = view.tasksOfService(service.id).filter(({ status }) => !isTerminal(status.state));
    expect(live.length, `${service.id} runs nothing else`).to.equal(wanted);
    for (const task of live) expect(task.revisionId).to.equal(service.revisionId);
    expect(service.updateStatus?.state ?? 'completed').to.equal('completed');
  }
  for (const task of view.tasks.all()) {
    expect(view.services.get(task.serviceId), `service of ${task.id}`).to.not.equal(undefined);
  }
}

describe('the control plane in a seeded simulation', () => {
  it('keeps its promises through failures and converges when they end', function () {
    this.timeout(60_000);
    for (let seed = firstSeed; seed < firstSeed + seeds; seed++) {
      const random = new SeededRandom(seed);
      const world = worldFor(random, 2 + random.below(4));
      try {
        let version = 2;
        for (; version < 40; version++) {
          disturb(world, random, version);
          world.runFor(random.below(15_000));
        }
        heal(world, version);
        world.runFor(10 * 60_000);
        expectConverged(world);
      } catch (cause) {
        throw new Error(`seed ${seed}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
      }
    }
  });

  it('finishes a plan whose second half was lost with its leader', function () {
    this.timeout(60_000);
    for (let seed = firstSeed; seed < firstSeed + seeds; seed++) {
      const random = new SeededRandom(seed);
      const world = worldFor(random, 3);
      world.loseRest = (changes) => (random.chance(0.3) ? random.below(changes) : changes);
      try {
        let version = 2;
        for (; version < 25; version++) {
          disturb(world, random, version);
          world.runFor(random.below(15_000));
        }
        heal(world, version);
        world.runFor(10 * 60_000);
        expectConverged(world);
      } catch (cause) {
        throw new Error(`seed ${seed}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
      }
    }
  });

  it('never takes more slots out than a rollout or a drain may', function () {
    this.timeout(60_000);
    for (let seed = firstSeed; seed < firstSeed + seeds; seed++) {
      const random = new SeededRandom(seed);
      const world = worldFor(random, 3);
      const replicas = 1 + random.below(8);
      const config = { ...drawUpdateConfig(random), Parallelism: 1 + random.below(3) };
      const drawn = drawSpec(random, 'web');
      const spec: ServiceSpec = {
        ...drawn,
        Mode: { Replicated: { Replicas: replicas } },
        TaskTemplate: { ...drawn.TaskTemplate, Resources: {} },
        UpdateConfig: config,
      };
      const id = world.createService(spec) as ServiceId;
      world.runFor(60_000);
      const least = config.Order === 'start-first' ? replicas : Math.max(0, replicas - config.Parallelism);
      let leastSeen = replicas;
      world.checkers.push((_, after) => {
        leastSeen = Math.min(leastSeen, serving(after, id));
      });
      // A drain is felt by nobody, in a rollout neither.
      if (random.chance(0.5)) {
        const node = world.view.nodes.get('n2');
        if (node !== undefined)
          world.patchNode('n2' as NodeId, { spec: { ...node.spec, Availability: 'drain' } });
        world.runFor(random.below(3000));
      }
      world.updateService(id, withImage(spec, random.chance(0.2) ? 'demo:bad2' : 'demo:2'));
      world.runFor(2 * 60_000);
      expect(leastSeen, `seed ${seed}: ${JSON.stringify(config)} of ${replicas}`).to.be.at.least(least);
      expect(serving(world.view, id), `seed ${seed}`).to.equal(replicas);
    }
  });
});
