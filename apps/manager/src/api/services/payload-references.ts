/**
 * The secrets and configs that a service names: SwarmKit's rules (`validateSecretRefsSpec`, `checkSecretExistence`)
 * in its words. Pure.
 */
import {
  EnxameError,
  type Change,
  type ClusterView,
  type ConfigId,
  type ContainerSpec,
  type FileTarget,
  type SecretId,
} from '#libs/model';

interface Reference {
  id: string;
  name: string;
  file: FileTarget | undefined;
}

export function checkPayloadReferences(view: ClusterView, container: Partial<ContainerSpec>): void {
  const secrets = secretsOf(container);
  const configs = configsOf(container);
  checkTargets('secret', secrets);
  checkTargets('config', configs);
  checkPresence(
    'secret',
    secrets.filter(({ id }) => view.secrets.get(id) === undefined),
  );
  checkPresence(
    'config',
    configs.filter(({ id }) => view.configs.get(id) === undefined),
  );
}

/** Changes that change nothing and are refused when what the service names is gone by then. */
export function payloadGuards(container: Partial<ContainerSpec> | undefined): Change[] {
  if (container === undefined) return [];
  return [
    ...secretsOf(container).map(
      ({ id }): Change => ({ op: 'patch', table: 'secrets', id: id as SecretId, fields: {} }),
    ),
    ...configsOf(container).map(
      ({ id }): Change => ({ op: 'patch', table: 'configs', id: id as ConfigId, fields: {} }),
    ),
  ];
}

function secretsOf({ Secrets = [] }: Partial<ContainerSpec>): Reference[] {
  return Secrets.map(({ SecretID = '', SecretName = '', File }) => ({
    id: SecretID,
    name: SecretName,
    file: File,
  }));
}

function configsOf({ Configs = [] }: Partial<ContainerSpec>): Reference[] {
  return Configs.map(({ ConfigID = '', ConfigName = '', File }) => ({
    id: ConfigID,
    name: ConfigName,
    file: File,
  }));
}

function checkTargets(noun: string, references: readonly Reference[]): void {
  const taken = new Map<string, string>();
  for (const { id, name, file } of references) {
    if (id === '' || name === '') throw invalid(`malformed ${noun} reference`);
    const target = file?.Name ?? '';
    if (target === '') throw invalid(`malformed file ${noun} reference, no target file name provided`);
    if (target.split('/').includes('..'))
      throw invalid(`malformed file ${noun} reference, target "${target}"`);
    for (const owner of [file?.UID, file?.GID]) {
      if (!/^\d{0,10}$/.test(owner ?? '')) {
        throw invalid(`malformed file ${noun} reference, owner "${owner}" is no number`);
      }
    }
    const other = taken.get(target);
    if (other !== undefined) {
      throw invalid(`${noun} references '${other}' and '${name}' have a conflicting target: '${target}'`);
    }
    taken.set(target, name);
  }
}

function checkPresence(noun: string, missing: readonly Reference[]): void {
  if (missing.length === 0) return;
  const names = missing.map(({ name }) => name).join(', ');
  throw invalid(`${noun}${missing.length === 1 ? '' : 's'} not found: ${names}`);
}

function invalid(message: string): EnxameError {
  return new EnxameError('invalid-argument', `rpc error: code = InvalidArgument desc = ${message}`);
}
