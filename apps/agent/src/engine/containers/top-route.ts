/** `GET /containers/:id/top`: the node's `ps`, kept to the container's processes. */
import type { Route } from '#libs/docker-api';
import { EnxameError } from '#libs/model';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { existingContainer } from './container-lookup.js';
import type { ContainerRouteDependencies } from './dependencies.js';

const run = promisify(execFile);
const psMsMax = 10_000;
const outputBytesMax = 16 * 1024 * 1024;

export function topRoute({ runtime, notify }: ContainerRouteDependencies): Route {
  return {
    method: 'GET',
    path: '/containers/:id/top',
    async handler(request, response) {
      const { config, phase, restarting } = existingContainer(runtime, request.params['id']);
      if (restarting) {
        throw new EnxameError(
          'conflict',
          `Container ${config.id} is restarting, wait until the container is running`,
        );
      }
      if (phase !== 'running') throw new EnxameError('conflict', `container ${config.id} is not running`);
      const args = (request.query.get('ps_args') || '-ef').split(/\s+/).filter((arg) => arg !== '');
      const [pids, output] = await Promise.all([runtime.pids(config.id), processTable(args)]);
      const shown = selectProcesses(output, new Set(pids));
      notify({ type: 'container', action: 'top', id: config.id });
      response.json(200, shown);
    },
  };
}

async function processTable(args: string[]): Promise<string> {
  try {
    const { stdout } = await run('ps', args, { timeout: psMsMax, maxBuffer: outputBytesMax });
    return stdout;
  } catch (error) {
    const stderr = error instanceof Error && 'stderr' in error ? String(error.stderr).trim() : '';
    throw new EnxameError('invalid-argument', `ps: ${stderr || 'cannot be run on this node'}`, {
      cause: error,
    });
  }
}

export function selectProcesses(
  output: string,
  pids: ReadonlySet<number>,
): { Titles: string[]; Processes: string[][] } {
  const [header = '', ...rows] = output.split('\n').filter((line) => line.trim() !== '');
  const titles = header.trim().split(/\s+/);
  const pidColumn = titles.indexOf('PID');
  if (pidColumn < 0) throw new EnxameError('invalid-argument', "Couldn't find PID field in ps output");
  const processes = rows
    .map((row) => {
      const words = row.trim().split(/\s+/);
      // The last column is the command, which has spaces of its own.
      return [...words.slice(0, titles.length - 1), words.slice(titles.length - 1).join(' ')];
    })
    .filter((columns) => pids.has(Number(columns[pidColumn])));
  return { Titles: titles, Processes: processes };
}
