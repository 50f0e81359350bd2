/**
 * What the instructions of a Dockerfile that change no file do to an image's configuration. `docker commit --change`
 * and `docker import --change` speak the same language.
 */
import { EnxameError } from '#libs/model';
import { constants } from 'node:os';
import type { ImageRunConfig } from '../port.js';
import type { CommandForm, HealthcheckFlags } from './dockerfile/instructions.js';
import { parseDockerfile, type StageInstruction } from './dockerfile/stages.js';
import { substitute, substituteWords, type Variables } from './dockerfile/substitution.js';

const fileKinds = ['RUN', 'COPY', 'ADD', 'ARG', 'MAINTAINER'] as const;
export type ConfigInstruction = Exclude<StageInstruction, { kind: (typeof fileKinds)[number] }>;

export interface ConfigChange {
  config: ImageRunConfig;
  /** As the image's history tells it: `ENV a=b`. */
  comment: string;
}

export const defaultShell: readonly string[] = ['/bin/sh', '-c'];
/** Beside those that the system names: SIGRTMIN+3. */
const realTimeSignal = /^SIGRT(?:MIN(?:\+\d{1,2})?|MAX(?:-\d{1,2})?)$/;
const signalNumberMax = 64;

function invalid(message: string): EnxameError {
  return new EnxameError('invalid-argument', message);
}

export function isConfigInstruction(instruction: StageInstruction): instruction is ConfigInstruction {
  return !(fileKinds as readonly string[]).includes(instruction.kind);
}

export function shellOf(config: ImageRunConfig): readonly string[] {
  return config.Shell?.length ? config.Shell : defaultShell;
}

export function argvOfCommand(command: CommandForm, config: ImageRunConfig): string[] {
  return command.kind === 'exec' ? command.words : [...shellOf(config), command.line];
}

/** Pure: `config` stays as it is. `commandSet` says whether this stage has had its own CMD. */
export function applyConfig(
  config: ImageRunConfig,
  instruction: ConfigInstruction,
  options: { variables: Variables; escape: string; commandSet: boolean },
): ConfigChange {
  const { variables, escape } = options;
  const expand = (text: string): string => substitute(text, variables, escape);
  switch (instruction.kind) {
    case 'ENV': {
      const pairs = instruction.pairs.map(({ name, value }) => `${expand(name)}=${expand(value)}`);
      return { config: { ...config, Env: withEnv(config.Env, pairs) }, comment: `ENV ${pairs.join(' ')}` };
    }
    case 'LABEL': {
      const pairs = instruction.pairs.map(({ name, value }) => [expand(name), expand(value)] as const);
      return {
        config: { ...config, Labels: { ...config.Labels, ...Object.fromEntries(pairs) } },
        comment: `LABEL ${pairs.map(([name, value]) => `${name}=${value}`).join(' ')}`,
      };
    }
    case 'CMD': {
      const Cmd = argvOfCommand(instruction.command, config);
      return { config: { ...config, Cmd }, comment: `CMD ${quotedList(Cmd)}` };
    }
    case 'ENTRYPOINT': {
      const Entrypoint = argvOfCommand(instruction.command, config);
      const { Cmd, ...rest } = config;
      // An inherited command was made for the entrypoint that goes.
      const kept = options.commandSet && Cmd !== undefined ? { Cmd } : {};
      return { config: { ...rest, ...kept, Entrypoint }, comment: `ENTRYPOINT ${quotedList(Entrypoint)}` };
    }
    case 'EXPOSE': {
      const words = instruction.words.flatMap((word) => substituteWords(word, variables, escape));
      const ports = words.flatMap(portsOf).map((port) => [port, {}] as const);
      return {
        config: { ...config, ExposedPorts: { ...config.ExposedPorts, ...Object.fromEntries(ports) } },
        comment: `EXPOSE ${words.join(' ')}`,
      };
    }
    case 'VOLUME': {
      const paths = instruction.words.map(expand);
      if (paths.includes('')) throw invalid('VOLUME specified can not be an empty string');
      const Volumes = { ...config.Volumes, ...Object.fromEntries(paths.map((path) => [path, {}])) };
      return { config: { ...config, Volumes }, comment: `VOLUME [${paths.join(' ')}]` };
    }
    case 'USER': {
      const User = expand(instruction.argument);
      return { config: { ...config, User }, comment: `USER ${User}` };
    }
    case 'WORKDIR': {
      const WorkingDir = workdirOf(config.WorkingDir, expand(instruction.argument));
      return { config: { ...config, WorkingDir }, comment: `WORKDIR ${WorkingDir}` };
    }
    case 'STOPSIGNAL': {
      const StopSignal = expand(instruction.argument);
      checkSignal(StopSignal);
      return { config: { ...config, StopSignal }, comment: `STOPSIGNAL ${StopSignal}` };
    }
    case 'SHELL':
      return {
        config: { ...config, Shell: instruction.words },
        comment: `SHELL [${instruction.words.join(' ')}]`,
      };
    case 'HEALTHCHECK': {
      const Healthcheck = healthcheckOf(instruction.command, instruction.flags);
      return { config: { ...config, Healthcheck }, comment: `HEALTHCHECK ${healthcheckText(Healthcheck)}` };
    }
    case 'ONBUILD':
      return {
        config: { ...config, OnBuild: [...(config.OnBuild ?? []), instruction.trigger] },
        comment: `ONBUILD ${instruction.trigger}`,
      };
  }
}

/** The changes of `commit` and `import`, one instruction each. Throws for those that a change cannot be. */
export function applyChanges(config: ImageRunConfig, changes: readonly string[]): ImageRunConfig {
  let changed = config;
  let commandSet = false;
  for (const change of changes) {
    const { stages, escape } = parseDockerfile(`FROM scratch\n${change}`);
    for (const instruction of stages.flatMap((stage) => stage.instructions)) {
      if (!isConfigInstruction(instruction)) {
        throw invalid(`${instruction.kind.toLowerCase()} is not a valid change command`);
      }
      const variables = variablesOf(changed.Env);
      changed = applyConfig(changed, instruction, { variables, escape, commandSet }).config;
      if (instruction.kind === 'CMD') commandSet = true;
    }
  }
  return changed;
}

export function variablesOf(env: readonly string[] | undefined): Map<string, string> {
  return new Map(
    (env ?? []).map((line) => {
      const equals = line.indexOf('=');
      return equals < 0 ? [line, ''] : [line.slice(0, equals), line.slice(equals + 1)];
    }),
  );
}

/** A name that is there is given its new value where it stands. */
export function withEnv(env: readonly string[] | undefined, pairs: readonly string[]): string[] {
  const result = [...(env ?? [])];
  for (const pair of pairs) {
    const start = pair.slice(0, pair.indexOf('=') + 1);
    const at = result.findIndex((line) => line.startsWith(start));
    if (at < 0) result.push(pair);
    else result[at] = pair;
  }
  return result;
}

/** A relative one goes on from the one before. */
export function workdirOf(current: string | undefined, next: string): string {
  const parts: string[] = [];
  const joined = next.startsWith('/') ? next : `${current || '/'}/${next}`;
  for (const part of joined.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '' && part !== '.') parts.push(part);
  }
  return `/${parts.join('/')}`;
}

/** `80`, `53/udp`, `8000-8010`. */
function portsOf(word: string): string[] {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?(?:\/(tcp|udp|sctp))?$/i.exec(word);
  const first = Number(match?.[1]);
  const last = Number(match?.[2] ?? match?.[1]);
  if (match === null || first < 1 || last > 65_535 || last < first) {
    throw invalid(`invalid containerPort: ${word}`);
  }
  const protocol = (match[3] ?? 'tcp').toLowerCase();
  return Array.from({ length: last - first + 1 }, (_none, i) => `${first + i}/${protocol}`);
}

function checkSignal(signal: string): void {
  const isNumber = /^\d+$/.test(signal);
  const fits = isNumber
    ? Number(signal) > 0 && Number(signal) <= signalNumberMax
    : isSignalName(signal.toUpperCase());
  if (!fits) throw invalid(`invalid signal: ${signal}`);
}

function isSignalName(text: string): boolean {
  const name = text.startsWith('SIG') ? text : `SIG${text}`;
  return name in constants.signals || realTimeSignal.test(name);
}

const durationUnits: Readonly<Record<string, number>> = {
  ns: 1,
  us: 1e3,
  µs: 1e3,
  ms: 1e6,
  s: 1e9,
  m: 60e9,
  h: 3600e9,
};

/** `1m30s` in nanoseconds, as Go reads it. */
function durationOf(text: string | undefined, flag: string): number {
  if (text === undefined || text === '') return 0;
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/g)];
  const isWhole = parts.length > 0 && parts.map(([part]) => part).join('') === text;
  const why = /^\d+(?:\.\d+)?$/.test(text) ? 'missing unit in' : 'invalid';
  if (!isWhole && text !== '0') throw invalid(`time: ${why} duration "${text}"`);
  const nanoseconds = parts.reduce(
    (sum, [, count, unit]) => sum + Number(count) * (durationUnits[unit ?? ''] ?? 0),
    0,
  );
  if (nanoseconds !== 0 && nanoseconds < 1e6) {
    throw invalid(`Interval "${flag}" cannot be less than 1ms`);
  }
  return nanoseconds;
}

function healthcheckOf(
  command: CommandForm | 'NONE',
  flags: HealthcheckFlags,
): NonNullable<ImageRunConfig['Healthcheck']> {
  if (command === 'NONE') return { Test: ['NONE'] };
  const retries = flags.retries ?? '';
  if (!/^\d{0,9}$/.test(retries)) throw invalid(`invalid --retries: "${retries}" is not a whole number`);
  const values = {
    Interval: durationOf(flags.interval, 'interval'),
    Timeout: durationOf(flags.timeout, 'timeout'),
    StartPeriod: durationOf(flags.startPeriod, 'start-period'),
    StartInterval: durationOf(flags.startInterval, 'start-interval'),
    Retries: Number(retries),
  };
  const given = Object.fromEntries(Object.entries(values).filter(([, value]) => value !== 0));
  const Test = command.kind === 'exec' ? ['CMD', ...command.words] : ['CMD-SHELL', command.line];
  return { Test, ...given };
}

/** As Go prints the structure, which is what Docker's histories show. */
function healthcheckText(check: NonNullable<ImageRunConfig['Healthcheck']>): string {
  const seconds = (nanoseconds = 0): string => `"${goDuration(nanoseconds)}"`;
  const { Test = [], Interval, Timeout, StartPeriod, StartInterval, Retries = 0 } = check;
  const times = [Interval, Timeout, StartPeriod, StartInterval].map(seconds).join(' ');
  return `&{${quotedList(Test)} ${times} '\\x${Retries.toString(16).padStart(2, '0')}'}`;
}

function goDuration(nanoseconds: number): string {
  if (nanoseconds === 0) return '0s';
  if (nanoseconds < 1e9) return `${nanoseconds / 1e6}ms`;
  const hours = Math.floor(nanoseconds / 3600e9);
  const minutes = Math.floor((nanoseconds % 3600e9) / 60e9);
  const seconds = (nanoseconds % 60e9) / 1e9;
  return `${hours > 0 ? `${hours}h` : ''}${hours > 0 || minutes > 0 ? `${minutes}m` : ''}${seconds}s`;
}

/** Go's `%q` of a list. */
export function quotedList(words: readonly string[]): string {
  return `[${words.map((word) => JSON.stringify(word)).join(' ')}]`;
}
