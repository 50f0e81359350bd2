/** Three members of our own, each a process, on loopback. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { TestCluster } from '../../../libs/raft/src/transport/testing/certificates.js';
import { eventually } from '../../harness/cluster.js';
import type { MemberConfig, MemberReport } from './member.js';
import { freePorts, stopAll } from './processes.js';

const program = fileURLToPath(new URL('./member.js', import.meta.url));
const ids = ['a', 'b', 'c'] as const;

export class MemberProcess {
  private child: ChildProcess | undefined;
  private lines: Interface | undefined;
  private exit: Promise<never> | undefined;

  constructor(
    readonly config: MemberConfig,
    private readonly nodeArguments: readonly string[] = [],
  ) {}

  get front(): string {
    return `127.0.0.1:${this.config.frontPort}`;
  }

  get pid(): number {
    return this.child?.pid ?? 0;
  }

  get processes(): ChildProcess[] {
    return this.child === undefined ? [] : [this.child];
  }

  /** Resolves when its front answers. */
  async start(): Promise<MemberReport> {
    const child = spawn(process.execPath, [...this.nodeArguments, program, JSON.stringify(this.config)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.child = child;
    this.lines = createInterface({ input: child.stdout });
    this.exit = once(child, 'exit').then(([code]) => {
      throw new Error(`member ${this.config.id} ended with ${String(code)}`);
    });
    // Nobody may be waiting for an answer when it ends.
    this.exit.catch(() => undefined);
    return this.nextReport();
  }

  private async nextReport(): Promise<MemberReport> {
    const { exit, lines } = this;
    if (exit === undefined || lines === undefined) throw new Error('the member is not running');
    const line = await Promise.race([once(lines, 'line').then(([text]) => String(text)), exit]);
    return JSON.parse(line) as MemberReport;
  }

  /** `reset` begins to look at the delay of the event loop, `rest` ends it. */
  report(question: 'report' | 'reset' | 'rest' = 'report'): Promise<MemberReport> {
    const answer = this.nextReport();
    this.child?.stdin?.write(`${question}\n`);
    return answer;
  }

  /** Ends by itself, so that a profile is written. */
  async end(): Promise<void> {
    const { child } = this;
    if (child === undefined) return;
    const exited = once(child, 'exit');
    child.stdin?.end();
    await exited;
  }

  async kill(): Promise<void> {
    await stopAll(this.processes);
  }
}

export class MemberGroup {
  members: MemberProcess[] = [];

  constructor(
    private readonly folder: string,
    private readonly nodeArguments: readonly string[] = [],
  ) {}

  async start(): Promise<void> {
    const cluster = await TestCluster.create();
    const ports = await freePorts(2 * ids.length);
    const addresses = ids.map((id, i) => [id, `127.0.0.1:${ports[i]}`] as const);
    this.members = await Promise.all(
      ids.map(
        async (id, i) =>
          new MemberProcess(
            {
              id,
              origin: { kind: 'bootstrap', members: ids },
              dir: join(this.folder, `member-${id}`),
              peerPort: ports[i] as number,
              frontPort: ports[ids.length + i] as number,
              peers: Object.fromEntries(addresses.filter(([other]) => other !== id)),
              credentials: await cluster.credentials(id),
              limits: {},
            },
            this.nodeArguments,
          ),
      ),
    );
    await Promise.all(this.members.map((member) => member.start()));
    await this.leader();
  }

  leader(): Promise<MemberProcess> {
    return eventually('a member leads', 30_000, async () => {
      for (const member of this.members) if ((await member.report()).leads) return member;
      return undefined;
    });
  }

  async stop(): Promise<void> {
    await stopAll(this.members.flatMap((member) => member.processes));
  }
}
