/**
 * From a Dockerfile's text to logical lines: directives, comments, continuations and here-documents, by the rules of
 * Docker's reference ("Format", "Parser directives", "Here-Documents").
 */
import { EnxameError } from '#libs/model';
import { dockerfileError } from './dockerfile-error.js';
import { splitWords } from './words.js';

export interface Heredoc {
  /** `EOF` of `<<EOF`: a COPY names the file so. */
  name: string;
  /** Variables in it are the builder's to replace: its name was not quoted. */
  expand: boolean;
  content: string;
}

export interface LogicalLine {
  /** Of its first physical line, from 1. */
  line: number;
  /** Upper case. */
  keyword: string;
  /** `--from=build`, as written. */
  flags: string[];
  /** What follows keyword and flags, continuations joined. */
  rest: string;
  /** The whole instruction, as the build shows it. */
  text: string;
  heredocs: Heredoc[];
}

export interface DockerfileLines {
  escape: string;
  lines: LogicalLine[];
}

const dockerfileBytesMax = 2 * 1024 * 1024;
const directivePattern = /^#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*$/;
const heredocPattern = /^(\d*)<<(-?)([^<]*)$/;
const heredocKeywords = new Set(['ADD', 'COPY', 'RUN']);

export function readLines(text: string): DockerfileLines {
  if (text.length > dockerfileBytesMax) {
    throw new EnxameError('invalid-argument', `the Dockerfile has more than ${dockerfileBytesMax} bytes`);
  }
  const physical = text.replace(/^\uFEFF/, '').split(/\r?\n/);
  const escape = readEscape(physical);
  const lines: LogicalLine[] = [];
  for (let at = 0; at < physical.length; ) {
    const start = at;
    const first = withoutComment((physical[at++] ?? '').trimStart());
    if (first === '') continue;
    let { content: joined, continues } = cutContinuation(first, escape);
    while (continues && at < physical.length) {
      const next = physical[at++] ?? '';
      // Comments and empty lines inside an instruction do not end it.
      if (withoutComment(next.trimStart()) === '') continue;
      const cut = cutContinuation(next, escape);
      joined += cut.content;
      continues = cut.continues;
    }
    const line = splitInstruction(joined, start + 1, escape);
    at = readHeredocs(line, physical, at, escape);
    lines.push(line);
  }
  return { escape, lines };
}

function withoutComment(line: string): string {
  return line.startsWith('#') ? '' : line.trim() === '' ? '' : line;
}

/** Directives stand at the very top: the first line that is none ends them. */
function readEscape(physical: readonly string[]): string {
  let escape: string | undefined;
  const seen = new Set<string>();
  for (const [i, line] of physical.entries()) {
    const match = directivePattern.exec(line);
    if (match === null) break;
    const name = (match[1] ?? '').toLowerCase();
    if (!['escape', 'syntax', 'check'].includes(name)) break;
    if (seen.has(name)) throw dockerfileError(i + 1, `only one ${name} parser directive can be used`);
    seen.add(name);
    if (name !== 'escape') continue;
    escape = match[2] ?? '';
    if (escape !== '\\' && escape !== '`') {
      throw dockerfileError(i + 1, `invalid ESCAPE '${escape}'. Must be one of \`\\\` or \`\`\``);
    }
  }
  return escape ?? '\\';
}

function cutContinuation(line: string, escape: string): { content: string; continues: boolean } {
  const bare = line.replace(/[ \t]+$/, '');
  const continues =
    bare.endsWith(escape) && (bare.length === 1 || !bare.endsWith(escape + escape) || escape === '`');
  return continues ? { content: bare.slice(0, -1), continues } : { content: line, continues };
}

function splitInstruction(joined: string, line: number, escape: string): LogicalLine {
  const text = joined.trim();
  const match = /^(\S+)\s*([\s\S]*)$/.exec(text);
  const { flags, rest } = splitFlags(match?.[2] ?? '', escape);
  return { line, keyword: (match?.[1] ?? '').toUpperCase(), flags, rest, text, heredocs: [] };
}

/** Words that begin with `--`, up to the first that does not. `--` alone ends them. */
function splitFlags(text: string, escape: string): { flags: string[]; rest: string } {
  const flags: string[] = [];
  let at = 0;
  for (;;) {
    while (/\s/.test(text[at] ?? '')) at++;
    if (!text.startsWith('--', at)) return { flags, rest: text.slice(at) };
    let word = '';
    let quote = '';
    for (; at < text.length; at++) {
      const character = text[at] ?? '';
      if (quote === '' && /\s/.test(character)) break;
      if (character === escape && at + 1 < text.length) word += text[++at];
      else if (quote === '' && (character === '"' || character === "'")) quote = character;
      else if (character === quote) quote = '';
      else word += character;
    }
    if (word === '--') return { flags, rest: text.slice(at).trimStart() };
    flags.push(word);
  }
}

/** Takes the here-documents that a line opens from the lines below it. Returns where the next instruction begins. */
function readHeredocs(line: LogicalLine, physical: readonly string[], from: number, escape: string): number {
  let at = from;
  const isNested = line.keyword === 'ONBUILD';
  const keyword = isNested ? (/^(\S+)/.exec(line.rest)?.[1] ?? '').toUpperCase() : line.keyword;
  if (!heredocKeywords.has(keyword) || !line.rest.includes('<<')) return at;
  for (const word of splitWords(line.rest, escape)) {
    const match = heredocPattern.exec(word);
    const written = match?.[3] ?? '';
    const name = written.replace(/["'\\]/g, '');
    if (match === null || !/^[A-Za-z_][A-Za-z0-9_.-]*$/.test(name)) continue;
    const taken: string[] = [];
    for (;;) {
      const next = physical[at++];
      if (next === undefined) throw dockerfileError(line.line, 'unterminated heredoc');
      const content = match[2] === '-' ? next.replace(/^\t+/, '') : next;
      if (content === name) break;
      taken.push(content);
    }
    const content = taken.map((each) => `${each}\n`).join('');
    line.heredocs.push({ name, expand: written === name, content });
    line.text += `\n${content}${name}`;
  }
  return at;
}
