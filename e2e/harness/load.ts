/**
 * A client that sends requests without pause and counts every one that failed: half of its connections are kept
 * alive, half are new for each request, spread over the addresses given.
 */
import { Agent, request } from 'node:http';

export interface LoadResult {
  sent: number;
  failed: number;
  /** The first few failures, in words. */
  failures: string[];
  /** When each failed request had begun, by `performance.now()`. */
  failedAtMs: number[];
  /** How long the slowest failure kept its client waiting. */
  slowestFailureMs: number;
  slowestMs: number;
  /** Answers by the `version` field of the demo. */
  versions: Map<string, number>;
}

export class LoadClient {
  private running = true;
  private readonly result: LoadResult = {
    sent: 0,
    failed: 0,
    failures: [],
    failedAtMs: [],
    slowestFailureMs: 0,
    slowestMs: 0,
    versions: new Map(),
  };
  private readonly keepAlive = new Agent({ keepAlive: true, maxSockets: 64 });
  private readonly loops: Promise<void>[] = [];

  constructor(
    private readonly targets: { host: string; port: number }[],
    private readonly connections = 8,
    /** A pause between two requests of one connection, so that the client leaves the machine some time. */
    private readonly pauseMs = 1,
    private readonly kinds: 'half kept alive' | 'all new' = 'half kept alive',
  ) {}

  start(): this {
    for (let i = 0; i < this.connections; i++) this.loops.push(this.loop(i));
    return this;
  }

  get sent(): number {
    return this.result.sent;
  }

  async stop(): Promise<LoadResult> {
    this.running = false;
    await Promise.all(this.loops);
    this.keepAlive.destroy();
    return this.result;
  }

  private async loop(number: number): Promise<void> {
    const target = this.targets[number % this.targets.length]!;
    const kept = this.kinds === 'half kept alive' && number % (this.targets.length * 2) < this.targets.length;
    while (this.running) {
      await this.one(target, kept);
      if (this.pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, this.pauseMs));
    }
  }

  private one(target: { host: string; port: number }, kept: boolean): Promise<void> {
    return new Promise((resolve) => {
      const startedAtMs = performance.now();
      const fail = (why: string): void => {
        this.result.failed++;
        this.result.failedAtMs.push(startedAtMs);
        this.result.slowestFailureMs = Math.max(
          this.result.slowestFailureMs,
          performance.now() - startedAtMs,
        );
        if (this.result.failures.length < 10) {
          this.result.failures.push(
            `${new Date().toISOString()} ${kept ? 'kept-alive' : 'new'} ${target.host}: ${why}`,
          );
        }
        resolve();
      };
      this.result.sent++;
      const call = request(
        {
          ...target,
          path: '/json',
          agent: kept ? this.keepAlive : false,
          timeout: 5_000,
          headers: { accept: 'application/json' },
        },
        (response) => {
          let text = '';
          response.setEncoding('utf8');
          response.on('data', (chunk: string) => {
            text += chunk;
          });
          response.on('error', (error) => fail(error.message));
          response.on('end', () => {
            if (response.statusCode !== 200) return fail(`status ${response.statusCode}`);
            const version = String((JSON.parse(text) as { version: unknown }).version);
            this.result.slowestMs = Math.max(this.result.slowestMs, performance.now() - startedAtMs);
            this.result.versions.set(version, (this.result.versions.get(version) ?? 0) + 1);
            resolve();
          });
        },
      );
      call.on('timeout', () => call.destroy(new Error('no answer within 5 s')));
      call.on('error', (error) => fail(error.message));
      call.end();
    });
  }
}
