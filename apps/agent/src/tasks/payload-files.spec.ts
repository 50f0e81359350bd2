import type { PayloadItem } from '#libs/model';
import { expect } from 'chai';
import { payloadFilesOf } from './payload-files.js';

const context = {
  service: { id: 'svc1', name: 'web', labels: {} },
  node: { id: 'node1', hostname: 'host-1', os: 'linux', architecture: 'x86_64' },
  task: { id: 'task1', name: 'web.1.task1', slot: 1 },
};

function payload(kind: PayloadItem['kind'], id: string, text: string, isTemplate = false): PayloadItem {
  return { kind, id: id as never, name: id, data: Buffer.from(text).toString('base64'), isTemplate };
}

const payloads = [
  payload('secret', 'plain', '{{.Service.Name}}'),
  payload('config', 'conf', 'a config'),
  payload(
    'secret',
    'filled',
    '{{.Service.Name}} {{secret "x"}} {{config "/c"}} {{env "A"}} {{ env "none" }}.',
    true,
  ),
  payload('config', 'lost', '{{secret "nowhere"}}', true),
  payload('secret', 'huge', 'x'.repeat(2 << 20)),
];
const find = (kind: string, id: string): PayloadItem | undefined =>
  payloads.find((each) => each.kind === kind && each.id === id);
const secret = (id: string, File: object) => ({ SecretID: id, SecretName: id, File });
const config = (id: string, File: object) => ({ ConfigID: id, ConfigName: id, File });

describe('files of secrets and configs', () => {
  it('are where and whose the service says', () => {
    const files = payloadFilesOf(
      {
        Secrets: [
          secret('plain', { Name: 'x', UID: '5', GID: '6', Mode: 0o400 }),
          secret('plain', { Name: '/etc/x' }),
          secret('filled', { Name: 'sub/y' }),
        ],
        Configs: [config('conf', { Name: 'c' }), config('conf', { Name: '/c' })],
        Env: ['A=b=c'],
      },
      context,
      find,
    );
    expect(
      files.map(({ path, mode, uid, gid, data }) => [path, mode, uid, gid, data.toString()]),
    ).to.deep.equal([
      ['/run/secrets/x', 0o400, 5, 6, '{{.Service.Name}}'],
      ['/etc/x', 0o444, 0, 0, '{{.Service.Name}}'],
      ['/run/secrets/sub/y', 0o444, 0, 0, 'web {{.Service.Name}} a config b=c .'],
      ['/c', 0o444, 0, 0, 'a config'],
      ['/c', 0o444, 0, 0, 'a config'],
    ]);
  });

  const refused: [what: string, spec: object, message: string][] = [
    ['one that is gone', { Secrets: [secret('gone', { Name: 'x' })] }, 'secret not found: gone'],
    [
      'a template of what is not there',
      { Configs: [config('lost', { Name: 'x' })] },
      'secret target nowhere',
    ],
    [
      'more than a task may have',
      { Secrets: [secret('huge', { Name: 'x' }), secret('huge', { Name: 'y' })] },
      'a task may have 3145728',
    ],
  ];
  for (const [what, spec, message] of refused) {
    it(`refuse ${what}`, () => expect(() => payloadFilesOf(spec, context, find)).to.throw(message));
  }
});
