/** Those who attached before the start, and are to see the program's first byte. */
import { EnxameError } from '#libs/model';
import type { ShimClient } from '../launcher/shim-client.js';
import type { ContainerAttachment } from '../port.js';

interface Waiting {
  stdin: boolean;
  resolve(attachment: ContainerAttachment): void;
  reject(error: Error): void;
}

const waitingMax = 100;

export class AttachQueue {
  #waiting: Waiting[] = [];

  get isWanted(): boolean {
    return this.#waiting.length > 0;
  }

  add(options: { stdin: boolean; signal?: AbortSignal }): Promise<ContainerAttachment> {
    if (this.#waiting.length >= waitingMax) {
      throw new EnxameError('resource-exhausted', `at most ${waitingMax} may wait for a container to start`);
    }
    return new Promise((resolve, reject) => {
      const waiting: Waiting = { stdin: options.stdin, resolve, reject };
      this.#waiting.push(waiting);
      options.signal?.addEventListener(
        'abort',
        () => {
          this.#waiting = this.#waiting.filter((other) => other !== waiting);
          reject(new EnxameError('unavailable', 'whoever attached is gone'));
        },
        { once: true },
      );
    });
  }

  /** Connects everyone who waits. One that cannot be connected does not keep the others. */
  async open(shim: ShimClient): Promise<void> {
    for (const waiting of this.#waiting.splice(0)) {
      try {
        waiting.resolve(await shim.attach({ stdin: waiting.stdin }));
      } catch (error) {
        waiting.reject(error instanceof Error ? error : new Error(String(error)));
      }
    }
  }

  refuse(error: Error): void {
    for (const waiting of this.#waiting.splice(0)) waiting.reject(error);
  }
}
