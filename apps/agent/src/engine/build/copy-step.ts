/** COPY and ADD: finds what is to be copied and makes the step's layer of it. */
import {
  checkDestination,
  copyLayer,
  hashOfItems,
  hasWildcard,
  itemOf,
  itemOfBytes,
  selectItems,
  substitute,
  workdirOf,
  type CopyInstruction,
  type CopyItem,
  type ImageWork,
  type SourceTree,
  type StoredLayer,
} from '#libs/images';
import { EnxameError, type ImageId } from '#libs/model';
import { posix } from 'node:path';
import { Readable } from 'node:stream';
import { variablesIn, type StageState } from './build-state.js';
import type { BuildDependencies } from './dependencies.js';
import { downloadFor, isUrl } from './download.js';
import { modeOf, ownerOf } from './ownership.js';

export interface CopyStep {
  instruction: { kind: 'COPY' | 'ADD' } & CopyInstruction;
  state: StageState;
  escape: string;
  context: SourceTree;
  work: ImageWork;
  /** The image that `--from` names. */
  imageFrom(name: string): Promise<ImageId | undefined>;
  signal: AbortSignal;
}

export interface PreparedCopy {
  /** As the history tells it: `COPY file:HASH in /to `. */
  comment: string;
  /** Makes the layer; not called when the cache has the step. */
  layer(image: ImageId | undefined): Promise<StoredLayer>;
}

export async function prepareCopy(deps: BuildDependencies, step: CopyStep): Promise<PreparedCopy> {
  const { instruction, state, escape } = step;
  const { kind, chown: chownWord, chmod: chmodWord } = instruction;
  const variables = variablesIn(state);
  const expand = (text: string): string => substitute(text, variables, escape);
  const chown = chownWord === undefined ? undefined : expand(chownWord);
  const chmod = chmodWord === undefined ? undefined : expand(chmodWord);
  const mode = chmod === undefined ? undefined : modeOf(chmod);
  const written = expand(instruction.destination);
  const destination = destinationOf(state.config.WorkingDir, written);
  const items: CopyItem[] = [];
  for (const source of instruction.sources)
    items.push(...(await itemsOf(deps, step, source, expand, destination)));
  checkDestination(kind, items, destination);
  const flags = `${chown === undefined ? '' : `--chown=${chown} `}${chmod === undefined ? '' : `--chmod=${chmod} `}`;
  return {
    comment: `${kind} ${flags}${hashOfItems(items)} in ${destination} `,
    async layer(image) {
      const layers = image === undefined ? [] : await deps.images.rootLayers(image);
      const owner = chown === undefined ? undefined : await ownerOf(step.work, layers, chown);
      const target = await step.work.lookUp(layers, destination);
      const options = {
        intoFolder: destination.endsWith('/'),
        ...(owner === undefined ? {} : { owner }),
        ...(mode === undefined ? {} : { mode }),
        nowSeconds: Math.floor(deps.nowMs() / 1000),
      };
      return step.work.addLayer(copyLayer(items, target, options), `the files of ${kind}`);
    },
  };
}

/** Absolute; a slash at the end, or a dot, says that it is a folder. */
function destinationOf(workdir: string | undefined, written: string): string {
  const path = workdirOf(workdir, written);
  const isFolder = /(?:^|\/)\.?$/.test(written);
  return isFolder && path !== '/' ? `${path}/` : path;
}

async function itemsOf(
  deps: BuildDependencies,
  step: CopyStep,
  source: string,
  expand: (text: string) => string,
  destination: string,
): Promise<CopyItem[]> {
  const { instruction, context, work, signal } = step;
  const { kind } = instruction;
  const heredoc = instruction.heredocs.find(({ name }) => source.replace(/^<<-?|["']/g, '') === name);
  if (source.startsWith('<<') && heredoc !== undefined) {
    const content = heredoc.expand ? expandLines(heredoc.content, expand) : heredoc.content;
    const file = { mode: 0o644, mtimeSeconds: Math.floor(deps.nowMs() / 1000) };
    return [itemOfBytes(heredoc.name, Buffer.from(content), file)];
  }
  const path = expand(source);
  if (kind === 'ADD' && isUrl(path)) {
    const { name, bytes, mtimeSeconds } = await downloadFor('ADD failed', path, signal);
    if (name === '' && destination.endsWith('/')) {
      throw new EnxameError('invalid-argument', `cannot determine filename from url: ${path}`);
    }
    return [itemOfBytes(name, bytes, { mode: 0o600, mtimeSeconds })];
  }
  if (instruction.from !== undefined) return itemsOfImage(deps, step, expand(instruction.from), path);
  const items = selectItems(context, kind, path);
  if (kind !== 'ADD') return items;
  return Promise.all(items.map(async (item) => (await extracted(work, item)) ?? item));
}

/** Variables in a here-document; its quotes are its own. */
function expandLines(content: string, expand: (text: string) => string): string {
  return content.replace(/\\\$|\$\{[^}]*\}|\$[A-Za-z_][A-Za-z0-9_]*/g, (found) =>
    found === '\\$' ? '$' : expand(found),
  );
}

async function itemsOfImage(
  deps: BuildDependencies,
  step: CopyStep,
  from: string,
  path: string,
): Promise<CopyItem[]> {
  const { instruction, work } = step;
  const image = await step.imageFrom(from);
  const missing = (): EnxameError =>
    new EnxameError('invalid-argument', `${instruction.kind} failed: stat ${path}: file does not exist`);
  if (image === undefined) throw missing();
  const layers = await deps.images.rootLayers(image);
  if (layers.length === 0) throw missing();
  if (!hasWildcard(path)) {
    const target = await work.lookUp(layers, path);
    const found = target.existing.find((each) => each.path === target.path);
    if (target.path !== '' && found === undefined) throw missing();
    const tree = await work.imageTree(layers, path);
    if (target.path === '' || found?.type === 'folder') return [itemOf(tree, '', tree.get(''))];
    const [entry] = tree.children('');
    return [{ ...itemOf(tree, '', entry), name: posix.basename(path) }];
  }
  // Up to the first part with a wildcard it is one folder of the image.
  const parts = path.split('/').filter((part) => part !== '');
  const fixed = parts.slice(0, parts.findIndex(hasWildcard));
  const tree = await work.imageTree(layers, `/${fixed.join('/')}`);
  return selectItems(tree, instruction.kind, parts.slice(fixed.length).join('/'));
}

/** A tar archive that ADD finds in the context is unpacked, whatever it is called; undefined for every other file. */
async function extracted(work: ImageWork, item: CopyItem): Promise<CopyItem | undefined> {
  const [only] = item.entries;
  if (item.isFolder || only === undefined || only.entry.type !== 'file' || only.entry.sizeBytes === 0)
    return undefined;
  const open = (): AsyncGenerator<Buffer> =>
    work.unpacked(Readable.from(item.content(only.entry)) as AsyncIterable<Buffer>, item.name);
  if (!(await beginsLikeTar(open()))) return undefined;
  const tree = await work.sourceTree(open());
  const whole = itemOf(tree, '', tree.get(''));
  return { ...whole, name: item.name, hash: item.hash, keepsOwner: true };
}

const headerBytes = 512;

async function beginsLikeTar(bytes: AsyncGenerator<Buffer>): Promise<boolean> {
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of bytes) {
      chunks.push(chunk);
      length += chunk.length;
      if (length >= headerBytes) break;
    }
  } catch (error) {
    // Compressed in name only, or in a way that is not known: then it is a file like others.
    if (error instanceof EnxameError) return false;
    throw error;
  }
  if (length < headerBytes) return false;
  const header = Buffer.concat(chunks).subarray(0, headerBytes);
  const sum = header.reduce((total, byte, at) => total + (at >= 148 && at < 156 ? 32 : byte), 0);
  const written = /^[ 0]*([0-7]+)/.exec(header.toString('latin1', 148, 156))?.[1];
  return written !== undefined && Number.parseInt(written, 8) === sum;
}
