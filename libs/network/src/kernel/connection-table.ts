/**
 * Questions to the kernel's connection table. It may hold hundreds of thousands of connections, and reading it takes
 * as long, so `grep` looks through it in a process of its own, and questions that come together share one look.
 */
import { runCommand } from './command.js';
import {
  countActiveConnections,
  readConntrackTimeouts,
  udpFlowTargets,
  type ConntrackTimeouts,
} from './connections.js';

/** Of this process's network namespace, one connection a line. */
const tableFile = '/proc/self/net/nf_conntrack';

interface Look {
  words: Set<string>;
  lines: Promise<string>;
}

export class ConnectionTable {
  #timeouts: ConntrackTimeouts | undefined;
  /** Not begun yet: more words may join. */
  #next: Look | undefined;
  #current: Promise<unknown> = Promise.resolve();
  /** Endpoints that are gone, whose datagrams are to go elsewhere. */
  readonly #gone = new Set<string>();
  #forgetting: Promise<void> | undefined;

  /** See `countActiveConnections`. */
  async countActive(address: string, idleMs: number): Promise<number> {
    this.#timeouts ??= await readConntrackTimeouts();
    const lines = await this.#linesWith(`src=${address} `);
    return countActiveConnections(lines, this.#timeouts, { address, idleMs });
  }

  /**
   * UDP has no end of connection: a client that keeps sending from one port would follow its old translation to an
   * endpoint that is gone for as long as it sends. TCP flows are left alone; they end by themselves. Returns at once:
   * new flows do not go there, and nothing that starts has to wait for the old ones. Resolves when all is forgotten.
   */
  forgetDatagrams(addresses: ReadonlySet<string>): Promise<void> {
    for (const address of addresses) this.#gone.add(address);
    if (this.#gone.size > 0) {
      this.#forgetting ??= this.#forget().finally(() => {
        this.#forgetting = undefined;
      });
    }
    return this.#forgetting ?? Promise.resolve();
  }

  async #forget(): Promise<void> {
    while (this.#gone.size > 0) {
      const addresses = new Set(this.#gone);
      this.#gone.clear();
      const targets = udpFlowTargets(await this.#linesWith(' udp '), addresses);
      // Exit code 1 says that no flow matched any more.
      for (const target of targets) await runCommand('conntrack', ['-D', '-p', 'udp', '--reply-src', target]);
    }
  }

  #linesWith(word: string): Promise<string> {
    if (this.#next === undefined) {
      const words = new Set<string>();
      const lines = this.#current.then(() => {
        this.#next = undefined;
        const read = readLines(words);
        this.#current = read.catch(() => undefined);
        return read;
      });
      this.#next = { words, lines };
    }
    this.#next.words.add(word);
    return this.#next.lines;
  }
}

/** At least the lines that hold one of the words. */
async function readLines(words: ReadonlySet<string>): Promise<string> {
  const { code, stdout } = await runCommand('grep', ['-F', '-f', '-', tableFile], [...words].join('\n'));
  // 1: no line matched. Kernels without the file tell the same over netlink, without the two leading columns.
  if (code <= 1) return stdout;
  const listed = await runCommand('conntrack', ['-L', '-f', 'ipv4']);
  return listed.stdout.replace(/^/gm, 'ipv4 2 ');
}
