/** Each logical line as what it asks for. Words are as written: variables are replaced when a step is run. */
import { dockerfileError } from './dockerfile-error.js';
import type { Heredoc, LogicalLine } from './lines.js';
import { splitWords } from './words.js';

export interface NameValue {
  name: string;
  value: string;
}

/** A command as a list of words, or as one line for the shell. */
export type CommandForm = { kind: 'exec'; words: string[] } | { kind: 'shell'; line: string };

export interface CopyInstruction {
  sources: string[];
  destination: string;
  /** Stage, image or number; absent: the build context. */
  from?: string;
  chown?: string;
  chmod?: string;
  heredocs: Heredoc[];
}

export interface HealthcheckFlags {
  interval?: string;
  timeout?: string;
  startPeriod?: string;
  startInterval?: string;
  retries?: string;
}

export type InstructionBody =
  | { kind: 'FROM'; image: string; stageName?: string; platform?: string }
  | { kind: 'ARG'; args: { name: string; value?: string }[] }
  | { kind: 'ENV' | 'LABEL'; pairs: NameValue[] }
  | { kind: 'RUN'; command: CommandForm; heredocs: Heredoc[] }
  | { kind: 'CMD' | 'ENTRYPOINT'; command: CommandForm }
  | ({ kind: 'COPY' | 'ADD' } & CopyInstruction)
  | { kind: 'EXPOSE' | 'VOLUME'; words: string[] }
  | { kind: 'USER' | 'WORKDIR' | 'STOPSIGNAL'; argument: string }
  | { kind: 'MAINTAINER'; argument: string }
  | { kind: 'HEALTHCHECK'; command: CommandForm | 'NONE'; flags: HealthcheckFlags }
  | { kind: 'SHELL'; words: string[] }
  | { kind: 'ONBUILD'; trigger: string };

export type Instruction = InstructionBody & {
  line: number;
  /** As the build shows it. */
  text: string;
};

type Reader = (line: LogicalLine, escape: string) => InstructionBody;

const needsBuildKit: Readonly<Record<string, readonly string[]>> = {
  RUN: ['mount', 'network', 'security', 'device'],
  COPY: ['link', 'parents', 'exclude'],
  ADD: ['link', 'checksum', 'keep-git-dir', 'exclude', 'unpack'],
};

const readers: Readonly<Record<string, Reader>> = {
  FROM: readFrom,
  ARG: readArg,
  ENV: (line, escape) => readPairs('ENV', line, escape),
  LABEL: (line, escape) => readPairs('LABEL', line, escape),
  RUN: (line) => ({ kind: 'RUN', command: commandOf(line), heredocs: line.heredocs, ...refuseFlags(line) }),
  CMD: (line) => ({ kind: 'CMD', command: commandOf(line, true), ...refuseFlags(line) }),
  ENTRYPOINT: (line) => ({ kind: 'ENTRYPOINT', command: commandOf(line), ...refuseFlags(line) }),
  COPY: (line) => ({ kind: 'COPY', ...readCopy(line, ['from', 'chown', 'chmod']) }),
  ADD: (line) => ({ kind: 'ADD', ...readCopy(line, ['chown', 'chmod']) }),
  EXPOSE: (line) => ({ kind: 'EXPOSE', words: needWords(line, spaced(line.rest)), ...refuseFlags(line) }),
  VOLUME: readVolume,
  USER: (line) => ({ kind: 'USER', argument: textOf(line) }),
  WORKDIR: (line) => ({ kind: 'WORKDIR', argument: textOf(line) }),
  STOPSIGNAL: (line) => ({ kind: 'STOPSIGNAL', argument: textOf(line) }),
  MAINTAINER: (line) => ({ kind: 'MAINTAINER', argument: textOf(line) }),
  HEALTHCHECK: readHealthcheck,
  SHELL: readShell,
  ONBUILD: readOnbuild,
};

export const instructionNames: readonly string[] = Object.keys(readers);

/** Throws `invalid-argument` naming the line. */
export function readInstruction(line: LogicalLine, escape: string): Instruction {
  const read = Object.hasOwn(readers, line.keyword) ? readers[line.keyword] : undefined;
  if (read === undefined) {
    throw dockerfileError(line.line, `unknown instruction: ${line.keyword}${suggestion(line.keyword)}`);
  }
  return { ...read(line, escape), line: line.line, text: line.text };
}

/** ` (did you mean RUN?)` for a word one slip of a finger away. */
function suggestion(keyword: string): string {
  const near = instructionNames.find((name) => isOneSlipAway(name, keyword));
  return near === undefined ? '' : ` (did you mean ${near}?)`;
}

function isOneSlipAway(name: string, word: string): boolean {
  if (Math.abs(name.length - word.length) > 1) return false;
  let at = 0;
  while (at < name.length && name[at] === word[at]) at++;
  const rest = (text: string, skip: number): string => text.slice(at + skip);
  return (
    rest(name, 1) === rest(word, 1) || rest(name, 1) === rest(word, 0) || rest(name, 0) === rest(word, 1)
  );
}

function spaced(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== '');
}

function flagsOf(line: LogicalLine, allowed: readonly string[]): Record<string, string> {
  const flags: Record<string, string> = {};
  for (const flag of line.flags) {
    const [, name = '', value = ''] = /^--([^=]*)=?([^]*)$/.exec(flag) ?? [];
    if (needsBuildKit[line.keyword]?.includes(name) === true) {
      throw dockerfileError(
        line.line,
        `the --${name} option of ${line.keyword} requires BuildKit, which this builder is not`,
      );
    }
    if (!allowed.includes(name)) throw dockerfileError(line.line, `unknown flag: --${name}`);
    if (Object.hasOwn(flags, name)) throw dockerfileError(line.line, `duplicate flag specified: --${name}`);
    if (!flag.includes('=')) throw dockerfileError(line.line, `missing a value on flag: --${name}`);
    flags[name] = value;
  }
  return flags;
}

function refuseFlags(line: LogicalLine): object {
  flagsOf(line, []);
  return {};
}

/** The list of a JSON form; undefined when it is none. */
function jsonWords(line: LogicalLine): string[] | undefined {
  const text = line.rest.trim();
  if (!text.startsWith('[')) return undefined;
  let list: unknown;
  try {
    list = JSON.parse(text);
  } catch {
    // Then it is a line for the shell that begins with a bracket.
    return undefined;
  }
  if (!Array.isArray(list)) return undefined;
  return list.map((word: unknown) => {
    if (typeof word !== 'string') throw dockerfileError(line.line, 'only string type is supported in arrays');
    return word;
  });
}

function needWords(line: LogicalLine, words: string[]): string[] {
  if (words.length === 0) throw dockerfileError(line.line, `${line.keyword} requires at least one argument`);
  return words;
}

function commandOf(line: LogicalLine, mayBeEmpty = false): CommandForm {
  const words = jsonWords(line);
  if (words !== undefined) {
    if (words.length === 0 && !mayBeEmpty && line.keyword === 'RUN') needWords(line, words);
    return { kind: 'exec', words };
  }
  if (line.rest.trim() !== '') return { kind: 'shell', line: line.rest };
  // An empty one takes back what the base image has.
  return { kind: 'exec', words: line.keyword === 'RUN' ? needWords(line, []) : [] };
}

function readFrom(line: LogicalLine): InstructionBody {
  const { platform } = flagsOf(line, ['platform']);
  const [image = '', as, stageName, ...more] = spaced(line.rest);
  const isNamed = as !== undefined;
  if (
    image === '' ||
    more.length > 0 ||
    (isNamed && (stageName === undefined || as.toUpperCase() !== 'AS'))
  ) {
    throw dockerfileError(line.line, 'FROM requires either one or three arguments');
  }
  if (stageName !== undefined && !/^[a-z][a-z0-9_.-]*$/i.test(stageName)) {
    throw dockerfileError(
      line.line,
      `invalid name for build stage: "${stageName}", name can't start with a number or contain symbols`,
    );
  }
  return {
    kind: 'FROM',
    image,
    ...(stageName === undefined ? {} : { stageName: stageName.toLowerCase() }),
    ...(platform === undefined ? {} : { platform }),
  };
}

function readArg(line: LogicalLine, escape: string): InstructionBody {
  flagsOf(line, []);
  const args = needWords(line, splitWords(line.rest, escape)).map((word) => {
    const equals = word.indexOf('=');
    const name = equals < 0 ? word : word.slice(0, equals);
    if (name === '') throw dockerfileError(line.line, 'ARG names can not be blank');
    return { name, ...(equals < 0 ? {} : { value: word.slice(equals + 1) }) };
  });
  return { kind: 'ARG', args };
}

function readPairs(kind: 'ENV' | 'LABEL', line: LogicalLine, escape: string): InstructionBody {
  flagsOf(line, []);
  const words = needWords(line, splitWords(line.rest, escape));
  if (words[0]?.includes('=') !== true) {
    // The old form: one name, and all that follows is its value.
    const [, name = '', value] = /^(\S+)\s+([^]+)$/.exec(line.rest.trim()) ?? [];
    if (value === undefined) throw dockerfileError(line.line, `${kind} must have two arguments`);
    return { kind, pairs: [{ name, value }] };
  }
  const pairs = words.map((word) => {
    const equals = word.indexOf('=');
    if (equals < 0) {
      throw dockerfileError(
        line.line,
        `Syntax error - can't find = in "${word}". Must be of the form: name=value`,
      );
    }
    if (equals === 0) throw dockerfileError(line.line, `${kind} names can not be blank`);
    return { name: word.slice(0, equals), value: word.slice(equals + 1) };
  });
  return { kind, pairs };
}

function readCopy(line: LogicalLine, allowed: readonly string[]): CopyInstruction {
  const { from, chown, chmod } = flagsOf(line, allowed);
  const words = jsonWords(line) ?? spaced(line.rest);
  if (words.length === 1) {
    throw dockerfileError(
      line.line,
      `${line.keyword} requires at least two arguments, but only one was provided. Destination could not be determined.`,
    );
  }
  if (words.length < 2) throw dockerfileError(line.line, `${line.keyword} requires at least two arguments`);
  return {
    sources: words.slice(0, -1),
    destination: words.at(-1) ?? '',
    ...(from === undefined ? {} : { from }),
    ...(chown === undefined ? {} : { chown }),
    ...(chmod === undefined ? {} : { chmod }),
    heredocs: line.heredocs,
  };
}

function readVolume(line: LogicalLine): InstructionBody {
  flagsOf(line, []);
  const words = needWords(line, jsonWords(line) ?? spaced(line.rest)).map((word) => word.trim());
  if (words.includes('')) throw dockerfileError(line.line, 'VOLUME specified can not be an empty string');
  return { kind: 'VOLUME', words };
}

function textOf(line: LogicalLine): string {
  flagsOf(line, []);
  const text = line.rest.trim();
  if (text === '') throw dockerfileError(line.line, `${line.keyword} requires exactly one argument`);
  return text;
}

function readHealthcheck(line: LogicalLine): InstructionBody {
  const flags = flagsOf(line, ['interval', 'timeout', 'start-period', 'start-interval', 'retries']);
  const [, type = '', rest = ''] = /^(\S*)\s*([^]*)$/.exec(line.rest.trim()) ?? [];
  const word = type.toUpperCase();
  if (word === 'NONE') {
    if (rest !== '') throw dockerfileError(line.line, 'HEALTHCHECK NONE takes no arguments');
    return { kind: 'HEALTHCHECK', command: 'NONE', flags: {} };
  }
  if (word === '') throw dockerfileError(line.line, 'HEALTHCHECK requires at least one argument');
  if (word !== 'CMD') {
    throw dockerfileError(line.line, `Unknown type "${word}" in HEALTHCHECK (try CMD)`);
  }
  if (rest === '') throw dockerfileError(line.line, 'Missing command after HEALTHCHECK CMD');
  return {
    kind: 'HEALTHCHECK',
    command: commandOf({ ...line, rest }),
    flags: {
      interval: flags['interval'],
      timeout: flags['timeout'],
      startPeriod: flags['start-period'],
      startInterval: flags['start-interval'],
      retries: flags['retries'],
    },
  };
}

function readShell(line: LogicalLine): InstructionBody {
  flagsOf(line, []);
  const words = jsonWords(line);
  if (words === undefined || words.length === 0) {
    throw dockerfileError(line.line, 'SHELL requires the arguments to be in JSON form');
  }
  return { kind: 'SHELL', words };
}

function readOnbuild(line: LogicalLine): InstructionBody {
  const trigger = [...line.flags, line.rest].join(' ').trim();
  const keyword = (/^(\S+)/.exec(trigger)?.[1] ?? '').toUpperCase();
  if (keyword === '') throw dockerfileError(line.line, 'ONBUILD requires at least one argument');
  if (keyword === 'ONBUILD') {
    throw dockerfileError(line.line, "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
  }
  if (keyword === 'FROM' || keyword === 'MAINTAINER') {
    throw dockerfileError(line.line, `${keyword} isn't allowed as an ONBUILD trigger`);
  }
  if (!instructionNames.includes(keyword)) {
    throw dockerfileError(line.line, `unknown instruction: ${keyword}${suggestion(keyword)}`);
  }
  const body = line.heredocs.map(({ content, name }) => `\n${content}${name}`).join('');
  return { kind: 'ONBUILD', trigger: trigger + body };
}
