/** `docker exec`: made, started, resized and looked at by id. */
import { multiplexFrame, validateBody, type Route } from '#libs/docker-api';
import { EnxameError } from '#libs/model';
import { StartFailure, type ExecSession } from '#libs/runtime';
import { existingContainer } from './container-lookup.js';
import type { ContainerRouteDependencies } from './dependencies.js';
import { parseDetachKeys } from './detach-keys.js';
import type { ExecEntry } from './exec-table.js';
import { ExecCreateDto, ExecStartDto } from './exec.dto.js';
import { sizeOf } from './lifecycle-routes.js';
import { letHeadArrive } from './slow-heads.js';
import { bridge } from './stream-bridge.js';

export function execRoutes(deps: ContainerRouteDependencies): Route[] {
  const { runtime, execs } = deps;
  return [
    {
      method: 'POST',
      path: '/containers/:id/exec',
      async handler(request, response) {
        const raw = await request.json();
        const { config, phase, paused } = existingContainer(runtime, request.params['id']);
        const body = validateBody(ExecCreateDto, raw ?? {});
        if (paused) {
          throw new EnxameError(
            'conflict',
            `Container ${request.params['id']} is paused, unpause the container before exec`,
          );
        }
        if (phase !== 'running') throw new EnxameError('conflict', `container ${config.id} is not running`);
        const argv = body.Cmd ?? [];
        if (argv.length === 0) throw new EnxameError('invalid-argument', 'No exec command specified');
        parseDetachKeys(body.DetachKeys ?? '');
        const [rows, columns] = body.ConsoleSize ?? [0, 0];
        const entry = execs.add({
          containerId: config.id,
          config: {
            argv,
            env: body.Env ?? [],
            workdir: body.WorkingDir ?? '',
            user: body.User ?? '',
            tty: body.Tty ?? false,
            attachStdin: body.AttachStdin ?? false,
            privileged: body.Privileged ?? false,
            ...(body.Tty === true && rows > 0 && columns > 0 ? { size: { rows, columns } } : {}),
          },
          attachStdout: body.AttachStdout ?? false,
          attachStderr: body.AttachStderr ?? false,
          detachKeys: body.DetachKeys ?? '',
        });
        deps.notify({
          type: 'container',
          action: `exec_create: ${argv.join(' ')}`,
          id: config.id,
          attributes: { execID: entry.id },
        });
        response.json(201, { Id: entry.id });
      },
    },
    {
      method: 'POST',
      path: '/exec/:id/start',
      async handler(request, response) {
        const raw = await request.json();
        const entry = execs.get(request.params['id'] ?? '');
        const body = validateBody(ExecStartDto, raw ?? {});
        const { tty } = entry.config;
        // What the client said when it made the exec is how it runs; what it says now is how it reads the stream.
        const framed = body.Tty !== true;
        const [rows, columns] = body.ConsoleSize ?? [0, 0];
        const options = !framed && rows > 0 && columns > 0 ? { size: { rows, columns } } : {};
        requireStartable(deps, entry);
        if (body.Detach === true) {
          const session = await execs.start(entry, runtime, options);
          session.stdin.end();
          session.stdout.resume();
          session.stderr.resume();
          return response.empty(200);
        }
        // The head goes first, as Docker's does.
        const connection = response.hijack(
          framed ? 'application/vnd.docker.multiplexed-stream' : 'application/vnd.docker.raw-stream',
        );
        connection.on('error', () => connection.destroy());
        await letHeadArrive(request);
        const started = await startOrSay(deps, entry, options);
        if (typeof started === 'string') {
          connection.end(framed ? multiplexFrame(2, Buffer.from(`${started}\n`)) : `${started}\r\n`);
          connection.resume();
          return;
        }
        await bridge({
          connection,
          process: {
            stdin: started.stdin,
            stdout: started.stdout,
            stderr: started.stderr,
            ended: started.exited,
          },
          framed,
          detachable: tty,
          stdin: entry.config.attachStdin,
          stdout: entry.attachStdout || tty,
          stderr: entry.attachStderr,
          detachKeys: entry.detachKeys,
        }).then((outcome) => {
          if (outcome === 'left' && entry.phase === 'running')
            deps.notify({
              type: 'container',
              action: 'exec_detach',
              id: entry.containerId,
              attributes: { execID: entry.id },
            });
        });
      },
    },
    {
      method: 'POST',
      path: '/exec/:id/resize',
      async handler(request, response) {
        const entry = execs.get(request.params['id'] ?? '');
        const size = sizeOf(request.query);
        await (await execs.session(entry)).resize(size);
        response.empty(200);
      },
    },
    {
      method: 'GET',
      path: '/exec/:id/json',
      handler: async (request, response) =>
        response.json(200, presentExec(execs.get(request.params['id'] ?? ''))),
    },
  ];
}

/** What can be said before the head is out gets its own status. */
function requireStartable({ runtime }: ContainerRouteDependencies, entry: ExecEntry): void {
  if (entry.phase !== 'created')
    throw new EnxameError('conflict', `exec ${entry.id} has been started already`);
  const state = runtime.get(entry.containerId);
  if (state === undefined) throw new EnxameError('not-found', `No such container: ${entry.containerId}`);
  if (state.phase !== 'running')
    throw new EnxameError('conflict', `container ${entry.containerId} is not running`);
  if (state.paused) {
    throw new EnxameError(
      'conflict',
      `Container ${entry.containerId} is paused, unpause the container before exec`,
    );
  }
}

/**
 * A program that cannot be run is no error of the request: clients read why from the stream, and the exit code as
 * they would of any other.
 */
async function startOrSay(
  { execs, runtime }: ContainerRouteDependencies,
  entry: ExecEntry,
  options: { size?: { rows: number; columns: number } },
): Promise<ExecSession | string> {
  try {
    return await execs.start(entry, runtime, options);
  } catch (error) {
    if (error instanceof StartFailure) return `exec failed: ${error.message}`;
    // A user or group the container does not have.
    if (error instanceof EnxameError) return error.message;
    throw error;
  }
}

function presentExec(entry: ExecEntry): Record<string, unknown> {
  const { config } = entry;
  const [entrypoint = '', ...args] = config.argv;
  return {
    ID: entry.id,
    Running: entry.phase === 'running',
    ExitCode: entry.exitCode ?? null,
    ProcessConfig: {
      tty: config.tty,
      entrypoint,
      arguments: args,
      privileged: config.privileged,
      user: config.user,
    },
    OpenStdin: config.attachStdin,
    OpenStderr: entry.attachStderr,
    OpenStdout: entry.attachStdout,
    CanRemove: entry.phase === 'exited',
    ContainerID: entry.containerId,
    DetachKeys: entry.detachKeys,
    Pid: entry.pid ?? 0,
  };
}
