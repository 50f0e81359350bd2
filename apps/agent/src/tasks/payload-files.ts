/** The secrets and configs of a task as files of its container, by Docker's rules for where they go. Pure. */
import { EnxameError, type ContainerSpec, type FileTarget, type PayloadItem } from '#libs/model';
import type { ContainerFile } from '#libs/runtime';
import { posix } from 'node:path';
import { expandTemplate, type TemplateContext } from './templates.js';

/** A payload that the node was told of. */
export type FindPayload = (kind: PayloadItem['kind'], id: string) => PayloadItem | undefined;

const secretsFolder = '/run/secrets';
const secretModeDefault = 0o444;
/** They travel to the launcher in one message with the rest of the plan. */
const bytesMax = 3 * 1024 * 1024;

interface Reference {
  kind: PayloadItem['kind'];
  id: string;
  name: string;
  file: FileTarget | undefined;
}

/** Throws `not-found` for one that is gone, with words for the task's status. */
export function payloadFilesOf(
  spec: Pick<ContainerSpec, 'Secrets' | 'Configs' | 'Env'>,
  context: TemplateContext,
  find: FindPayload,
): ContainerFile[] {
  const references = referencesOf(spec);
  const data = (reference: Reference): Buffer => {
    const payload = find(reference.kind, reference.id);
    if (payload === undefined)
      throw new EnxameError('not-found', `${reference.kind} not found: ${reference.name}`);
    return Buffer.from(payload.data, 'base64');
  };
  const textOf = (kind: PayloadItem['kind'], target: string): string => {
    const reference = references.find((each) => each.kind === kind && each.file?.Name === target);
    if (reference === undefined)
      throw new EnxameError('invalid-argument', `${kind} target ${target} not found`);
    return data(reference).toString('utf8');
  };
  const files = references.map((reference): ContainerFile => {
    const isTemplate = find(reference.kind, reference.id)?.isTemplate === true;
    const plain = data(reference);
    const filled = isTemplate
      ? Buffer.from(
          expandTemplate(plain.toString('utf8'), context, {
            secret: (target) => textOf('secret', target),
            config: (target) => textOf('config', target),
            env: (name) => variableOf(spec.Env ?? [], name),
          }),
        )
      : plain;
    const { Name = '', UID, GID, Mode } = reference.file ?? {};
    const folder = reference.kind === 'secret' ? secretsFolder : '/';
    return {
      path: posix.resolve(folder, Name),
      data: filled,
      mode: Mode ?? secretModeDefault,
      uid: Number(UID || 0),
      gid: Number(GID || 0),
    };
  });
  const bytes = files.reduce((sum, file) => sum + file.data.length, 0);
  if (bytes > bytesMax) {
    throw new EnxameError(
      'invalid-argument',
      `secrets and configs of ${bytes} bytes: a task may have ${bytesMax}`,
    );
  }
  return files;
}

function referencesOf({
  Secrets = [],
  Configs = [],
}: Pick<ContainerSpec, 'Secrets' | 'Configs'>): Reference[] {
  return [
    ...Secrets.map(({ SecretID = '', SecretName = '', File }): Reference => {
      return { kind: 'secret', id: SecretID, name: SecretName, file: File };
    }),
    ...Configs.map(({ ConfigID = '', ConfigName = '', File }): Reference => {
      return { kind: 'config', id: ConfigID, name: ConfigName, file: File };
    }),
  ];
}

function variableOf(env: readonly string[], name: string): string {
  const entry = env.find((each) => each.startsWith(`${name}=`));
  return entry?.slice(name.length + 1) ?? '';
}
