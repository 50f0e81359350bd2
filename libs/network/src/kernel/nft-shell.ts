/**
 * One `nft` that stays and is told what to apply. A run of its own for every change takes several times as long: a
 * process is made and linked, and at its end it waits until the kernel has cleared away what the change removed.
 *
 * `nft -i` reads a line at a time and says nothing when all is well. A script is one `include` of its file, which is
 * one transaction; the name of a file that cannot exist follows, and its complaint, with everything before it on the
 * same pipe, tells that the script is through.
 */
import { spawn, type ChildProcessByStdio } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { EnxameError } from '#libs/model';
import { mustRun } from './command.js';

type Shell = ChildProcessByStdio<Writable, Readable, null>;

const answerMsMax = 20_000;
const outputLengthMax = 64 * 1024;
const errorTextLengthMax = 600;
/** `include` takes patterns; other paths go to an `nft` of their own. */
const plainPath = /^[\w./-]+$/;

interface Waiter {
  mark: string;
  resolve(output: string): void;
  reject(error: Error): void;
}

export class NftShell {
  #shell: Shell | undefined;
  #output = '';
  #waiter: Waiter | undefined;
  #sequence = 0;
  #last: Promise<unknown> = Promise.resolve();

  /** Applies the script in this file as one transaction. */
  run(file: string): Promise<void> {
    const turn = this.#last.then(() => this.#run(file));
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  close(): void {
    this.#end(new EnxameError('unavailable', 'nft was ended'));
  }

  async #run(file: string): Promise<void> {
    if (!plainPath.test(file)) {
      await mustRun('nft', ['-f', file]);
      return;
    }
    const output = await this.#include(file);
    if (output === '') return;
    throw new EnxameError('internal', `nft refused ${file}: ${output.slice(0, errorTextLengthMax)}`);
  }

  #include(file: string): Promise<string> {
    const shell = (this.#shell ??= this.#start());
    const mark = `/enxame-script-${++this.#sequence}-ends`;
    return new Promise<string>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#end(new EnxameError('deadline-exceeded', `nft did not end ${file} in time`));
      }, answerMsMax);
      this.#output = '';
      this.#waiter = {
        mark,
        resolve: (output) => {
          clearTimeout(timer);
          resolve(output);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      };
      shell.stdin.write(`include "${file}"\ninclude "${mark}"\n`);
    });
  }

  #start(): Shell {
    // Both outputs in one pipe, so that their order is kept.
    const shell = spawn('sh', ['-c', 'exec nft -i 2>&1'], { stdio: ['pipe', 'pipe', 'ignore'] });
    const ended = (): void => {
      if (this.#shell === shell)
        this.#end(new EnxameError('unavailable', `nft ended: ${this.#output.trim()}`));
    };
    shell.stdout.on('data', (chunk: Buffer) => {
      if (this.#shell === shell) this.#take(chunk.toString());
    });
    shell.stdin.on('error', () => undefined);
    shell.once('error', ended);
    shell.once('close', ended);
    // It must not keep a process alive that has nothing else to do.
    shell.unref();
    return shell;
  }

  #take(text: string): void {
    this.#output = (this.#output + text).slice(-outputLengthMax);
    if (this.#waiter === undefined || !this.#output.includes(this.#waiter.mark)) return;
    // A complaint about a mark has several lines, and the last ones of the mark before may have come late.
    const output = this.#output
      .split('\n')
      .filter((line) => !line.includes('/enxame-script-') && !/^\^*$/.test(line))
      .join('\n')
      .trim();
    const waiter = this.#waiter;
    this.#waiter = undefined;
    waiter?.resolve(output);
  }

  #end(error: Error): void {
    const shell = this.#shell;
    const waiter = this.#waiter;
    this.#shell = undefined;
    this.#waiter = undefined;
    shell?.stdin.end();
    shell?.kill('SIGKILL');
    waiter?.reject(error);
  }
}
