/** `exec` without `--process`: the container's own process with what the command line changes. */
import type { Field } from './field.js';

export interface ExecChanges {
  tty?: boolean;
  cwd?: string;
  env?: string[];
  user?: string;
  'additional-gids'?: string[];
  cap?: string[];
  'no-new-privs'?: boolean;
  apparmor?: string;
  'process-label'?: string;
}

const capabilitySets = ['bounding', 'effective', 'permitted', 'inheritable', 'ambient'] as const;

export function execProcess(own: Field, args: string[], changes: ExecChanges): unknown {
  const user = own.at('user');
  const [uid = '', gid = ''] = (changes.user ?? '').split(':');
  const numberOr = (text: string, field: Field): number => {
    if (text === '') return field.number(0);
    if (!/^\d+$/.test(text)) throw own.at('user').invalid(`--user=${changes.user} must be UID or UID:GID`);
    return Number(text);
  };
  const capabilities = own.at('capabilities');
  const more = changes.cap ?? [];
  return {
    ...(own.value as object),
    terminal: changes.tty === true,
    args,
    env: [...own.at('env').texts(), ...(changes.env ?? [])],
    cwd: changes.cwd ?? own.at('cwd').text('/'),
    user: {
      ...(user.isAbsent ? {} : (user.value as object)),
      uid: numberOr(uid, user.at('uid')),
      gid: numberOr(gid, user.at('gid')),
      additionalGids: [
        ...user
          .at('additionalGids')
          .list()
          .map((group) => group.number()),
        ...(changes['additional-gids'] ?? []).map(Number),
      ],
    },
    capabilities: Object.fromEntries(
      capabilitySets.map((set) => [
        set,
        [...capabilities.at(set).texts(), ...(set === 'ambient' ? [] : more)],
      ]),
    ),
    noNewPrivileges: own.at('noNewPrivileges').truth() || changes['no-new-privs'] === true,
    ...(changes.apparmor === undefined ? {} : { apparmorProfile: changes.apparmor }),
    ...(changes['process-label'] === undefined ? {} : { selinuxLabel: changes['process-label'] }),
  };
}
