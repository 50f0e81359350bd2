import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import type { NodeId, ServiceId, ServiceSpec, Task, UpdateConfig } from '#libs/model';
import { expect } from 'chai';
import { parseCommand, playStory } from '../../../../../libs/scheduler/src/testing/story-file.js';
import { World } from './world.js';

const stories = new URL('../../../../../../apps/manager/src/leader/testdata/', import.meta.url);
const second = 1_000_000_000;

type Options = Map<string, string[]>;

/** Runs the commands of a story in a world whose agents take a second to prepare and to start a task. */
class Stage {
  readonly world = new World({
    prepareMs: () => 1000,
    startMs: () => 1000,
    stopMs: () => 1000,
    lifeMs: () => 2000,
  });
  readonly #startMs = this.world.nowMs;
  readonly #lines: string[] = [];
  readonly #names = new Map<string, string>();

  constructor() {
    this.world.checkers.push((before, after) => {
      for (const service of after.services.all()) {
        const status = service.updateStatus;
        if (status === undefined || status.state === before.services.get(service.id)?.updateStatus?.state)
          continue;
        this.#say(`${service.spec.Name} ${status.state}: ${this.#readable(status.message)}`);
      }
      for (const task of after.tasks.all()) this.#tell(before.tasks.get(task.id), task);
    });
  }

  run(line: string): string {
    const { name, words, options } = parseCommand(line);
    const [first = ''] = words;
    this.#lines.length = 0;
    switch (name) {
      case 'nodes':
        for (const node of words) this.world.addNode(node);
        break;
      case 'create':
        this.world.createService(specOf(undefined, first, options));
        break;
      case 'update': {
        const id = first as ServiceId;
        this.world.updateService(id, specOf(this.world.service(id).spec, first, options));
        break;
      }
      case 'remove':
        this.world.removeService(first as ServiceId);
        break;
      case 'run':
        this.world.runFor(Number.parseFloat(first) * 1000);
        break;
      case 'fail':
        for (const task of this.world.view.tasks.all()) {
          if (this.#nameOf(task) === first && task.status.state === 'running') this.world.failTask(task);
        }
        break;
      case 'node':
        this.#node(first as NodeId, words[1] ?? '');
        break;
      case 'ps':
        return this.#list();
      default:
        throw new Error(`unknown command: ${line}`);
    }
    return this.#lines.join('\n');
  }

  #node(id: NodeId, verb: string): void {
    const { world } = this;
    const node = world.view.nodes.get(id);
    if (node === undefined) throw new Error(`no node ${id}`);
    switch (verb) {
      case 'drain':
      case 'active':
        return world.patchNode(id, { spec: { ...node.spec, Availability: verb } });
      case 'dies':
        return world.killNode(id);
      case 'down':
        return world.declareDown(id);
      case 'returns':
        return world.reviveNode(id);
      case 'label':
        return world.patchNode(id, { spec: { ...node.spec, Labels: { disk: 'ssd' } } });
      case 'unlabel':
        return world.patchNode(id, { spec: { ...node.spec, Labels: {} } });
      case 'remove':
        world.commit([{ op: 'delete', table: 'nodes', id }]);
        return world.settle();
      default:
        throw new Error(`unknown verb: node ${id} ${verb}`);
    }
  }

  #tell(before: Readonly<Task> | undefined, after: Readonly<Task>): void {
    const name = this.#taskName(after);
    if (before === undefined) {
      const image = this.world.view.revisions.get(after.revisionId)?.taskTemplate.ContainerSpec?.Image;
      this.#say(`${name} made (${after.cause}, ${image}), wanted ${after.desiredState}`);
    } else if (before.desiredState !== after.desiredState) this.#say(`${name} wanted ${after.desiredState}`);
    const { state, error } = after.status;
    const told = ['ready', 'running', 'complete', 'shutdown', 'failed', 'rejected'];
    if (before?.status.state !== state && told.includes(state)) {
      this.#say(`${name} is ${state}${state === 'running' ? ` on ${after.nodeId}` : ''}`);
    }
    if (error !== undefined && state === 'pending' && before?.status.error !== error) {
      this.#say(`${name} waits: ${error}`);
    }
  }

  // Tasks get letters within their slot, in the order they came: web.1/a, web.1/b.
  #taskName(task: Readonly<Task>): string {
    const known = this.#names.get(task.id);
    if (known !== undefined) return known;
    const slot = this.#nameOf(task);
    const letters = [...this.#names.values()].filter((name) => name.startsWith(`${slot}/`)).length;
    const name = `${slot}/${String.fromCharCode(97 + letters)}`;
    this.#names.set(task.id, name);
    return name;
  }

  #nameOf(task: Readonly<Task>): string {
    return `${task.serviceId}.${task.slot === 0 ? task.nodeId : task.slot}`;
  }

  #readable(message: string): string {
    let text = message;
    for (const [id, name] of this.#names) text = text.replace(id, name);
    return text;
  }

  #say(text: string): void {
    this.#lines.push(`${((this.world.nowMs - this.#startMs) / 1000).toFixed(1)}s ${text}`);
  }

  #list(): string {
    return [...this.world.view.tasks.all()]
      .map(
        (task) =>
          `${this.#taskName(task)} ${task.status.state} wanted ${task.desiredState} on ${task.nodeId}`,
      )
      .sort()
      .join('\n');
  }
}

function specOf(base: ServiceSpec | undefined, name: string, options: Options): ServiceSpec {
  const option = (key: string) => options.get(key)?.[0];
  const seconds = (key: string) => {
    const value = option(key);
    return value === undefined ? undefined : Number(value) * second;
  };
  const spec = structuredClone(
    base ?? {
      Name: name,
      TaskTemplate: {},
      Mode: options.has('global') ? { Global: {} } : { Replicated: { Replicas: 1 } },
    },
  );
  const replicas = option('replicas');
  if (replicas !== undefined) spec.Mode = { Replicated: { Replicas: Number(replicas) } };
  const image = option('image');
  if (image !== undefined) spec.TaskTemplate.ContainerSpec = { Image: image };
  const memory = option('memory');
  if (memory !== undefined) spec.TaskTemplate.Resources = { Reservations: { MemoryBytes: Number(memory) } };
  const constraints = options.get('constraint');
  if (constraints !== undefined) spec.TaskTemplate.Placement = { Constraints: constraints };
  const restart = {
    Condition: option('restart') as 'none' | 'on-failure' | 'any' | undefined,
    Delay: seconds('restart-delay'),
    MaxAttempts: option('attempts') === undefined ? undefined : Number(option('attempts')),
  };
  spec.TaskTemplate.RestartPolicy = { ...spec.TaskTemplate.RestartPolicy, ...defined(restart) };
  const update = {
    Parallelism: option('parallelism') === undefined ? undefined : Number(option('parallelism')),
    Order: option('order'),
    Delay: seconds('delay'),
    Monitor: seconds('monitor'),
    FailureAction: option('on-failure'),
    MaxFailureRatio: option('ratio') === undefined ? undefined : Number(option('ratio')),
  };
  spec.UpdateConfig = { ...spec.UpdateConfig, ...defined(update) } as UpdateConfig;
  return spec;
}

function defined<T extends object>(fields: T): Partial<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Partial<T>;
}

describe('the leader loops', () => {
  for (const file of readdirSync(stories).sort()) {
    it(`tell the story of ${file}`, () => {
      const url = new URL(file, stories);
      const text = readFileSync(url, 'utf8');
      const stage = new Stage();
      const played = playStory(text, (command) => stage.run(command));
      if (process.env['REWRITE_STORIES']) writeFileSync(url, played);
      else expect(played).to.equal(text);
    });
  }
});
