/**
 * Generates libs/rpc/src/generated from proto/*.proto. The generated code is committed, so only who changes a .proto
 * file needs to run this. Everything it uses comes out of node_modules; nothing is downloaded.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const output = join(root, 'libs/rpc/src/generated');
const files = readdirSync(join(root, 'proto')).filter((name) => name.endsWith('.proto'));

rmSync(output, { recursive: true, force: true });
mkdirSync(output, { recursive: true });
const { status } = spawnSync(
  join(root, 'node_modules/.bin/protoc'),
  [
    `--plugin=protoc-gen-ts_proto=${join(root, 'node_modules/.bin/protoc-gen-ts_proto')}`,
    `--ts_proto_out=${output}`,
    '--ts_proto_opt=outputServices=grpc-js,esModuleInterop=true,importSuffix=.js,forceLong=number',
    '--ts_proto_opt=useOptionals=messages,env=node,oneof=unions,outputJsonMethods=false',
    `--proto_path=${join(root, 'proto')}`,
    ...files,
  ],
  { stdio: 'inherit' },
);
process.exitCode = status ?? 1;
