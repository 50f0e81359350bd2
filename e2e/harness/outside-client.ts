/** A machine beside the nodes of a local cluster: a network namespace of its own on the cluster's bridge. */
import { execFileSync } from 'node:child_process';
import { run } from './cluster.js';

export interface DemoAnswer {
  task: string;
  /** `address:port` as the task sees it. */
  client: string;
}

export class OutsideClient {
  readonly address: string;
  private readonly namespace: string;
  private readonly link: string;

  /** `nodeAddress`: of any node of the cluster, `10.98.<index>.<node>`. */
  constructor(nodeAddress: string) {
    const index = nodeAddress.split('.')[2]!;
    this.address = `10.98.${index}.200`;
    this.namespace = `enxame-e2e-client-${index}`;
    this.link = `enx${index}client`;
    this.close();
    ip('netns', 'add', this.namespace);
    ip('link', 'add', this.link, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', this.namespace);
    ip('link', 'set', this.link, 'master', `enx${index}br`, 'up');
    ip('-n', this.namespace, 'addr', 'add', `${this.address}/24`, 'dev', 'eth0');
    ip('-n', this.namespace, 'link', 'set', 'eth0', 'up');
  }

  /** Asks so many times, each on a connection of its own. */
  async answers(url: string, count: number): Promise<DemoAnswer[]> {
    const args = ['netns', 'exec', this.namespace, 'curl', '-sS', '--noproxy', '*', '--max-time', '10'];
    const urls = Array.from({ length: count }, () => url);
    const result = await run('ip', [...args, '-H', 'Connection: close', ...urls]);
    if (result.code !== 0) throw new Error(`curl ${url}: ${result.stderr}`);
    return result.stdout
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as DemoAnswer);
  }

  close(): void {
    // The veth goes with the namespace, a moment later; a name that is taken would stop the next one.
    for (const args of [
      ['link', 'del', this.link],
      ['netns', 'del', this.namespace],
    ]) {
      try {
        ip(...args);
      } catch {
        // It was not there.
      }
    }
  }
}

function ip(...args: string[]): void {
  execFileSync('ip', args, { stdio: 'pipe' });
}
