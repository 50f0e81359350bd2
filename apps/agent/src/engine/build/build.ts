/** One build from its context to its image, step by step, in the words of Docker's classic builder. */
import {
  applyConfig,
  argvOfCommand,
  BuildArgs,
  folderLayer,
  isConfigInstruction,
  isIgnored,
  parseDockerfile,
  readIgnoreFile,
  readTrigger,
  stagesUpTo,
  substitute,
  type Dockerfile,
  type ImageWork,
  type SourceTree,
  type Stage,
  type StageInstruction,
  type StoredLayer,
} from '#libs/images';
import { EnxameError, type ImageId } from '#libs/model';
import { buffer } from 'node:stream/consumers';
import { Readable } from 'node:stream';
import { BaseImages } from './base-images.js';
import type { BuildOutput } from './build-output.js';
import type { BuildRequest } from './build-request.js';
import { beginStage, buildKey, noOperation, variablesIn, type StageState } from './build-state.js';
import { findInSources } from './cache-sources.js';
import { prepareCopy } from './copy-step.js';
import type { BuildDependencies } from './dependencies.js';
import { runStep } from './run-step.js';

const ignoreFile = '.dockerignore';

export interface BuildParts {
  request: BuildRequest;
  work: ImageWork;
  context: SourceTree;
  output: BuildOutput;
  signal: AbortSignal;
}

/** Reads the Dockerfile, whole, before anything is said or done. */
export async function readDockerfile(
  context: SourceTree,
  request: BuildRequest,
): Promise<{ dockerfile: Dockerfile; stages: Stage[] }> {
  const entry = context.resolve(request.dockerfile.replace(/^\/+/, ''));
  if (entry?.type !== 'file') {
    throw new EnxameError('invalid-argument', `Cannot locate specified Dockerfile: ${request.dockerfile}`);
  }
  const text = (await buffer(Readable.from(context.content(entry)))).toString('utf8');
  const dockerfile = parseDockerfile(text, request.dockerfile);
  const stages = stagesUpTo(dockerfile.stages, request.target);
  await leaveOut(context, [ignoreFile, request.dockerfile]);
  const last = stages.at(-1);
  const labels = Object.entries(request.labels).sort(([a], [b]) => (a < b ? -1 : 1));
  if (last !== undefined && labels.length > 0) {
    const pairs = labels.map(([name, value]) => ({ name: quoted(name), value: quoted(value) }));
    const text = `LABEL ${pairs.map(({ name, value }) => `${name}=${value}`).join(' ')}`;
    const label: StageInstruction = { kind: 'LABEL', pairs, line: 0, text };
    stages[stages.length - 1] = { ...last, instructions: [...last.instructions, label] };
  }
  return { dockerfile, stages };
}

/** A word that no variable is replaced in. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", `'"'"'`)}'`;
}

/** Clients send the Dockerfile and the ignore file whatever the latter says; a COPY is not to see them then. */
async function leaveOut(context: SourceTree, paths: readonly string[]): Promise<void> {
  const entry = context.get(ignoreFile);
  if (entry?.type !== 'file') return;
  const rules = readIgnoreFile((await buffer(Readable.from(context.content(entry)))).toString('utf8'));
  for (const path of paths) if (isIgnored(rules, path)) context.remove(path);
}

export class Build {
  private readonly built: { name?: string; imageId: ImageId | undefined }[] = [];
  private readonly args: BuildArgs;
  private readonly bases: BaseImages;
  private step = 0;
  private steps = 0;

  constructor(
    private readonly deps: BuildDependencies,
    private readonly parts: BuildParts,
  ) {
    this.args = BuildArgs.forFile(parts.request.buildArgs);
    this.bases = new BaseImages(deps, parts);
  }

  async run(dockerfile: Dockerfile, stages: readonly Stage[]): Promise<ImageId> {
    const { request, output } = this.parts;
    this.steps =
      dockerfile.globalArgs.length +
      stages.reduce((sum, { instructions }) => sum + 1 + instructions.length, 0);
    for (const instruction of dockerfile.globalArgs) {
      output.step(++this.step, this.steps, instruction.text);
      for (const { name, value } of instruction.args) {
        const variables = this.args.globalVariables();
        this.args.addGlobal(
          name,
          value === undefined ? undefined : substitute(value, variables, dockerfile.escape),
        );
      }
    }
    let last: ImageId | undefined;
    for (const stage of stages) {
      last = await this.stage(stage, dockerfile.escape);
      const name = stage.from.stageName;
      this.built.push({ imageId: last, ...(name === undefined ? {} : { name }) });
      if (last !== undefined) output.progress({ aux: { ID: last } });
    }
    if (last === undefined)
      throw new EnxameError('invalid-argument', 'No image was generated. Is your Dockerfile empty?');
    const unused = this.args.unused();
    if (unused.length > 0) {
      output.text(`[Warning] One or more build-args [${unused.join(' ')}] were not consumed\n`);
    }
    for (const tag of request.tags) await this.deps.images.tag(last, tag);
    output.done(last, request.tags);
    return last;
  }

  /** A stage before this one, by name or number. */
  private stageImage(name: string): { imageId: ImageId | undefined } | undefined {
    const named = this.built.findLast((stage) => stage.name === name.toLowerCase());
    return named ?? (/^\d{1,6}$/.test(name) ? this.built[Number(name)] : undefined);
  }

  private async stage({ from, instructions }: Stage, escape: string): Promise<ImageId | undefined> {
    const { request, output, work } = this.parts;
    output.step(++this.step, this.steps, from.text);
    const name = substitute(from.image, this.args.globalVariables(), escape);
    if (name === '')
      throw new EnxameError('invalid-argument', `base name (${from.image}) should not be blank`);
    const platform = from.platform && substitute(from.platform, this.args.globalVariables(), escape);
    const before = this.stageImage(name);
    const base =
      before === undefined
        ? await this.bases.find(name, platform)
        : before.imageId === undefined
          ? undefined
          : this.deps.images.find(before.imageId);
    if (base !== undefined) work.hold(base.id);
    const state = beginStage(base, this.args.forStage(), request.noCache);
    output.image(state.imageId);
    const triggers = base?.config.OnBuild ?? [];
    if (triggers.length > 0) {
      output.text(`# Executing ${triggers.length} build trigger${triggers.length > 1 ? 's' : ''}\n`);
    }
    for (const trigger of triggers) await this.instruction(state, readTrigger(trigger), '\\');
    for (const instruction of instructions) {
      this.parts.signal.throwIfAborted();
      output.step(++this.step, this.steps, instruction.text);
      await this.instruction(state, instruction, escape);
      output.image(state.imageId);
    }
    return state.imageId;
  }

  private async instruction(state: StageState, instruction: StageInstruction, escape: string): Promise<void> {
    if (isConfigInstruction(instruction)) {
      const options = { variables: variablesIn(state), escape, commandSet: state.commandSet };
      const { config, comment } = applyConfig(state.config, instruction, options);
      state.config = config;
      if (instruction.kind === 'CMD') state.commandSet = true;
      const makes = instruction.kind === 'WORKDIR' ? () => this.workdirLayer(state) : undefined;
      return this.commit(state, noOperation(state, ` ${comment}`), makes);
    }
    switch (instruction.kind) {
      case 'ARG': {
        for (const { name, value } of instruction.args) {
          state.args.add(
            name,
            value === undefined ? undefined : substitute(value, variablesIn(state), escape),
          );
        }
        const words = instruction.args.map(({ name, value }) =>
          value === undefined ? name : `${name}=${value}`,
        );
        return this.commit(state, noOperation(state, ` ARG ${words.join(' ')}`));
      }
      case 'MAINTAINER':
        state.author = instruction.argument;
        return this.commit(state, noOperation(state, ` MAINTAINER ${state.author}`));
      case 'COPY':
      case 'ADD': {
        const { context, work, signal } = this.parts;
        const imageFrom = (name: string): Promise<ImageId | undefined> => this.imageFrom(name);
        const copy = await prepareCopy(this.deps, {
          instruction,
          state,
          escape,
          context,
          work,
          imageFrom,
          signal,
        });
        return this.commit(state, noOperation(state, copy.comment), () => copy.layer(state.imageId));
      }
      case 'RUN':
        return this.runInstruction(state, instruction);
    }
  }

  /** What `COPY --from` names: a stage before this one, or any image. */
  private async imageFrom(name: string): Promise<ImageId | undefined> {
    const stage = this.stageImage(name);
    if (stage !== undefined) return stage.imageId;
    const image = await this.bases.find(name, undefined).catch((error: unknown) => {
      if (this.parts.signal.aborted || !(error instanceof EnxameError)) throw error;
      throw new EnxameError(error.code, `invalid from flag value ${name}: ${error.message}`, {
        cause: error.cause,
      });
    });
    if (image !== undefined) this.parts.work.hold(image.id);
    return image?.id;
  }

  private async workdirLayer(state: StageState): Promise<StoredLayer | undefined> {
    const { work } = this.parts;
    const layers = state.imageId === undefined ? [] : await this.deps.images.rootLayers(state.imageId);
    const target = await work.lookUp(layers, state.config.WorkingDir ?? '/');
    const tar = folderLayer(target, { nowSeconds: Math.floor(this.deps.nowMs() / 1000) });
    return tar && work.addLayer(tar, 'the working directory');
  }

  private async runInstruction(
    state: StageState,
    instruction: Extract<StageInstruction, { kind: 'RUN' }>,
  ): Promise<void> {
    const { request, work, output, signal } = this.parts;
    const { command, heredocs } = instruction;
    const [document] = heredocs;
    const isScript =
      document !== undefined && command.kind === 'shell' && /^<<-?["']?[\w.-]+["']?\s*$/.test(command.line);
    const bodies = heredocs.map(({ name, content }) => `\n${content}${name}`).join('');
    const line = command.kind === 'shell' ? (isScript ? document.content : command.line + bodies) : '';
    const argv = argvOfCommand(command.kind === 'shell' ? { kind: 'shell', line } : command, state.config);
    const env = this.argumentsOf(state, true);
    const shown = this.argumentsOf(state, false);
    const createdBy = [...(shown.length > 0 ? [`|${shown.length}`, ...shown] : []), ...argv].join(' ');
    const more = [command.kind, argv, request.hostConfig['NetworkMode'] ?? ''];
    const layer = async (): Promise<StoredLayer> => {
      const image = state.imageId ?? (await this.nothing(state));
      return runStep(this.deps, { image, argv, env, request, work, output, signal });
    };
    await this.commit(state, createdBy, layer, more);
  }

  /** `name=value` of the arguments that a command sees; those known without an ARG are no part of the history. */
  private argumentsOf(state: StageState, withPredefined: boolean): string[] {
    const env = new Map((state.config.Env ?? []).map((line) => [line.slice(0, line.indexOf('=')), '']));
    return [...state.args.variables(env, { withPredefined })]
      .map(([name, value]) => `${name}=${value}`)
      .sort();
  }

  /** An image without files, for a container to be made of. */
  private async nothing(state: StageState): Promise<ImageId> {
    const { config } = state;
    return this.parts.work.addImage({ config, createdAtMs: this.deps.nowMs(), createdBy: '' });
  }

  /** Takes the step from the cache, or makes its layer, and goes on from there. */
  private async commit(
    state: StageState,
    createdBy: string,
    layer?: () => Promise<StoredLayer | undefined>,
    more: readonly unknown[] = [],
  ): Promise<void> {
    const { work, output, request } = this.parts;
    const { config, author, imageId: parent } = state;
    const key = buildKey(createdBy, config, [...more, author]);
    if (!state.cacheMissed) {
      const found = work.findBuilt(parent, key);
      const image = found && this.deps.images.find(found);
      if (image) {
        work.hold(image.id);
        output.text(' ---> Using cache\n');
        state.imageId = image.id;
        return;
      }
    }
    const step = { ...(parent === undefined ? {} : { parent }), config, author, createdBy, buildKey: key };
    const source = state.cacheMissed
      ? undefined
      : findInSources(this.deps.images, work, request.cacheFrom, parent, createdBy);
    state.cacheMissed = state.cacheMissed || source === undefined;
    if (source !== undefined) output.text(' ---> Using cache\n');
    const made = source === undefined ? await layer?.() : source.layer;
    const createdAtMs = source?.createdAtMs ?? this.deps.nowMs();
    state.imageId = await work.addImage({
      ...step,
      createdAtMs,
      ...(made === undefined ? {} : { layer: made }),
    });
  }
}
