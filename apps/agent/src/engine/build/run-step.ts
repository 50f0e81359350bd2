/** RUN: a container of the image so far, run to its end; what it changed is the step's layer. */
import type { ImageWork, StoredLayer } from '#libs/images';
import { EnxameError, type ContainerId, type ImageId } from '#libs/model';
import type { ContainerAttachment } from '#libs/runtime';
import { StringDecoder } from 'node:string_decoder';
import type { Readable } from 'node:stream';
import { shortId, type BuildOutput } from './build-output.js';
import type { BuildRequest } from './build-request.js';
import type { BuildDependencies } from './dependencies.js';

/** A command that ran and failed; its code is what the build fails with. */
export class CommandFailure extends EnxameError {
  constructor(
    command: readonly string[],
    readonly exitCode: number,
  ) {
    super('failed-precondition', `The command '${command.join(' ')}' returned a non-zero code: ${exitCode}`);
  }
}

export interface RunStep {
  image: ImageId;
  argv: readonly string[];
  /** Arguments of the build that the command sees beside the image's variables. */
  env: readonly string[];
  request: BuildRequest;
  work: ImageWork;
  output: BuildOutput;
  signal: AbortSignal;
}

export async function runStep(deps: BuildDependencies, step: RunStep): Promise<StoredLayer> {
  const { request, output, signal } = step;
  signal.throwIfAborted();
  if (deps.images.find(step.image)?.layers.length === 0) {
    // Of scratch there is no program to run; and no root to run one in.
    const [program] = step.argv;
    throw new EnxameError(
      'invalid-argument',
      `exec: "${program}": stat ${program}: no such file or directory`,
    );
  }
  const id = await deps.createContainer({
    Image: step.image,
    // One empty word: the image's own entrypoint is for its users, not for its making.
    Entrypoint: [''],
    Cmd: step.argv,
    Env: step.env,
    Healthcheck: { Test: ['NONE'] },
    HostConfig: request.hostConfig,
  });
  output.text(` ---> Running in ${shortId(id)}\n`);
  let succeeded = false;
  try {
    await runToEnd(deps, id, step);
    const layer = await step.work.packLayer(deps.runtime.upperDir(id));
    succeeded = true;
    return layer;
  } finally {
    // As with Docker the container of a command that failed stays to be looked at, unless that is not wanted.
    if (succeeded ? request.removeContainers : request.forceRemove || signal.aborted) {
      await deps.removeContainer(id);
      output.text(` ---> Removed intermediate container ${shortId(id)}\n`);
    }
  }
}

async function runToEnd(deps: BuildDependencies, id: ContainerId, step: RunStep): Promise<void> {
  const { runtime } = deps;
  const { signal, output } = step;
  const onAbort = (): void => {
    runtime.kill(id, 'SIGKILL').catch(() => undefined);
  };
  // Asked before it starts, so that its first byte is not missed.
  const attaching = runtime.attach(id, { stdin: false, signal });
  attaching.catch(() => undefined);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    await runtime.run(id);
    if (signal.aborted) onAbort();
    const attachment = await attaching.catch((error: unknown) => {
      signal.throwIfAborted();
      throw error;
    });
    await relay(attachment, output);
    const exit = await runtime.wait(id);
    signal.throwIfAborted();
    if (exit.exitCode !== 0) throw new CommandFailure(step.argv, exit.exitCode);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

async function relay(attachment: ContainerAttachment, output: BuildOutput): Promise<void> {
  await Promise.all([show(attachment.stdout, output), show(attachment.stderr, output), attachment.ended]);
  attachment.close();
}

/** Text as it comes; a character that is cut between two pieces is put together. */
async function show(stream: Readable, output: BuildOutput): Promise<void> {
  const decoder = new StringDecoder('utf8');
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    const text = decoder.write(chunk);
    if (text !== '') output.text(text);
  }
  const rest = decoder.end();
  if (rest !== '') output.text(rest);
}
