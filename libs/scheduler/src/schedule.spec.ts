import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import type {
  Node,
  NodeId,
  Revision,
  RevisionId,
  Service,
  ServiceId,
  Task,
  TaskId,
  TaskState,
} from '#libs/model';
import { viewOf } from '#libs/store';
import { expect } from 'chai';
import { fitsInPlaceOf, schedule } from './schedule.js';
import { parseCommand, playStory } from './testing/story-file.js';

const stories = new URL('../../../../libs/scheduler/src/testdata/', import.meta.url);
type Plain<T> = Omit<T, 'version' | 'createdAtMs' | 'updatedAtMs'>;

/** A cluster as a story builds it, line by line. */
class Scene {
  readonly nodes = new Map<string, Plain<Node>>();
  readonly services = new Map<string, Plain<Service>>();
  readonly revisions: Plain<Revision>[] = [];
  readonly tasks = new Map<string, Plain<Task>>();
  nowMs = 1_000_000;

  view() {
    return viewOf({
      nodes: [...this.nodes.values()],
      services: [...this.services.values()],
      revisions: this.revisions,
      tasks: [...this.tasks.values()],
    });
  }

  run(line: string): string {
    const { name, words, options } = parseCommand(line);
    const [first = ''] = words;
    const option = (key: string, otherwise: string) => options.get(key)?.[0] ?? otherwise;
    switch (name) {
      case 'node':
        this.nodes.set(first, makeNode(first, option, options.get('label') ?? []));
        return '';
      case 'service':
        this.#service(first, option, options);
        return '';
      case 'waiting':
        for (let i = 1; i <= Number(words[1]); i++) this.#task(first, { slot: i, state: 'pending' });
        return '';
      case 'task':
        this.#task(first, {
          slot: Number(option('slot', '0')),
          state: option('state', 'running') as TaskState,
          nodeId: option('node', ''),
        });
        return '';
      case 'schedule':
        return this.#schedule();
      case 'fits': {
        const [incoming, outgoing] = words.map((id) => this.view().tasks.get(id));
        if (incoming === undefined || outgoing === undefined) throw new Error(`no such tasks: ${line}`);
        return String(fitsInPlaceOf(this.view(), { incoming, outgoing }));
      }
      default:
        throw new Error(`unknown command: ${line}`);
    }
  }

  #service(
    name: string,
    option: (key: string, otherwise: string) => string,
    options: Map<string, string[]>,
  ): void {
    const revisionId = `${name}-revision` as RevisionId;
    const taskTemplate = {
      ContainerSpec: { Image: 'demo' },
      Resources: {
        Reservations: {
          NanoCPUs: Number(option('cpu', '0')) * 1e9,
          MemoryBytes: Number(option('memory', '0')),
        },
      },
      Placement: {
        Constraints: options.get('constraint') ?? [],
        MaxReplicas: Number(option('max', '0')),
        Preferences: (options.get('spread') ?? []).map((SpreadDescriptor) => ({
          Spread: { SpreadDescriptor },
        })),
        Platforms: (options.get('platform') ?? []).map((platform) => {
          const [OS = '', Architecture = ''] = platform.split('/');
          return { OS, Architecture };
        }),
      },
    };
    const hostPort = option('host-port', '');
    this.services.set(name, {
      id: name as ServiceId,
      revisionId,
      spec: {
        Name: name,
        TaskTemplate: taskTemplate,
        ...(hostPort === ''
          ? {}
          : {
              EndpointSpec: {
                Ports: [{ PublishMode: 'host', PublishedPort: Number(hostPort), Protocol: 'tcp' }],
              },
            }),
      },
    });
    this.revisions.push({
      id: revisionId,
      serviceId: name as ServiceId,
      serviceName: name,
      serviceLabels: {},
      taskTemplate,
    });
  }

  #task(service: string, { slot, state, nodeId }: { slot: number; state: TaskState; nodeId?: string }): void {
    const id = `${service}.${slot}${nodeId ? `@${nodeId}` : ''}${this.tasks.size}` as TaskId;
    const key = this.tasks.has(`${service}.${slot}`) ? id : (`${service}.${slot}` as TaskId);
    this.tasks.set(key, {
      id: key,
      serviceId: service as ServiceId,
      revisionId: `${service}-revision` as RevisionId,
      slot,
      ...(nodeId ? { nodeId: nodeId as NodeId } : {}),
      networks: [],
      desiredState: 'running',
      cause: 'create',
      status: { state, atMs: this.nowMs, message: '' },
    });
  }

  #schedule(): string {
    const { placements, unplaced } = schedule(this.view(), { nowMs: this.nowMs });
    for (const { task, nodeId } of placements) {
      this.tasks.set(task.id, { ...task, nodeId, status: { ...task.status, state: 'running' } });
    }
    return [
      ...placements.map(({ task, nodeId }) => `${task.id} -> ${nodeId}`),
      ...unplaced.map(({ task, explanation }) => `${task.id}: ${explanation}`),
    ].join('\n');
  }
}

function makeNode(
  id: string,
  option: (key: string, otherwise: string) => string,
  labels: string[],
): Plain<Node> {
  return {
    id: id as NodeId,
    index: 1,
    spec: {
      Role: option('role', 'worker') as Node['spec']['Role'],
      Availability: option('availability', 'active') as Node['spec']['Availability'],
      Labels: Object.fromEntries(labels.map((label) => label.split(':'))),
    },
    description: {
      hostname: id,
      platform: { os: 'linux', architecture: option('arch', 'x86_64') },
      resources: {
        nanoCpus: Number(option('cpu', '4')) * 1e9,
        memoryBytes: Number(option('memory', '1000')),
      },
      engine: { version: '', labels: {} },
    },
    status: {
      state: option('state', 'ready') as Node['status']['state'],
      message: '',
      address: option('ip', ''),
    },
  };
}

describe('the scheduler', () => {
  for (const file of readdirSync(stories).sort()) {
    it(`tells the story of ${file}`, () => {
      const url = new URL(file, stories);
      const text = readFileSync(url, 'utf8');
      const scene = new Scene();
      const played = playStory(text, (command) => scene.run(command));
      if (process.env['REWRITE_STORIES']) writeFileSync(url, played);
      else expect(played).to.equal(text);
    });
  }

  it('places 10,000 tasks evenly on 100 nodes', () => {
    const scene = new Scene();
    for (let i = 0; i < 100; i++) scene.run(`node n${i}`);
    scene.run('service web');
    scene.run('waiting web 10000');
    const { placements, unplaced } = schedule(scene.view(), { nowMs: 0 });
    expect(unplaced).to.deep.equal([]);
    const perNode = new Map<string, number>();
    for (const { nodeId } of placements) perNode.set(nodeId, (perNode.get(nodeId) ?? 0) + 1);
    expect([...new Set(perNode.values())]).to.deep.equal([100]);
  });
});
